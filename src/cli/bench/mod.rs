//! `ckaad bench`: how long scoring and training take, stage by stage and kernel by kernel.

mod against;
mod kernels;
mod score;
mod train;

use super::options::{Device, Format, Networks, print};
use crate::bench::Stats;
use crate::engine::device::cuda::{self, card};
use crate::engine::device::{self as engine, Backend};
use crate::engine::tape::Tape;
use crate::error::plural;
use crate::model::Architecture;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Measure scoring, a training step, or every kernel by itself
#[derive(clap::Args, Debug)]
#[command(after_help = "\
After three warm-ups or half a second of them, whichever is more: 200 repetitions or 3 seconds, whichever is less, each waited for. Weights and pixels are random unless real \
ones are given; neither changes a time by much. A warning on standard error says when the spread of the times means that the \
machine was busy with something else.

Examples:
  ckaad bench score --device cuda --precision bf16
  ckaad bench score --model bottle.safetensors --pictures pictures/test --batch-size 8
  ckaad bench train --backbone wide_resnet50_2 --layers 1,2,3 --features cached
  ckaad bench kernels --device cuda | less
  ckaad bench kernels --device cuda --precision bf16 --against cudnn
  ckaad bench kernels --device sim --card h200 --precision bf16     # needs no GPU: counters")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    Score(score::Args),
    Train(train::Args),
    Kernels(kernels::Args),
}

pub fn run(args: &Args) -> Result<bool> {
    match &args.what {
        What::Score(args) => score::run(args),
        What::Train(args) => train::run(args),
        What::Kernels(args) => kernels::run(args),
    }
}

/// What is measured where.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    device: Device,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The emulator's times say nothing about any device.
fn refuse_sim(backend: &Backend, work: &str) -> Result<()> {
    if backend.device != engine::Device::Sim {
        return Ok(());
    }
    let instead = format!("`ckaad bench kernels --work {work} --device sim` counts what its kernels do");
    Err(Error::Usage(format!("--device sim: the time the emulator takes is no GPU's; {instead}")))
}

/// Times of a workload's stages, to be printed.
struct Report<'a> {
    work: &'static str,
    architecture: &'a Architecture,
    batch: usize,
    backend: &'a Backend,
    launches: Option<usize>,
    /// Pictures in a batch, or in both halves of a training step.
    images: usize,
    images_per_s: f64,
    /// The first is the total.
    stages: Vec<(&'static str, Stats)>,
    /// What the command alone knows.
    more: (&'static str, Value),
    note: String,
}

impl Report<'_> {
    fn print(&self, format: Format) -> Result<()> {
        let total = &self.stages[0].1;
        if total.noisy() {
            warning!(
                "times of the {} vary (least {}, median {}, 95th percentile {}): this machine is busy or changes its \
                 clocks, and ratios to other measurements may be wrong",
                self.work,
                time(total.min_s),
                time(total.median_s),
                time(total.p95_s)
            );
        }
        match format {
            Format::Table => print(&self.table()?),
            Format::Json => print(&format!("{}\n", self.json()?)),
        }
    }

    fn table(&self) -> Result<String> {
        let a = self.architecture;
        let layers: Vec<String> = a.layers.iter().map(usize::to_string).collect();
        let mut out = format!(
            "{} of {} at {} px, layers {}, {}, on {}, {}{}\n\n{:<14} {:>10} {:>10} {:>10} {:>10}\n",
            self.work,
            a.backbone.name,
            a.image_size,
            layers.join(","),
            plural(self.images, "picture"),
            describe(self.backend)?,
            plural(self.stages[0].1.repetitions, "repetition"),
            self.launches.map_or_else(String::new, |n| format!(", {n} launches")),
            "",
            "median",
            "p95",
            "p99",
            "min"
        );
        for (name, s) in &self.stages {
            let [median, p95, p99, min] = [s.median_s, s.p95_s, s.p99_s, s.min_s].map(time);
            let _ = writeln!(out, "{name:<14} {median:>10} {p95:>10} {p99:>10} {min:>10}");
        }
        let _ = writeln!(out, "\n{:.1} pictures/s; {}", self.images_per_s, self.note);
        Ok(out)
    }

    fn json(&self) -> Result<Value> {
        let a = self.architecture;
        let stages: serde_json::Map<String, Value> =
            self.stages.iter().map(|(name, s)| (name.to_string(), json!(s))).collect();
        let mut object = json!({
            "implementation": "ckaad", "version": env!("CARGO_PKG_VERSION"), "work": self.work, "backbone": a.backbone.name,
            "layers": a.layers, "image_size": a.image_size, "batch_size": self.batch, "device": describe(self.backend)?,
            "precision": self.backend.number.to_string(), "threads": rayon::current_num_threads(),
            "repetitions": self.stages[0].1.repetitions, "stages": stages, "images_per_s": self.images_per_s,
            "launches": self.launches, "noisy": self.stages[0].1.noisy(),
        });
        object[self.more.0] = self.more.1.clone();
        Ok(object)
    }
}

/// The device, with the card's name where it has one.
fn describe(backend: &Backend) -> Result<String> {
    Ok(match backend.device {
        engine::Device::Cuda(index) => format!("{} ({})", backend.device, card::usable(index)?.name),
        device => device.to_string(),
    })
}

fn launches(tape: &Tape, backend: &Backend) -> Result<Option<usize>> {
    backend.target()?.map(|target| Ok(cuda::launches(tape, &target)?.len())).transpose()
}

/// Seconds for people.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}
