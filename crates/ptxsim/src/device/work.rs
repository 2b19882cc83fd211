//! What is submitted to a device, and the handles it is named by.

use std::ops::Range;
use std::sync::Arc;

use crate::run::counters::Counters;
use crate::run::launch::Launch;
use crate::run::view::Buffer;

/// A module that was loaded to a [`Device`](crate::Device).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId(pub(super) usize);

/// Host memory that copies go from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostBuffer(pub(super) usize);

/// A queue of work that is done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub(super) usize);

/// A point in a stream: reached when all that was submitted before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub(super) stream: Stream,
    /// How much had been submitted.
    pub(super) submitted: u64,
}

/// A kernel with its arguments, as [`Launch`] has them.
#[derive(Clone, Debug)]
pub struct KernelLaunch {
    /// Where the kernel is.
    pub module: ModuleId,
    /// Its name.
    pub entry: String,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// Parameters, see [`Launch::params`].
    pub params: Vec<u8>,
    /// Ranges the launch may touch; `None`: every allocation.
    pub buffers: Option<Vec<Buffer>>,
}

impl KernelLaunch {
    pub(super) fn launch(&self) -> Launch<'_> {
        Launch {
            entry: &self.entry,
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.dynamic_shared,
            params: &self.params,
            buffers: self.buffers.as_deref(),
        }
    }
}

/// One piece of work of a stream, one node of a graph.
#[derive(Clone, Debug)]
pub enum Work {
    /// Copies from the host. The bytes are those that the host buffer holds when the work is done.
    Upload {
        /// Where the bytes are.
        host: HostBuffer,
        /// Which of them.
        bytes: Range<usize>,
        /// Where they go.
        to: u64,
    },
    /// Copies to the host. All bytes must have been written.
    Download {
        /// The first byte.
        from: u64,
        /// Where they go.
        host: HostBuffer,
        /// Which bytes of it they become.
        bytes: Range<usize>,
    },
    /// Copies on the device, between ranges that do not overlap. All bytes must have been written.
    Copy {
        /// The source.
        from: Range<u64>,
        /// The first byte of the target.
        to: u64,
    },
    /// Fills with zeros.
    Zero(Range<u64>),
    /// Makes bytes unwritten: nothing may read them before it writes them.
    Forget(Range<u64>),
    /// Runs a kernel.
    Launch(KernelLaunch),
}

/// Work noted by a capture, to be replayed in that order as often as wanted.
#[derive(Clone, Debug)]
pub struct Graph(pub(super) Arc<[Arc<Work>]>);

impl Graph {
    /// What a replay submits.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Work> {
        self.0.iter().map(|node| &**node)
    }
}

/// What a launch did, see [`Device::keep_launches`](crate::Device::keep_launches).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Where it was submitted; `None`: it was run by itself.
    pub stream: Option<Stream>,
    /// Name of the kernel.
    pub entry: String,
    /// Counts of this launch.
    pub counters: Counters,
}
