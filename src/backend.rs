//! The choice of a backend from what somebody asks for: which device, which numbers, and what was measured for them. For every
//! front end; nothing is printed here.

use crate::engine::device::cuda::card;
use crate::engine::device::{Backend, Device};
use crate::engine::ops::optimizer::expect_trainable;
use crate::engine::toolkit::cuda::{Choices, MeasuredOn, Number, Tuning, replaced};
use crate::weights::registry;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// None: the first GPU that can be used, else the CPU.
    pub device: Option<Device>,
    /// None: f32 on the CPU, or what the model was made for, and tf32 elsewhere.
    pub number: Option<Number>,
    /// Whether it is for a model that has weights of 8 bits, which is what the CPU then computes in where no numbers are asked for.
    pub quantized: bool,
    pub tuning: Measurements,
}

/// Where what `ckaad tune` measured is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Measurements {
    /// In its file for the GPU and driver, if there is one.
    #[default]
    Default,
    Off,
    File(PathBuf),
}

/// What was chosen, and what the asker should know of it: why there is no GPU, or why measurements are of no use.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub backend: Backend,
    pub notes: Vec<String>,
}

/// The device of a name; none of `auto`.
pub fn device(name: &str) -> Result<Option<Device>> {
    if name == "auto" {
        return Ok(None);
    }
    let unknown = |_| Error::Usage(format!("unknown device '{name}': expected auto, cpu, cuda, cuda:N or sim"));
    name.parse().map(Some).map_err(unknown)
}

impl Request {
    /// Errors: a device that is not there (kind `Device`), numbers that it has not (`Usage`).
    pub fn choose(&self) -> Result<Chosen> {
        let mut chosen = self.choose_untuned()?;
        let choices = self.choices(&chosen.backend, &mut chosen.notes)?;
        chosen.backend.choices = choices;
        Ok(chosen)
    }

    /// As [`Request::choose`], without numbers that there is no training in.
    pub fn choose_to_train(&self) -> Result<Chosen> {
        let chosen = self.choose()?;
        let number = chosen.backend.number;
        if number == Number::Int8 {
            return Err(Error::Usage(format!("--precision {number}: to score only, with a model that is trained")));
        }
        expect_trainable(chosen.backend.dtype()).map_err(|e| Error::Usage(format!("--precision {number}: {e}")))?;
        Ok(chosen)
    }

    /// As [`Request::choose`], without what was measured.
    pub fn choose_untuned(&self) -> Result<Chosen> {
        let mut notes = Vec::new();
        let device = match self.device {
            // Better to learn now than after the pictures are decoded.
            Some(device @ Device::Cuda(index)) => card::usable(index).map(|_| device)?,
            Some(device) => device,
            None => match usable_gpu() {
                Ok(index) => Device::Cuda(index),
                Err(why) => {
                    notes.push(format!("computing on the CPU: {why}"));
                    Device::Cpu
                }
            },
        };
        let usual = match device {
            Device::Cpu if self.quantized => Number::Int8,
            Device::Cpu => Number::F32,
            _ => Number::Tf32,
        };
        let number = self.number.unwrap_or(usual);
        if device == Device::Cpu && !matches!(number, Number::F32 | Number::Int8) {
            return Err(Error::Usage(format!("--precision {number}: the CPU computes in f32 or int8 only")));
        }
        if device != Device::Cpu
            && let Some(replaced) = replaced()?
        {
            notes.push(replaced.describe());
        }
        Ok(Chosen { backend: Backend { device, number, choices: Choices::Model }, notes })
    }

    /// The file that `ckaad tune` writes for `backend`; none for the CPU.
    pub fn tuning_file(&self, backend: &Backend) -> Result<Option<PathBuf>> {
        let Some(on) = backend.measured_on()? else { return Ok(None) };
        if let Measurements::File(file) = &self.tuning {
            return Ok(Some(file.clone()));
        }
        Ok(Some(registry::cache_dir()?.join("tuning").join(on.file_name())))
    }

    fn choices(&self, backend: &Backend, notes: &mut Vec<String>) -> Result<Choices> {
        let named = matches!(self.tuning, Measurements::File(_));
        // The emulator's costs are not those of any card: nothing is computed by them unless asked for.
        if self.tuning == Measurements::Off || backend.device == Device::Sim && !named {
            return Ok(Choices::Model);
        }
        let (Ok(Some(file)), Some(on)) = (self.tuning_file(backend), backend.measured_on()?) else {
            return Ok(Choices::Model);
        };
        if !named && !file.exists() {
            return Ok(Choices::Model);
        }
        let measured = read_tuning(&file, &on, notes);
        Ok(measured.map_or(Choices::Model, |tuning| Choices::Measured(Arc::new(tuning))))
    }
}

/// What a file of `ckaad tune` holds; one that is of no use is noted.
pub fn read_tuning(file: &Path, on: &MeasuredOn, notes: &mut Vec<String>) -> Option<Tuning> {
    match Tuning::read(file, on) {
        Ok(tuning) => Some(tuning),
        Err(why) => {
            notes.push(format!("the tuning in {} is not used: {why}", file.display()));
            None
        }
    }
}

/// The first GPU that can be used.
fn usable_gpu() -> Result<usize> {
    let gpus = card::gpus()?;
    match (gpus.iter().find(|g| g.unusable.is_none()), gpus.first()) {
        (Some(gpu), _) => Ok(gpu.index),
        (None, Some(g)) => Err(Error::Device(format!("{}: {}", g.name, g.unusable.as_deref().unwrap_or_default()))),
        (None, None) => Err(Error::Device("the NVIDIA driver finds no GPU".into())),
    }
}
