//! Arguments that several commands share, and the checks on them.

use crate::bench::roofline::Card;
use crate::engine::device::cuda::{self};
use crate::engine::device::{self as engine, Backend};
use crate::engine::ops::optimizer::expect_trainable;
use crate::engine::toolkit::cuda::{Choices, MeasuredOn, Number, Tuning};
use crate::model::init::RandomBackbone;
use crate::model::{Architecture, TensorSource};
use crate::weights::{Archive, registry};
use crate::{Error, Result};
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where to compute, and in which numbers.
#[derive(Clone, Debug, clap::Args)]
pub struct Device {
    /// auto (a GPU if there is one), cpu, cuda, cuda:N, or sim (the GPU's kernels emulated and checked; slow)
    #[arg(long = "device", default_value = "auto", value_name = "DEVICE", value_parser = device)]
    choice: Choice,
    /// What tensors are kept in and products computed in [default: f32 on the CPU, tf32 elsewhere]
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// What `ckaad tune` measured, or `off` [default: its file for this GPU and driver, if there is one]
    #[arg(long, value_name = "FILE|off")]
    tuning: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Auto,
    Device(engine::Device),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Precision {
    F32,
    /// f32 kept, products on tensor cores with 10 fraction bits
    Tf32,
    Bf16,
    /// To score only
    F16,
}

fn device(text: &str) -> std::result::Result<Choice, String> {
    Ok(Choice::Device(match text {
        "auto" => return Ok(Choice::Auto),
        "cpu" => engine::Device::Cpu,
        "sim" => engine::Device::Sim,
        "cuda" => engine::Device::Cuda(0),
        _ => match text.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => engine::Device::Cuda(index),
            _ => return Err("expected auto, cpu, cuda, cuda:N or sim".into()),
        },
    }))
}

impl Device {
    /// As [`Device::backend`], but in f32 where no precision was asked for: for checks that need its digits.
    pub fn exact_backend(&self) -> Result<Backend> {
        let precision = self.precision.or(Some(Precision::F32));
        Device { precision, ..self.clone() }.backend()
    }

    /// As [`Device::backend`], without numbers that there is no training in.
    pub fn training_backend(&self) -> Result<Backend> {
        let backend = self.backend()?;
        expect_trainable(backend.dtype()).map_err(|e| Error::Usage(format!("--precision {}: {e}", backend.number)))?;
        Ok(backend)
    }

    /// What was chosen. Without a usable GPU, `auto` is the CPU, and standard error says why.
    pub fn backend(&self) -> Result<Backend> {
        let backend = self.untuned_backend()?;
        Ok(Backend { choices: self.choices(backend)?, ..backend })
    }

    /// As [`Device::backend`], without what `ckaad tune` measured.
    pub fn untuned_backend(&self) -> Result<Backend> {
        let device = match self.choice {
            // Better to learn now than after the pictures are decoded.
            Choice::Device(device @ engine::Device::Cuda(index)) => cuda::card::usable(index).map(|_| device)?,
            Choice::Device(device) => device,
            Choice::Auto => match usable_gpu() {
                Ok(index) => engine::Device::Cuda(index),
                Err(why) => {
                    tell!("computing on the CPU: {why}");
                    engine::Device::Cpu
                }
            },
        };
        let number = match self.precision {
            None if device == engine::Device::Cpu => Number::F32,
            None | Some(Precision::Tf32) => Number::Tf32,
            Some(Precision::F32) => Number::F32,
            Some(Precision::Bf16) => Number::Bf16,
            Some(Precision::F16) => Number::F16,
        };
        if device == engine::Device::Cpu && number != Number::F32 {
            return Err(Error::Usage(format!("--precision {number}: the CPU computes in f32 only")));
        }
        Ok(Backend { device, number, choices: Choices::Model })
    }

    /// Whether measurements are not to be used.
    pub fn tuning_is_off(&self) -> bool {
        self.tuning.as_ref().is_some_and(|t| t.as_os_str() == "off")
    }

    /// The file that `ckaad tune` writes for `backend`; none for the CPU.
    pub fn tuning_file(&self, backend: Backend) -> Result<Option<PathBuf>> {
        let Some(on) = backend.measured_on()? else { return Ok(None) };
        let named = self.tuning.clone().map(Ok);
        named.unwrap_or_else(|| Ok(registry::cache_dir()?.join("tuning").join(on.file_name()))).map(Some)
    }

