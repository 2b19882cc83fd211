//! `ckaad plan`: what a training step or scoring will need in memory, and what it will launch, before anything runs.

use super::detector::DetectorArgs;
use super::options::{Device, Format, Networks, card, count, print};
use crate::bench::parts::{self, Part};
use crate::bench::roofline::{Card, Limits, of_backend};
use crate::bench::workload::{Kind, Workload};
use crate::detector::Learning;
use crate::detector::file::ModelFile;
use crate::engine::device::cuda::{self};
use crate::engine::device::{Backend, cpu};
use crate::engine::tape::Tape;
use crate::engine::toolkit::cuda::Target;
use crate::{Error, Result};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Show the memory that training or scoring needs, the program itself, and what it launches
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad plan score --backbone wide_resnet50_2 --layers 1,2,3
  ckaad plan train --image-size 128 --batch-size 16 --program | less
  ckaad plan score --device sim --card h200 --precision bf16 --launch-trace     # no GPU needed")]
pub struct Args {
    /// What is planned
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    networks: Networks,
    /// A model file, which says the detector and the networks, and what of it has 8 bits; to score
    #[arg(long, value_name = "FILE", conflicts_with_all = told_by_model())]
    model: Option<PathBuf>,
    /// Pictures at a time [default: 1 to score, 16 to train]
    #[arg(long, value_parser = count)]
    batch_size: Option<usize>,
    #[command(flatten)]
    detector: DetectorArgs,
    /// Print every record of the program, too
    #[arg(long)]
    program: bool,
    /// Print every kernel launch, too, and on a GPU the least time the card can take for it
    #[arg(long)]
    launch_trace: bool,
    /// With --device sim: plan as for this card (a100, a40, h100, h200, l4, l40s, rtx3090, rtx4090, rtx5090)
    #[arg(long, value_parser = card)]
    card: Option<Card>,
    #[command(flatten)]
    device: Device,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum What {
    Train,
    Score,
}

impl What {
    /// The program that commands plan or measure when nothing else is said.
    pub fn workload(self, networks: &Networks, batch: Option<usize>, detector: &DetectorArgs) -> Result<Workload> {
        let (architecture, detector) = (networks.architecture()?, detector.detector()?);
        let kind = match self {
            What::Score => Kind::Score { batch: batch.unwrap_or(1) },
            What::Train => Kind::Train { batch: batch.unwrap_or(16), cached: false },
        };
        Ok(Workload { detector, architecture, kind, scheme: None })
    }
}

/// Flags that say what a model file says.
pub fn told_by_model() -> impl Iterator<Item = &'static str> {
    ["backbone", "layers", "image_size"].into_iter().chain(DetectorArgs::names())
}

pub fn run(args: &Args) -> Result<bool> {
    let model = args.model.as_deref().map(ModelFile::open).transpose()?;
    let backend = match (args.what, &model) {
        (What::Train, Some(_)) => return Err(Error::Usage("--model: what is planned of a model is to score".into())),
        (What::Train, None) => args.device.training_backend()?,
        (What::Score, None) => args.device.backend()?,
        (What::Score, Some(model)) => args.device.backend_for(&model.config)?,
    };
    if let Some(model) = model {
        let program = model.config.scoring(args.batch_size.unwrap_or(1), backend.number)?;
        return show(args, &backend, &program.tape).map(|()| true);
    }
    let workload = args.what.workload(&args.networks, args.batch_size, &args.detector)?;
    for program in workload.record(backend.number)? {
        show(args, &backend, &program.tape)?;
        if matches!(args.what, What::Train) && matches!(workload.detector.learning(), Learning::Fit(_)) {
            // Beside the session's memory, and as much of it as there are pictures.
            let shapes = program.reports.iter().map(|(_, var)| program.tape.shape(*var));
            let values: usize = shapes.map(|s| s.len() / s.n()).sum();
            let bytes = values * program.tape.dtype().size();
            note!(
                "ckaad: this computes the features of one batch; those of all pictures, {:.2} MB each, are kept in the host's memory \
                 or a file (`ckaad train --cache-budget`) until the detector is fitted to them",
                bytes as f64 / 1e6
            );
        }
    }
    Ok(true)
}

/// Shows one program.
fn show(args: &Args, backend: &Backend, tape: &Tape) -> Result<()> {
    let target = target(backend, args.card.as_ref())?;
    let plan = match &target {
        Some(target) => cuda::plan(tape, target)?,
        None => cpu::plan(tape)?,
    };
    let trace = match &target {
        Some(target) if args.launch_trace => {
            let card = args.card.clone().map_or_else(|| of_backend(backend), |c| Ok(Some(c)))?;
            Some(parts::planned(tape, target.number, card.map(Limits::Card).as_ref(), cuda::launches(tape, target)?))
        }
        None if args.launch_trace => {
            return Err(Error::Usage("--launch-trace: the CPU launches nothing; use --device cuda or sim".into()));
        }
        _ => None,
    };
    let usage = plan.usage;
    match args.format {
        Format::Table => {
            if args.program {
                print(&tape.to_string())?;
            }
            if let Some(trace) = &trace {
                print(&table(trace))?;
            }
            print(&format!("{} records\n{usage}\n", tape.records().len()))
        }
        Format::Json => {
            let mut object = serde_json::json!({
                "records": tape.records().len(),
                "parameter_bytes": usage.parameters,
                "optimizer_bytes": usage.optimizer,
                "packed_bytes": usage.packed,
                "activation_bytes": usage.activations,
                "activation_bytes_without_reuse": usage.activations_unshared,
            });
            if args.program {
                let lines: Vec<String> = tape.to_string().lines().map(Into::into).collect();
                object["program"] = lines.into();
            }
            if let Some(trace) = &trace {
                object["launches"] = serde_json::json!(trace);
            }
            print(&format!("{object}\n"))
        }
    }
}

/// What kernels are chosen for: the device, or with the emulator any card.
pub fn target(backend: &Backend, card: Option<&Card>) -> Result<Option<Target>> {
    let own = backend.target()?;
    match (own, card) {
        (own, None) => Ok(own),
        (Some(own), Some(card)) if backend.device == crate::engine::device::Device::Sim => {
            Ok(Some(Target { multiprocessors: card.multiprocessors, chip: card.chip, ..own }))
        }
        (_, Some(_)) => {
            Err(Error::Usage(format!("--card: {} is what it is; only --device sim can be another", backend.device)))
        }
    }
}

/// One line a launch, and their sum.
fn table(trace: &[Part]) -> String {
    let mut out = format!("{:>4} {:>14} {:>7} {:<34} {:>9}  layer\n", "", "grid", "threads", "kernel", "least us");
    let us = |s: Option<f64>| s.map_or_else(|| "-".into(), |s| format!("{:.2}", s * 1e6));
    for (i, p) in trace.iter().enumerate() {
        let grid = p.grid.map_or_else(String::new, |g| g.map(|n| n.to_string()).join("x"));
        let threads = p.threads.map_or_else(String::new, |t| t.to_string());
        let least = us(p.least_s);
        let _ = writeln!(out, "{i:>4} {grid:>14} {threads:>7} {:<34} {least:>9}  {}", p.name, p.layer);
    }
    let least = trace.iter().map(|p| p.least_s).sum::<Option<f64>>();
    let _ = writeln!(out, "{} launches, {} us at least\n", trace.len(), us(least));
    out
}
