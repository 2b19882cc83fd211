//! Runs programs as our own PTX kernels: on a GPU through `cudarc`, or on the CPU through the emulator `ptxsim`.
//!
//! Ops record [`Launch`]es once, when a [`session`] opens: memory is planned, so every address is known. A run replays
//! them, as one graph. All of this is the same on both; only the [`Driver`] differs.

pub mod card;
mod driver;
pub mod gpu;
mod launch;
mod norm_input;
mod nvtx;
mod session;
mod sim;

pub use driver::{Copies, Copy, Cost, Driver, Graph};
pub use launch::{Call, In, Launch, Launches, Out};
pub use norm_input::{Moments, NormInput};
pub use session::{CudaSession, describe, plan};
pub use sim::SimDriver;

use crate::engine::tensor::DType;
use crate::{Error, Result, invalid};
use std::fmt;

/// What numbers a program's tensors are kept in and its products computed in. Sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Number {
    /// f32 throughout.
    #[default]
    F32,
    /// f32 kept; products of convolutions on tensor cores, operands rounded to 10 fraction bits.
    Tf32,
    Bf16,
    F16,
}

impl Number {
    /// The type tensors are kept in.
    pub fn storage(self) -> DType {
        match self {
            Number::F32 | Number::Tf32 => DType::F32,
            Number::Bf16 => DType::Bf16,
            Number::F16 => DType::F16,
        }
    }

    /// Values in 16 bytes, the most that one instruction moves.
    pub fn values(self) -> u32 {
        16 / self.storage().size() as u32
    }

    /// Neighbouring values that kernels move at once in rows of `n`: 16 bytes of them where all rows start aligned, else one.
    pub fn pack(self, n: u32) -> u32 {
        if n.is_multiple_of(self.values()) { self.values() } else { 1 }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Number::F32 => "f32",
            Number::Tf32 => "tf32",
            Number::Bf16 => "bf16",
            Number::F16 => "f16",
        })
    }
}

/// What launches are chosen for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub number: Number,
    pub multiprocessors: u32,
}

/// How an op runs as kernels. Every op has its own in `cuda.rs`.
pub trait CudaOperation {
    /// Bytes of scratch memory the launches need.
    fn workspace(&self, _: &Target) -> usize {
        0
    }

    /// Records the launches that compute the outputs.
    fn launch(&self, l: &mut Launches) -> Result<()>;
}

/// A PTX file.
#[derive(Debug)]
pub struct Module {
    pub name: &'static str,
    pub ptx: &'static str,
    pub entries: &'static [&'static Entry],
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// Index in [`kernels::MODULES`].
    pub module: usize,
    /// Threads a block may have.
    pub max_threads: u32,
    /// Offset and size of every parameter, and the size of all, in bytes.
    pub parameters: &'static [(usize, usize)],
    pub bytes: usize,
    /// Where its text lies in the module's.
    pub text: (usize, usize),
}

impl Entry {
    pub fn module(&self) -> &'static Module {
        &kernels::MODULES[self.module]
    }

    /// PTX with this kernel alone, in the lines where the file has it.
    pub fn ptx(&self) -> String {
        let Module { ptx, entries, .. } = self.module();
        let head = entries.iter().map(|e| e.text.0).min().unwrap_or(0);
        let (start, end) = self.text;
        let left_out = ptx[head..start].matches('\n').count();
        [&ptx[..head], &"\n".repeat(left_out), &ptx[start..end]].concat()
    }
}

/// One function per kernel, named and typed as its source says. It checks element types and packs the arguments.
pub mod kernels {
    use super::structs::*;
    use super::{Call, Entry, In, Module, Number, Out, no_variant};
    use crate::Result;
    use crate::engine::tensor::DType;

    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// Structs that kernels take by value, as the kernel sources name them.
mod structs {
    pub use crate::engine::ops::anomaly_map::cuda::{GaussianTaps, UpsampleMaps};
    pub use crate::engine::ops::concat::cuda::ConcatParts;
    pub use crate::engine::ops::conv2d::Conv2d;
    pub use crate::engine::ops::cosine::cuda::CosineLayers;
    pub use crate::engine::ops::max_pool::MaxPool;
    pub use crate::engine::ops::optimizer::cuda::AdamRates;
    pub use crate::engine::ops::preprocess::cuda::{PixelScale, ResizeAxis};
    pub use crate::engine::ops::weighted_sum::cuda::Weights;
}

fn no_variant(kernel: &str, number: Number) -> Error {
    Error::Invalid(format!("{kernel} has no kernel for {number}"))
}

/// A count as a kernel takes it; `what` names it where it is too large.
pub fn size32(what: &str, n: usize) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) if n < 1 << 31 => Ok(n),
        _ => invalid!("{what}: {n} elements; the CUDA kernels count to 2^31 - 1, use a smaller batch or image size"),
    }
}
