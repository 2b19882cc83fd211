//! What a device must be able to do. Everything above it is the same for a GPU and for the emulator.

use crate::Result;
use crate::engine::device::Cost;
use crate::engine::toolkit::cuda::cards::Chip;
use crate::engine::toolkit::cuda::{Entry, Launch};
use std::ops::Range;

/// Bytes of the host buffer and where they are on the device.
#[derive(Clone, Debug)]
pub struct Copy {
    pub host: Range<usize>,
    pub at: u64,
}

/// What a graph copies before its kernels and after them, between the device and the host buffer.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    pub uploads: Vec<Copy>,
    pub downloads: Vec<Copy>,
    /// Copies run beside the kernels of other graphs instead of being nodes of this one: for throughput, not latency.
    pub beside: bool,
}

/// A captured graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph(pub usize);

/// A device with its memory, kernels and one stream of work. Addresses are the device's own, never 0.
pub trait Driver: Send {
    /// Name for people, as `cuda:0 (NVIDIA H200)`.
    fn name(&self) -> String;

    fn multiprocessors(&self) -> u32;

    fn chip(&self) -> Chip;

    /// Bytes free, and bytes in all.
    fn memory(&self) -> Result<(usize, usize)>;

    /// Device memory, freed with the driver.
    fn alloc(&mut self, bytes: usize) -> Result<u64>;

    /// Makes the host buffer that graphs copy from and to: page-locked on a GPU, zeroed. Once.
    fn alloc_host(&mut self, bytes: usize) -> Result<()>;

    /// Part of the host buffer. No graph that copies from or to it may be on its way.
    fn host(&self, range: Range<usize>) -> &[u8];

    /// The same, to be written.
    fn host_mut(&mut self, range: Range<usize>) -> &mut [u8];

    /// Copies to the device, ordered behind the work submitted so far. `bytes` may be reused at once.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()>;

    /// Copies between two places of the device that do not overlap, ordered behind the work submitted so far.
    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()>;

    /// Fills with zeros.
    fn zero(&mut self, range: Range<u64>) -> Result<()>;

    /// Copies from the device, after all work submitted so far.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()>;

    /// Makes kernels ready for launches.
    fn load(&mut self, entries: &[&'static Entry]) -> Result<()>;

    /// Says that nothing in `range` will be read before it is written. Checked by the emulator; nothing on a GPU.
    fn forget(&mut self, range: Range<u64>) -> Result<()>;

    /// Submits a kernel.
    fn launch(&mut self, launch: &Launch) -> Result<()>;

    /// Waits for all work; an error is that of anything submitted since the last wait.
    fn synchronize(&self) -> Result<()>;

    /// From here on, `forget` and `launch` are noted and not done.
    fn begin_capture(&mut self, copies: Copies) -> Result<()>;

    /// Ends the noting; what was noted can be replayed.
    fn end_capture(&mut self) -> Result<Graph>;

    /// Submits a graph with its copies.
    fn replay(&mut self, graph: Graph) -> Result<()>;

    /// Waits until the last replay of a graph, its copies included, is done.
    fn wait(&self, graph: Graph) -> Result<()>;

    /// Runs a kernel by itself and tells what that costs; on a GPU `repetitions` times. The work before must be done.
    fn measure(&mut self, launch: &Launch, repetitions: usize) -> Result<Cost>;
}
