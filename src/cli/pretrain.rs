//! `ckaad pretrain`: trains a backbone from nothing, on pictures that formulas draw.

use super::log_file::LogFile;
use super::options::{Device, count, named, share};
use super::progress;
use crate::data::formula::{FAMILIES, Formula, sheet};
use crate::model::Architecture;
use crate::output::{FileKind, OurFolder, Outputs, beside, checkpoint_of, expect_new, resume_or_force};
use crate::pretrain::{self, Ended, Event, Line, Objective, Optimizer, Recipe, Settings};
use crate::report::encode::png_rgb;
use crate::{Error, Result};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Train a backbone from nothing, on pictures that formulas draw
#[derive(clap::Args, Debug)]
#[command(after_help = "\
What comes of it is what --weights takes: the backbone with its batch norms folded, in 16 bits. With all defaults and --seed 1 it is \
the built-in one (--weights formula), but for how sums round (it was made on the CPU with --threads 2): three quarters of an hour on two CPU cores with AVX-512.

Ctrl-C finishes the step, writes a checkpoint beside --out and exits with 130; --resume goes on from there with the same \
losses, bit for bit, when the number of threads is the same.

Examples:
  ckaad pretrain --preview sheets                  # a picture of every family: rows are classes
  ckaad pretrain --steps 2000 --out small.safetensors
  ckaad pretrain --objective dense --steps 20000 --out dense.safetensors --keep-every 2000
  ckaad pretrain --objective dense --steps 20000 --out dense.safetensors --keep-every 2000 --resume
  ckaad train --data tiles --weights backbone.safetensors --out tiles.safetensors")]
pub struct Args {
    /// Write a contact sheet of every family of pictures (rows are its first classes) into this folder, and train nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "resume", "force", "keep_every", "commit"])]
    preview: Option<PathBuf>,
    /// Backbone to train, up to the last of --layers: resnet18, resnet34, resnet50, ...
    #[arg(long, default_value = "resnet18")]
    backbone: String,
    /// Consecutive layers; the dense objective has a head on each of them, the pooled one on the last
    #[arg(long, value_delimiter = ',', default_value = "2,3")]
    layers: Vec<usize>,
    /// Side of the pictures in pixels, a multiple of 32 from 64 (with layers up to 2: of 16 from 32, with layer 4: of 64 from 128), at most 512
    #[arg(long, default_value_t = 96, value_name = "PIXELS")]
    image_size: usize,
    /// What the network is asked of a picture
    #[arg(long, value_parser = named(Objective::NAMES, Objective::find), default_value = "pooled")]
    objective: Objective,
    /// Classes that every family of pictures has
    #[arg(long, default_value_t = 64, value_parser = count, value_name = "N")]
    classes_per_family: usize,
    /// Steps of the optimizer
    #[arg(long, default_value_t = 6000, value_name = "N")]
    steps: u32,
    /// Pictures in a step
    #[arg(long, default_value_t = 64, value_parser = count)]
    batch_size: usize,
    /// sgd, with --momentum, or adam
    #[arg(long, value_parser = ["sgd", "adam"], default_value = "sgd")]
    optimizer: String,
    /// Nesterov's, of sgd [default: 0.9]
    #[arg(long, value_parser = share)]
    momentum: Option<f64>,
    /// Learning rate after the warm-up [default: 0.1 with sgd, 0.001 with adam]
    #[arg(long)]
    lr: Option<f64>,
    /// L2 decay of the weights of convolutions and heads
    #[arg(long, default_value_t = 1e-4)]
    weight_decay: f64,
    /// Steps in which the learning rate rises from 0; then it falls to 0 as half a cosine [default: 500, at most a twelfth of
    /// --steps]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u32>,
    /// Share of the target that all classes have alike
    #[arg(long, value_parser = share, default_value = "0.1")]
    label_smoothing: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps between lines of the log
    #[arg(long, default_value_t = 100, value_name = "STEPS")]
    log_every: u32,
    /// Steps between checkpoints, each with the accuracy on held-out pictures
    #[arg(long, default_value_t = 1000, value_name = "STEPS")]
    checkpoint_every: u32,
    /// Steps between backbones that are kept, as OUT.step-N.safetensors [default: none]
    #[arg(long, default_value_t = 0, value_name = "STEPS", hide_default_value = true)]
    keep_every: u32,
    /// Held-out pictures
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    held_out: u32,
    /// Threads that draw pictures, beside those that compute
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    drawing_threads: u16,
    /// What the backbone's file says of the program's commit
    #[arg(long, default_value = "", hide_default_value = true, value_name = "HASH")]
    commit: String,
    /// Go on from the checkpoint beside --out
    #[arg(long)]
    resume: bool,
    /// Replace a backbone that is already there, with its log and checkpoint
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Backbone to write
    #[arg(long, default_value = "backbone.safetensors", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    device: Device,
}

