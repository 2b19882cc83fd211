//! Arguments that several commands share, and the checks on them.

use super::verbosity;
use crate::backend::{self, Chosen, Measurements, Request};
use crate::bench::roofline::Card;
use crate::detector::file::Config;
use crate::engine::device::{self as engine, Backend};
use crate::engine::toolkit::cuda::Number;
pub use crate::error::plural;
use crate::model::Architecture;
use crate::score::verdict::Judge;
use crate::train::setup::Setup;
use crate::{Error, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::io::Write;
use std::path::PathBuf;

/// Where to compute, and in which numbers.
#[derive(Clone, Debug, clap::Args)]
pub struct Device {
    /// auto (a GPU if there is one), cpu, cuda, cuda:N, or sim (the GPU's kernels emulated and checked; slow)
    #[arg(long = "device", default_value = "auto", value_name = "DEVICE", value_parser = backend::device)]
    choice: Choice,
    /// What tensors are kept in and products computed in [default: f32 on the CPU, int8 there of a quantised model; tf32 elsewhere]
    #[arg(long, value_parser = named(Number::NAMES, Number::find))]
    precision: Option<Number>,
    /// What `ckaad tune` measured, or `off` [default: its file for this GPU and driver, if there is one]
    #[arg(long, value_name = "FILE|off")]
    tuning: Option<PathBuf>,
}

/// A device, or none for `auto`.
type Choice = Option<engine::Device>;

impl Device {
    pub fn request(&self) -> Request {
        Request {
            device: self.choice,
            number: self.precision,
            quantized: false,
            tuning: match &self.tuning {
                None => Measurements::Default,
                Some(off) if off.as_os_str() == "off" => Measurements::Off,
                Some(file) => Measurements::File(file.clone()),
            },
        }
    }

    /// As [`Device::backend`], but in f32 where no precision was asked for: for checks that need its digits.
    pub fn exact_backend(&self) -> Result<Backend> {
        let request = self.request();
        told(Request { number: request.number.or(Some(Number::F32)), ..request }.choose())
    }

    /// As [`Device::backend`], without numbers that there is no training in.
    pub fn training_backend(&self) -> Result<Backend> {
        told(self.request().choose_to_train())
    }

    /// What was chosen. Standard error says what is to be known of it.
    pub fn backend(&self) -> Result<Backend> {
        told(self.request().choose())
    }

    /// What was chosen for a model. Standard error hears of it by [`tell_device`]: a run may turn out to have nothing to compute.
    pub fn chosen_for(&self, model: &Config) -> Result<Chosen> {
        Request { quantized: model.quantized.is_some(), ..self.request() }.choose()
    }

    /// As [`Device::backend`], for a model.
    pub fn backend_for(&self, model: &Config) -> Result<Backend> {
        told(self.chosen_for(model))
    }

    /// As [`Device::backend`], without what `ckaad tune` measured.
    pub fn untuned_backend(&self) -> Result<Backend> {
        told(self.request().choose_untuned())
    }
}

fn told(chosen: Result<Chosen>) -> Result<Backend> {
    let chosen = chosen?;
    tell_device(&chosen)?;
    Ok(chosen.backend)
}

/// Says on standard error what is to be known of the device.
pub fn tell_device(chosen: &Chosen) -> Result<()> {
    let Chosen { backend, notes } = chosen;
    notes.iter().for_each(|note| note!("{note}"));
    if verbosity::at_least(verbosity::VERBOSE) {
        tell!("computing on {backend}, {}", backend.identity()?);
    }
    Ok(())
}

/// Which networks. `train` takes the paper's for datasets that it knows, where nothing is given.
#[derive(Clone, Debug, clap::Args)]
pub struct Networks {
    /// resnet18, resnet34, resnet50, resnet101, resnet152, wide_resnet50_2 or wide_resnet101_2 [default: resnet18]
    #[arg(long)]
    backbone: Option<String>,
    /// Consecutive backbone layers whose features are used, finest first [default: 2,3]
    #[arg(long, value_delimiter = ',')]
    layers: Option<Vec<usize>>,
    /// Side in pixels that every picture is resized to; a multiple of 32, at least 64 (with layers up to 2: of 16, at least 32; with layer 4: of 64, at least 128) [default: 256]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
}

impl Networks {
    pub fn architecture(&self) -> Result<Architecture> {
        self.setup().architecture()
    }

    /// What was given of them.
    pub fn setup(&self) -> Setup {
        let (backbone, layers) = (self.backbone.clone(), self.layers.clone());
        Setup { backbone, layers, image_size: self.image_size, ..Setup::default() }
    }
}

/// A parser of one of the library's names, each with a line of help.
pub fn named<T: Clone + Send + Sync + 'static>(
    names: &'static [(&'static str, &'static str)],
    find: fn(&str) -> Result<T>,
) -> impl TypedValueParser<Value = T> {
    let values = names.iter().map(|(name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(move |name| find(&name))
}

/// From where on something is anomalous, in place of what the model says.
#[derive(Clone, Debug, clap::Args)]
pub struct Thresholds {
    /// Call pictures anomalous from this score on, whatever the model says
    #[arg(long, value_name = "SCORE", value_parser = finite, allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Call map values anomalous from this one on, whatever the model says
    #[arg(long, value_name = "VALUE", value_parser = finite, allow_negative_numbers = true)]
    pub pixel_threshold: Option<f64>,
}

impl Thresholds {
    /// By the model's, where none were given.
    pub fn judge(&self, model: &Config) -> Judge {
        Judge::new(model, self.threshold, self.pixel_threshold)
    }
}

/// A threshold: with one that is no number nothing would ever be anomalous.
fn finite(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| "expected a finite number".into())
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
    write(std::io::stdout().lock(), text)
}

/// The same for text with colours, which are left out where nobody would see them.
pub fn print_colored(text: &str) -> Result<()> {
    write(anstream::stdout().lock(), text)
}

fn write(mut out: impl Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).and_then(|_| out.flush()).map_err(|e| Error::io("standard output", e))
}

/// The command line as one would type it.
pub fn command_line() -> String {
    std::env::args_os().map(|a| quoted(&a.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// An argument as one would type it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.into()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
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

/// A share, as a number from 0 to 1 or in percent.
pub fn percentage(text: &str) -> std::result::Result<f64, String> {
    // Who writes 1 more likely means 1 % than all of them.
    if text.trim() == "1" {
        return Err("is that 1% or 100%? give the sign, or a share below 1".into());
    }
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|p| p / 100.0),
        None => text.parse().ok(),
    };
    value.filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| "expected a share, as 0.01 or 1%".into())
}

/// A count of at least 1.
pub fn count(text: &str) -> std::result::Result<usize, String> {
    match text.parse::<usize>() {
        Ok(v) if v >= 1 => Ok(v),
        _ => Err("expected a whole number of at least 1".into()),
    }
}