    /// What was measured for `backend`. A file that is of no use is named on standard error.
    fn choices(&self, backend: Backend) -> Result<Choices> {
        let named = self.tuning.is_some();
        // The emulator's costs are not those of any card: nothing is computed by them unless asked for.
        if self.tuning_is_off() || backend.device == engine::Device::Sim && !named {
            return Ok(Choices::Model);
        }
        let (Ok(Some(file)), Some(on)) = (self.tuning_file(backend), backend.measured_on()?) else {
            return Ok(Choices::Model);
        };
        if !named && !file.exists() {
            return Ok(Choices::Model);
        }
        // Kept until the process ends, as are the devices' compiled kernels.
        let keep = |tuning| Choices::Measured(Box::leak(Box::new(tuning)));
        Ok(read_tuning(&file, &on).map_or(Choices::Model, keep))
    }
}

/// What a file of `ckaad tune` holds; standard error names one that is of no use.
pub fn read_tuning(file: &Path, on: &MeasuredOn) -> Option<Tuning> {
    let why = match Tuning::read(file, on) {
        Ok(tuning) => return Some(tuning),
        Err(why) => why,
    };
    tell!("the tuning in {} is not used: {why}", file.display());
    None
}

/// The first GPU that can be used.
fn usable_gpu() -> Result<usize> {
    let gpus = cuda::card::gpus()?;
    match (gpus.iter().find(|g| g.unusable.is_none()), gpus.first()) {
        (Some(gpu), _) => Ok(gpu.index),
        (None, Some(g)) => Err(Error::Device(format!("{}: {}", g.name, g.unusable.as_deref().unwrap_or_default()))),
        (None, None) => Err(Error::Device("the NVIDIA driver finds no GPU".into())),
    }
}

/// Which networks.
#[derive(Clone, Debug, clap::Args)]
pub struct Networks {
    /// resnet18, resnet34, resnet50, resnet101, resnet152, wide_resnet50_2 or wide_resnet101_2
    #[arg(long, default_value = "resnet18")]
    pub backbone: String,
    /// Consecutive backbone layers whose features are reconstructed, finest first
    #[arg(long, default_value = "2,3", value_delimiter = ',')]
    pub layers: Vec<usize>,
    /// Side in pixels that every picture is resized to; a multiple of 32, at least 64 (with layers up to 2: of 16, at least 32; with layer 4: of 64, at least 128)
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    pub image_size: usize,
}

impl Networks {
    pub fn architecture(&self) -> Result<Architecture> {
        Architecture::new(&self.backbone, &self.layers, self.image_size)
    }
}

/// Pretrained backbone weights, opened.
pub enum Weights {
    File(Archive),
    Random(RandomBackbone),
}

impl Weights {
    /// `random`, a file, or the name of weights that were fetched.
    pub fn open(name: &str, seed: u64) -> Result<Self> {
        if name == "random" {
            return Ok(Weights::Random(RandomBackbone { seed }));
        }
        Ok(Weights::File(Archive::open(registry::locate(name)?)?))
    }
}

impl TensorSource for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        match self {
            Weights::File(archive) => archive.f32(name, shape),
            Weights::Random(random) => random.tensor(name, shape),
        }
    }

    fn describe(&self) -> String {
        match self {
            Weights::File(archive) => archive.path().display().to_string(),
            Weights::Random(random) => random.describe(),
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// Writes text to standard output; a closed pipe comes back as its own kind of error, which ends the program quietly.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|_| out.flush()).map_err(|e| Error::io("standard output", e))
}

/// A card of whose data sheet we know.
pub fn card(text: &str) -> std::result::Result<Card, String> {
    Card::named(text).ok_or_else(|| format!("expected one of {}", Card::names().join(", ")))
}

/// A number from 0 to 1.
pub fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.0..=1.0).contains(&v) => Ok(v),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// A count of at least 1.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    match text.parse::<usize>() {
        Ok(v) if v >= 1 => Ok(v),
        _ => Err("expected a whole number of at least 1".into()),
    }
}
