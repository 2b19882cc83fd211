//! The choice of a device and of the numbers it computes in.

use super::cuda::gpu::GpuDriver;
use super::cuda::{self, Driver, Number, SimDriver, Target};
use super::{Session, cpu};
use crate::engine::plan::Plan;
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;
use crate::{Result, invalid};
use std::fmt;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The GPU with this index.
    Cuda(usize),
    /// The emulator: the GPU's kernels on the CPU, with every access checked. Slow.
    Sim,
}

/// A device, and the numbers it computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    pub device: Device,
    /// The CPU knows `F32` only.
    pub number: Number,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
            Device::Sim => f.write_str("sim"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} in {}", self.device, self.number)
    }
}

impl Backend {
    pub const CPU: Backend = Backend { device: Device::Cpu, number: Number::F32 };

    /// The type to record programs in.
    pub fn dtype(self) -> DType {
        self.number.storage()
    }

    fn driver(self) -> Result<Option<Box<dyn Driver>>> {
        Ok(match self.device {
            Device::Cpu if self.number != Number::F32 => invalid!("the CPU computes in f32, not in {}", self.number),
            Device::Cpu => None,
            Device::Cuda(index) => Some(Box::new(GpuDriver::open(index)?)),
            Device::Sim => Some(Box::new(SimDriver::new())),
        })
    }

    /// Plans `tape`, allocates its memory and makes it ready to run.
    pub fn open(self, tape: Tape) -> Result<Box<dyn Session>> {
        match self.driver()? {
            Some(driver) => cuda::session(tape, driver, self.number),
            None => cpu::session(tape),
        }
    }

    /// Plans `tape` without allocating its memory.
    pub fn plan(self, tape: &Tape) -> Result<Plan> {
        match self.driver()? {
            Some(d) => cuda::plan(tape, Target { number: self.number, multiprocessors: d.multiprocessors() }),
            None => cpu::plan(tape),
        }
    }
}
