//! The choice of a device and of the numbers it computes in.

use super::cuda::card;
use super::cuda::gpu::GpuDriver;
use super::cuda::{self, CudaSession, Driver, Number, SimDriver, Target};
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

    /// What decides, beside the program, in which order sums are taken: runs with the same give the same bits.
    pub fn identity(self) -> Result<String> {
        Ok(match self.device {
            Device::Cpu => format!("threads {}", rayon::current_num_threads()),
            Device::Sim => format!("device {self}"),
            Device::Cuda(index) => {
                let gpu = card::usable(index)?;
                format!("device {} with {} multiprocessors in {}", gpu.name, gpu.multiprocessors, self.number)
            }
        })
    }

    fn driver(self) -> Result<Option<Box<dyn Driver>>> {
        Ok(match self.device {
            Device::Cpu if self.number != Number::F32 => invalid!("the CPU computes in f32, not in {}", self.number),
            Device::Cpu => None,
            Device::Cuda(index) => Some(Box::new(GpuDriver::open(index)?)),
            Device::Sim => Some(Box::new(SimDriver::default())),
        })
    }

    /// Plans `tape`, allocates its memory and makes it ready to run.
    pub fn open(self, tape: Tape) -> Result<Box<dyn Session>> {
        self.open_lanes(tape, 1)
    }

    /// As [`Backend::open`], with `lanes` runs at once where the device can.
    pub fn open_lanes(self, tape: Tape, lanes: usize) -> Result<Box<dyn Session>> {
        match self.driver()? {
            Some(driver) => Ok(Box::new(CudaSession::with_lanes(tape, driver, self.number, lanes)?)),
            None => cpu::session(tape),
        }
    }

    /// Plans `tape` without allocating its memory.
    pub fn plan(self, tape: &Tape) -> Result<Plan> {
        let multiprocessors = match self.device {
            Device::Cpu => return cpu::plan(tape),
            Device::Cuda(index) => card::usable(index)?.multiprocessors,
            Device::Sim => SimDriver::MULTIPROCESSORS,
        };
        cuda::plan(tape, Target { number: self.number, multiprocessors })
    }
}
