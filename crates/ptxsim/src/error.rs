//! What can go wrong: reading a module, managing memory, running a launch, using a device.

use std::fmt;

/// The text is not PTX that this crate can run. `line` counts from one; 0 means the text as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {message}")]
pub struct ParseError {
    /// Name of the module.
    pub name: String,
    /// Line of the text, from one.
    pub line: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// A host-side request that device memory cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// An allocation is larger than what is left.
    #[error("out of device memory: {asked} bytes asked, {left} of {capacity} left")]
    #[allow(missing_docs)]
    Full { asked: u64, left: u64, capacity: u64 },
    /// The machine that this runs on has no such memory to give.
    #[error("out of the machine's memory: {asked} bytes asked")]
    #[allow(missing_docs)]
    Refused { asked: u64 },
    /// A range is not inside one allocation.
    #[error("address {address:#x} (+{len} bytes) is in no allocation")]
    #[allow(missing_docs)]
    NotAllocated { address: u64, len: u64 },
    /// A range that is to be mapped and holds something else.
    #[error("address {address:#x} (+{len} bytes) is taken")]
    #[allow(missing_docs)]
    Taken { address: u64, len: u64 },
}

/// What a launch was stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The launch itself is impossible (grid, block, shared memory, parameters, entry name).
    BadLaunch,
    /// An access that is not, or not wholly, inside memory the launch may touch.
    OutOfBounds,
    /// An address that is no multiple of the access's size (vectors count as a whole).
    Misaligned,
    /// A read of bytes that nobody wrote.
    Uninitialised,
    /// A store to a range that the launch may only read.
    ReadOnly,
    /// Two threads touched the same shared bytes without a barrier in between, one of them writing.
    Race,
    /// Shared bytes read or overwritten while a `cp.async` into them was under way.
    AsyncPending,
    /// Lanes of one warp wait at different barriers or warp-synchronous instructions.
    Divergence,
    /// A member mask names lanes that have exited or do not exist, or leaves out the executing lane.
    BadMask,
    /// Warps wait for a barrier that can never complete.
    Deadlock,
    /// Warps disagree on the number of threads of a barrier, or the number is unusable.
    BadBarrier,
    /// `trap` was executed.
    Trap,
    /// An assertion of the kernel's did not hold.
    Assert,
    /// `free` of what `malloc` did not give, or gave back before.
    BadFree,
    /// An operand value that PTX leaves undefined (an out-of-range jump table index, a bad copy size).
    BadOperand,
    /// The instruction budget of [`Options`](crate::Options) is used up.
    Budget,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::BadLaunch => "launch refused",
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned access",
            FaultKind::Uninitialised => "uninitialised read",
            FaultKind::ReadOnly => "write to read-only memory",
            FaultKind::Race => "shared memory race",
            FaultKind::AsyncPending => "cp.async data used before its wait",
            FaultKind::Divergence => "barrier under divergence",
            FaultKind::BadMask => "bad member mask",
            FaultKind::Deadlock => "deadlock",
            FaultKind::BadBarrier => "bad barrier",
            FaultKind::Trap => "trap",
            FaultKind::Assert => "failed assertion",
            FaultKind::BadFree => "bad free",
            FaultKind::BadOperand => "bad operand",
            FaultKind::Budget => "instruction budget used up",
        })
    }
}

/// Why a launch stopped, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// Entry name.
    pub kernel: Box<str>,
    /// Line of the PTX text, from one; 0 where no instruction is to blame.
    pub line: usize,
    /// That line's text.
    pub text: Box<str>,
    /// Block in the grid.
    pub block: [u32; 3],
    /// Thread in the block: the first lane concerned.
    pub thread: [u32; 3],
    /// The address, in the space that `message` names.
    pub address: Option<u64>,
    /// Details: space, size, nearest range, the other thread.
    pub message: Box<str>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in kernel {}", self.kind, self.kernel)?;
        if self.line > 0 {
            write!(f, ", PTX line {}: `{}`", self.line, self.text)?;
            let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
            write!(f, ", block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})")?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What a [`Device`](crate::Device) refuses, or finds when it runs what was submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DeviceError {
    /// A module that cannot be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// An allocation or a copy that cannot be.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A launch that was stopped.
    #[error(transparent)]
    Fault(Box<Fault>),
    /// Bytes read that nobody wrote.
    #[error("byte {byte} of {len} that are read back was never written")]
    UnwrittenRead { byte: u64, len: usize },
    /// Bytes downloaded that nobody wrote.
    #[error("the byte at {at:#x} is copied to the host and was never written")]
    UnwrittenDownload { at: u64 },
    /// Bytes copied on the device that nobody wrote.
    #[error("the byte at {at:#x} is copied to {to:#x} and was never written")]
    UnwrittenCopy { at: u64, to: u64 },
    /// Part of a host buffer that it does not have.
    #[error("bytes {start}..{end} of a host buffer of {len}")]
    HostRange { start: usize, end: usize, len: usize },
    /// A handle that is another device's.
    #[error("this device has no such {0}")]
    Unknown(&'static str),
    /// What cannot be done with a stream while work submitted to it is only noted.
    #[error("the stream is being captured")]
    Capturing,
    /// The end of a capture that never began.
    #[error("the stream is not being captured")]
    NotCapturing,
}

impl From<Fault> for DeviceError {
    fn from(fault: Fault) -> Self {
        DeviceError::Fault(Box::new(fault))
    }
}
