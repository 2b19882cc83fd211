//! `ckaad train`: trains a detector on a folder of pictures and writes a model file.

use super::options::{Device, Networks, TopK, Weights, count, non_negative, share, sigma, topk};
use super::progress;
use crate::data::folder::TrainSet;
use crate::model::TensorSource;
use crate::model::discriminator::Level;
use crate::train::checkpoint::beside;
use crate::train::features::CacheKind;
use crate::train::run::{self, Ended, EpochLog, Event, Settings};
use crate::train::step::{Hyper, Strategy};
use crate::{Error, Result, invalid};
use indicatif::ProgressBar;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Exit code after a second Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

/// Train a detector on a folder of pictures
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The folder holds train/good/*, and if there are any, train/anomalous/*: pictures known to be anomalous somewhere.
Without the latter, ckapatch and ckaimg distort normal pictures elastically instead. MVTec AD categories fit as they are.

Examples:
  ckaad weights fetch resnet18
  ckaad train --data screw --weights resnet18 --epochs 50 --out screw.safetensors
  ckaad train --data tiles --weights resnet18 --image-size 128 --strategy recon --out tiles.safetensors
  ckaad train --data screw --weights resnet18 --epochs 80 --out screw.safetensors --resume

Ctrl-C finishes the step, writes a checkpoint beside the model file and exits with 0; --resume goes on from there with
the same losses, bit for bit, when the number of threads is the same.

--precision bf16 (on a GPU or sim) computes the passes in bf16; weights, their gradients and Adam's
moments stay f32, and so does the model file. f16 is for scoring.")]
pub struct Args {
    /// Folder with train/good and, optionally, train/anomalous
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Backbone weights: a .pth or .safetensors file, a name from `ckaad weights list`, or `random`
    #[arg(long, value_name = "FILE|NAME")]
    pub weights: String,
    #[command(flatten)]
    pub networks: Networks,
    #[arg(long, default_value_t = 100, value_parser = count)]
    pub epochs: usize,
    /// Normal pictures in a step; as many anomalous ones come beside them
    #[arg(long, default_value_t = 16, value_parser = count)]
    pub batch_size: usize,
    /// Learning rate of the auto-encoder
    #[arg(long, default_value_t = 1e-3, value_parser = non_negative)]
    pub lr: f64,
    /// Learning rate of the discriminator
    #[arg(long, default_value_t = 1e-4, value_parser = non_negative)]
    pub d_lr: f64,
    /// Weight of generated features in the discriminator's loss; collected anomalies have 1 - gamma
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    pub gamma: f64,
    /// Weight of the adversarial term in the auto-encoder's loss
    #[arg(long, default_value_t = 0.02, value_parser = non_negative)]
    pub adv: f64,
    /// What the auto-encoder is trained with
    #[arg(long, value_enum, default_value_t = StrategyName::Ckapatch)]
    pub strategy: StrategyName,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Take the pictures in the order of their names in every epoch
    #[arg(long)]
    pub no_shuffle: bool,
    /// Share of the normal pictures that is held back from training to set the threshold
    #[arg(long, default_value_t = 0.1, value_parser = share, value_name = "SHARE")]
    pub holdout: f64,
    /// Quantile of the held-back pictures' scores that becomes the threshold
    #[arg(long, default_value_t = 0.98, value_parser = share, value_name = "QUANTILE")]
    pub threshold_quantile: f64,
    /// A picture's score is the mean of this many largest map values, or of `all`
    #[arg(long, default_value = "100", value_parser = topk, value_name = "K")]
    pub topk: TopK,
    /// Standard deviation of the map's Gaussian blur, in pixels
    #[arg(long, default_value_t = 4.0, value_parser = sigma)]
    pub sigma: f64,
    /// Where features of the training pictures are kept between epochs
    #[arg(long, value_enum, default_value_t = CacheKind::Auto)]
    pub feature_cache: CacheKind,
    /// Memory that decoded pictures, and again that features, may take
    #[arg(long, default_value_t = 2048, value_name = "MB")]
    pub cache_budget: usize,
    /// Epochs between checkpoints; 0 writes one only when interrupted
    #[arg(long, default_value_t = 10, value_name = "EPOCHS")]
    pub checkpoint_every: usize,
    /// Go on from the checkpoint beside the model file
    #[arg(long)]
    pub resume: bool,
    /// Model file to write
    #[arg(long, default_value = "model.safetensors", value_name = "FILE")]
    pub out: PathBuf,
    /// File with one JSON object per epoch [default: the model file with .log.jsonl]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    #[command(flatten)]
    pub device: Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StrategyName {
    /// Reconstruction of normal pictures only
    Recon,
    /// With a discriminator of patches (the paper's method)
    Ckapatch,
    /// With a discriminator of whole pictures
    Ckaimg,
}

impl StrategyName {
    pub fn strategy(self) -> Strategy {
        match self {
            StrategyName::Recon => Strategy::Recon,
            StrategyName::Ckapatch => Strategy::Adversarial(Level::Patch),
            StrategyName::Ckaimg => Strategy::Adversarial(Level::Image),
        }
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = args.device.training_backend()?;
    let architecture = args.networks.architecture()?;
    let folder = args.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() || args.out.is_dir() {
        return Err(Error::Usage(format!("--out {}: expected a file name in an existing folder", args.out.display())));
    }
    // Better to learn now than after the last epoch that nothing can be written there.
    let writable = tempfile::tempfile_in(folder);
    writable
        .map_err(|e| Error::Invalid(format!("--out {}: cannot write into this folder: {e}", args.out.display())))?;
    let weights = Weights::open(&args.weights, args.seed)?;
    let settings = Settings {
        architecture,
        backend,
        strategy: args.strategy.strategy(),
        hyper: Hyper { lr: args.lr, d_lr: args.d_lr, gamma: args.gamma, adv: args.adv, ..Hyper::default() },
        epochs: args.epochs,
        batch: args.batch_size,
        seed: args.seed,
        shuffle: !args.no_shuffle,
        holdout: args.holdout,
        quantile: args.threshold_quantile,
        topk: args.topk.0,
        sigma: args.sigma,
        cache: args.feature_cache,
        budget: args.cache_budget.saturating_mul(1_000_000),
        checkpoint_every: args.checkpoint_every,
        resume: args.resume,
        out: args.out.clone(),
        weights: weights.describe(),
    };
    let set = TrainSet::open(&args.data)?;
    let log_path = args.log.clone().unwrap_or_else(|| beside(&args.out, "log.jsonl"));
    let log = File::options().create(true).read(true).append(true).open(&log_path);
    let log = log.map_err(|e| Error::io(&log_path, e))?;

    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let handler = move || {
        // The first request is granted at the end of the step; whoever asks again does not want to wait.
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        invalid!("cannot listen for Ctrl-C: {e}");
    }
    let teller = Teller::new(args.epochs, Some(log));
    let ended = run::run(&settings, set, &weights, &|e| teller.tell(e), &stop)?;
    teller.finish();
    match ended {
        Ended::Finished { threshold } => {
            let threshold = match threshold {
                Some(t) => format!("threshold {t:.5}"),
                None => "no threshold: nothing was held back; `ckaad threshold` sets one".to_string(),
            };
            tell!("{} written ({threshold})", args.out.display());
        }
        Ended::Interrupted { saved: true } => tell!("interrupted; --resume goes on from here"),
        Ended::Interrupted { saved: false } => {
            tell!("interrupted before the first step; nothing was written")
        }
    }
    Ok(true)
}

/// Shows a run's events and keeps its log.
pub struct Teller {
    bar: Mutex<Option<ProgressBar>>,
    log: Option<Mutex<File>>,
    epochs: usize,
    /// Epochs of an earlier run that the log keeps, until this run's first line is written.
    behind: Mutex<Option<usize>>,
    /// Standard error is no terminal: one line an epoch instead of bars.
    quiet: bool,
}

/// A lock whose holder cannot have panicked half-way through anything that matters.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Teller {
    pub fn new(epochs: usize, log: Option<File>) -> Self {
        let quiet = !std::io::stderr().is_terminal();
        Teller { bar: Mutex::new(None), log: log.map(Mutex::new), epochs, behind: Mutex::new(None), quiet }
    }

    pub fn tell(&self, event: Event) {
        match event {
            Event::Decoded(done, of) => self.advance("pictures", done, of, String::new()),
            Event::Features(done, of) => self.advance("features", done, of, String::new()),
            Event::Step { epoch, step, steps, losses } => {
                let [d_loss, recon, adv, _] = losses.0;
                let message = format!("epoch {epoch}/{}  recon {recon:.4}  d {d_loss:.4}  adv {adv:.4}", self.epochs);
                self.advance("training", (epoch - 1) * steps + step, self.epochs * steps, message);
            }
            Event::Data { normal, held_back, anomalous, elastic } => {
                let pseudo = if elastic { ", anomalies by elastic distortion" } else { "" };
                self.line(&format!("{normal} normal pictures, {held_back} held back, {anomalous} anomalous{pseudo}"));
            }
            Event::Start { epoch, step } => {
                if (epoch, step) != (0, 0) {
                    self.line(&format!("resumed in epoch {}, after step {step}", epoch + 1));
                }
                *lock(&self.behind) = Some(epoch);
            }
            Event::Epoch(log) => {
                if self.quiet {
                    self.line(&format!(
                        "epoch {}/{}: recon {:.5}, d_loss {:.5}, adv {:.5}, {:.1} s",
                        log.epoch, self.epochs, log.recon, log.d_loss, log.adv, log.seconds
                    ));
                }
                self.write_log(log);
            }
        }
    }

    fn line(&self, text: &str) {
        self.finish();
        tell!("{text}");
    }

    fn advance(&self, what: &str, done: usize, of: usize, message: String) {
        let Ok(mut bar) = self.bar.lock() else { return };
        if bar.as_ref().is_none_or(|b| b.prefix() != what) {
            if let Some(b) = bar.take() {
                b.finish_and_clear();
            }
            *bar = Some(progress::bar(what, of as u64));
        }
        if let Some(b) = &*bar {
            b.set_message(message);
            b.set_position(done as u64);
        }
    }

    /// Cuts the log after the lines of the first `epochs` epochs: what a run behind it wrote, this one writes again.
    fn keep_log(&self, epochs: usize) {
        let Some(Ok(mut file)) = self.log.as_ref().map(Mutex::lock) else { return };
        // A pipe or a device has no lines to keep.
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            return;
        }
        let mut text = String::new();
        let cut = file.read_to_string(&mut text).and_then(|_| {
            let done = |line: &&str| {
                let line: Result<serde_json::Value, _> = serde_json::from_str(line);
                line.is_ok_and(|l| l["epoch"].as_u64().is_some_and(|e| e <= epochs as u64))
            };
            let kept: usize = text.split_inclusive('\n').take_while(done).map(str::len).sum();
            file.set_len(kept as u64)
        });
        if let Err(e) = cut {
            tell!("ckaad: warning: the old log cannot be cut: {e}");
        }
    }

    fn write_log(&self, log: &EpochLog) {
        // Only now is there something to take the place of what an earlier run wrote.
        if let Some(epochs) = lock(&self.behind).take() {
            self.keep_log(epochs);
        }
        let Some(Ok(mut file)) = self.log.as_ref().map(Mutex::lock) else { return };
        let written =
            serde_json::to_string(log).map_err(std::io::Error::from).and_then(|line| writeln!(file, "{line}"));
        if let Err(e) = written {
            tell!("ckaad: warning: the log cannot be written: {e}");
        }
    }

    pub fn finish(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(b) = bar.take()
        {
            b.finish_and_clear();
        }
    }
}
