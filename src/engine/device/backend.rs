//! The choice of a device and of the numbers it computes in.

use super::cuda::card;
use super::cuda::gpu::GpuDriver;
use super::cuda::{self, CudaSession, Driver, SimDriver};
use super::{Session, cpu};
use crate::engine::plan::Plan;
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;
use crate::engine::toolkit::cuda::{Choices, MeasuredOn, Number, Target};
use crate::{Error, Result, invalid};
use std::fmt;
use std::str::FromStr;

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
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub device: Device,
    /// The CPU knows `F32` and `Int8` only.
    pub number: Number,
    /// How the kernels of convolutions are chosen.
    pub choices: Choices,
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

/// `cpu`, `sim`, `cuda` or `cuda:N`, as it is displayed.
impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Usage(format!("unknown device '{text}': expected cpu, cuda, cuda:N or sim"));
        match text {
            "cpu" => Ok(Device::Cpu),
            "sim" => Ok(Device::Sim),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Device::Cuda).ok_or_else(unknown),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} in {}", self.device, self.number)
    }
}

impl Backend {
    pub const CPU: Backend = Backend { device: Device::Cpu, number: Number::F32, choices: Choices::Model };

    /// The type to record programs in.
    pub fn dtype(&self) -> DType {
        self.number.storage()
    }

    /// What decides, beside the program, in which order sums are taken: runs with the same give the same bits.
    pub fn identity(&self) -> Result<String> {
        let tuning = match &self.choices {
            Choices::Model => String::new(),
            Choices::Measured(tuning) => {
                tuning.digest(self.number.real()).map_or_else(String::new, |d| format!(", tuning {d}"))
            }
            Choices::Forced(choice) => format!(", {choice:?}"),
        };
        Ok(match self.device {
            Device::Cpu => format!("threads {}", rayon::current_num_threads()),
            Device::Sim => format!("device {self}{tuning}"),
            Device::Cuda(index) => {
                let gpu = card::usable(index)?;
                let (name, multiprocessors) = (gpu.name, gpu.multiprocessors);
                format!("device {name} with {multiprocessors} multiprocessors in {}{tuning}", self.number)
            }
        })
    }

    /// What the kernels' launches are chosen for; none for the CPU.
    pub fn target(&self) -> Result<Option<Target>> {
        let (multiprocessors, chip) = match self.device {
            Device::Cpu => return Ok(None),
            Device::Cuda(index) => card::usable(index).map(|g| (g.multiprocessors, g.chip()))?,
            Device::Sim => (SimDriver::MULTIPROCESSORS, SimDriver::CHIP),
        };
        Ok(Some(Target { number: self.number.real(), multiprocessors, chip, choices: self.choices.clone() }))
    }

    /// What measurements on it hold for; none for the CPU.
    pub fn measured_on(&self) -> Result<Option<MeasuredOn>> {
        Ok(match self.device {
            Device::Cpu => None,
            Device::Cuda(index) => {
                let (gpu, version) = (card::usable(index)?, card::driver_version()?);
                let driver = format!("CUDA {}.{}", version / 1000, version % 1000 / 10);
                Some(MeasuredOn { card: gpu.name, multiprocessors: gpu.multiprocessors, driver, unit: "seconds" })
            }
            Device::Sim => Some(MeasuredOn {
                card: "sim".into(),
                multiprocessors: SimDriver::MULTIPROCESSORS,
                driver: concat!("ckaad ", env!("CARGO_PKG_VERSION")).into(),
                unit: "warp instructions",
            }),
        })
    }

    fn driver(&self) -> Result<Option<Box<dyn Driver>>> {
        Ok(match self.device {
            Device::Cpu if !matches!(self.number, Number::F32 | Number::Int8) => {
                invalid!("the CPU computes in f32 and in int8, not in {}", self.number)
            }
            Device::Cpu => None,
            Device::Cuda(index) => Some(Box::new(GpuDriver::open(index)?)),
            Device::Sim => Some(Box::new(SimDriver::default())),
        })
    }

    /// Plans `tape`, allocates its memory and makes it ready to run.
    pub fn open(&self, tape: Tape) -> Result<Box<dyn Session>> {
        self.open_lanes(tape, 1)
    }

    /// As [`Backend::open`], with `lanes` runs at once where the device can.
    pub fn open_lanes(&self, tape: Tape, lanes: usize) -> Result<Box<dyn Session>> {
        match self.driver()? {
            Some(driver) => {
                Ok(Box::new(CudaSession::with_lanes(tape, driver, self.number, lanes, self.choices.clone())?))
            }
            None => cpu::session(tape),
        }
    }

    /// Plans `tape` without allocating its memory.
    pub fn plan(&self, tape: &Tape) -> Result<Plan> {
        match self.target()? {
            Some(target) => cuda::plan(tape, &target),
            None => cpu::plan(tape),
        }
    }
}