impl Args {
    fn recipe(&self) -> Result<Recipe> {
        let optimizer = match &*self.optimizer {
            "adam" => Optimizer::Adam,
            _ => Optimizer::Sgd { momentum: self.momentum.unwrap_or(0.9) },
        };
        let lr = self.lr.unwrap_or(if optimizer == Optimizer::Adam { 1e-3 } else { 0.1 });
        Ok(Recipe {
            architecture: Architecture::new(&self.backbone, &self.layers, self.image_size)?,
            objective: self.objective,
            classes_per_family: self.classes_per_family,
            optimizer,
            lr,
            weight_decay: self.weight_decay,
            warmup: self.warmup.unwrap_or(500.min(self.steps / 12)),
            steps: self.steps,
            batch: self.batch_size,
            smoothing: self.label_smoothing,
            seed: self.seed,
        })
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let recipe = args.recipe()?;
    recipe.check()?;
    if recipe.optimizer == Optimizer::Adam && args.momentum.is_some() {
        warning!("--momentum changes nothing with --optimizer adam");
    }
    if let Some(folder) = &args.preview {
        return preview(folder, &recipe.formula());
    }
    let log = beside(&args.out, "log.jsonl");
    let mut outputs = vec![
        ("--out", args.out.clone(), FileKind::Tensors),
        ("--out, its log", log.clone(), FileKind::JsonLines),
        ("--out, its checkpoint", checkpoint_of(&args.out), FileKind::Tensors),
    ];
    let kept = pretrain::kept_steps(recipe.steps, args.keep_every).map(|step| pretrain::kept(&args.out, step));
    outputs.extend(kept.map(|path| ("--keep-every", path, FileKind::Tensors)));
    let mut written = Outputs::default();
    for (flag, path, kind) in &outputs {
        written = written.file(flag, path, *kind)?;
        if !args.resume && !args.force {
            expect_new(flag, path, resume_or_force(&args.out))?;
        }
    }
    if args.resume && !checkpoint_of(&args.out).exists() {
        let path = checkpoint_of(&args.out);
        return Err(Error::Usage(format!("--resume: there is no checkpoint {}", path.display())));
    }
    let steps = recipe.steps;
    let settings = Settings {
        recipe,
        backend: args.device.training_backend()?,
        out: args.out.clone(),
        resume: args.resume,
        log_every: args.log_every,
        checkpoint_every: args.checkpoint_every,
        keep_every: args.keep_every,
        held_out: args.held_out as usize,
        drawing: args.drawing_threads.into(),
        commit: args.commit.clone(),
    };
    let (stop, mut log) = (super::stop_on_ctrl_c()?, LogFile::open(&log, "step")?);
    let (bar, quiet) = (progress::bar("pretraining", steps.into()), !std::io::stderr().is_terminal());
    let mut held_out = String::new();
    let ended = pretrain::run(
        &settings,
        &mut |event| match event {
            Event::Start(step) => {
                if step > 0 {
                    note!("resumed after step {step}");
                }
                log.begin_behind(step.into());
                bar.set_position(step.into());
            }
            Event::Step(step, loss) => {
                bar.set_message(format!("loss {loss:.4}{held_out}"));
                bar.set_position(step.into());
            }
            Event::Line(line) => {
                if let Some(found) = &line.held_out {
                    held_out = format!("  held out {:.2} %", 100.0 * found.accuracy);
                }
                if quiet {
                    note!("{}", describe(line, steps));
                }
                log.write(line);
            }
        },
        &stop,
    );
    bar.finish_and_clear();
    match ended? {
        Ended::Finished => {
            note!("{} written", args.out.display());
            Ok(true)
        }
        Ended::Interrupted => {
            tell!("interrupted; --resume goes on from here");
            Err(Error::Cancelled)
        }
    }
}

/// A line of the log, for people.
fn describe(line: &Line, steps: u32) -> String {
    let held_out = line.held_out.map(|found| format!(", held out {:.2} %", 100.0 * found.accuracy));
    let waiting = if line.waiting >= 0.01 {
        format!(", {:.0} % of it for pictures", 100.0 * line.waiting)
    } else {
        String::new()
    };
    let (step, loss, seconds) = (line.step, line.loss, line.seconds);
    format!("step {step}/{steps}: loss {loss:.4}{}, {seconds:.0} s{waiting}", held_out.unwrap_or_default())
}

/// Classes on a contact sheet, and pictures of each.
const ROWS: usize = 16;
const COLUMNS: usize = 10;

/// Writes a contact sheet of every family.
fn preview(folder: &Path, formula: &Formula) -> Result<bool> {
    Outputs::default().folder("--preview", folder)?;
    let mut ours = OurFolder::open(folder.to_path_buf())?;
    for (i, family) in FAMILIES.iter().enumerate() {
        let picture = sheet(formula, i, formula.classes_per_family.min(ROWS), COLUMNS);
        let png = png_rgb(&picture.rgb, picture.width, picture.height)?;
        let path = ours.write(Path::new(&format!("{}.png", family.name)), |file| file.write_all(&png))?;
        note!("{}: {}", path.display(), family.summary);
    }
    Ok(true)
}
