//! Kernels and launches as data, and how matrix products are cut: what the ops' `cuda.rs` are written in.

pub mod cards;
mod launch;
mod ptx_file;
mod registry;
mod replaced;
mod schedule;
mod side_output;
pub mod tiling;
mod tuning;

pub use super::Number;
pub use launch::{Buffer, Call, In, Launch, Launches, Operands, Out, Use};
pub use registry::{Entry, MODULES, Module, entries};
pub use replaced::{Replaced, replaced};
pub use schedule::{Cut, Schedule, Spread};
pub use side_output::{Moments, SideOutput};
pub use tuning::{Choices, MeasuredOn, Tuned, Tuning};

use crate::{Result, invalid};
use cards::Chip;

/// What launches are chosen for.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of products, but of those in bytes, whatever is beside them.
    pub number: Number,
    pub multiprocessors: u32,
    pub chip: Chip,
    pub choices: Choices,
}

/// How an op runs as kernels. Every op has its own in `cuda.rs`.
pub trait CudaOperation {
    /// How the op runs on such a device. Called once, when its program is planned.
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::default()
    }

    /// Whether the op, cut so, gains from what the record before offers beside its result, which it reads as its first input.
    fn takes(&self, _: &SideOutput, _: &Cut, _: Number) -> bool {
        false
    }

    /// Records the launches that compute the outputs, as scheduled.
    fn launch(&self, l: &mut Launches) -> Result<()>;
}

/// A count as a kernel takes it; `what` names it where it is too large.
pub fn size32(what: &str, n: usize) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) if n < 1 << 31 => Ok(n),
        _ => invalid!("{what}: {n} elements; the CUDA kernels count to 2^31 - 1, use a smaller batch or image size"),
    }
}
