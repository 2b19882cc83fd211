//! `ckaad train`: trains a detector on a folder of pictures and writes a model file.

use super::data::{Data, Named};
use super::detector::DetectorArgs;
use super::framing::Framed;
use super::inputs::{expect_all_used, tell_hard_links, tell_left_out, tell_passed_over};
use super::log_file::LogFile;
use super::options::{Device, Networks, count, named, percentage, plural, share};
use super::progress;
use super::quantize::quantize_file;
use crate::data::digest;
use crate::data::image::Source;
use crate::data::layout::{COARSE, Category, NORMAL, Sample, TrainSet};
use crate::detector::provenance::{Calibration, Origin};
use crate::detector::{Detector, Learning};
use crate::model::TensorSource;
use crate::model::pretrained::{IMAGENET, Pretrained, usual_weights};
use crate::output::{FileKind, Outputs, beside, checkpoint_of, expect_new, remove_checkpoint, resume_or_force};
use crate::quantize;
use crate::train;
use crate::train::events::{Ended, Event, Losses};
use crate::train::features::CacheKind;
use crate::train::settings::{Calibrate, Settings};
use crate::train::setup::Setup;
use crate::weights::registry::FORMULA;
use crate::{Error, Result};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const CHECKPOINT_EVERY: usize = 10;

/// Train a detector on a folder of pictures
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Good pictures alone are enough: --normal names their folder. Pictures known to be anomalous somewhere (--anomalous) make the \
detector better; without any, strategies that need some distort normal pictures elastically instead. \
--data names a dataset, with train/good/* and, if there are any, train/anomalous/*, or one that lies as its owners publish it \
(MVTec AD, VisA, ISIC 2018, CIFAR-10 and others; `ckaad data check` says what it is taken for). Labelled anomalies among its \
training pictures are used.

Examples:
  ckaad train --normal photos/good --out screw.safetensors
  ckaad weights fetch resnet18 && ckaad train --normal photos/good --weights imagenet --out screw.safetensors
  ckaad train --normal photos/good --anomalous photos/bad --folds 3 --max-false-alarms 1% \\
      --out screw.safetensors
  ckaad train --normal sheets/good --tile 512 --overlap 128 --roi mask.png --out sheets.safetensors
  ckaad train --data screw --epochs 50 --out screw.safetensors
  ckaad train --data mvtec --category screw --out screw.safetensors
  ckaad train --data parts.csv --best-f1 --out parts.safetensors
  ckaad train --data cifar-10-batches-bin --normal-class ship --out ship.safetensors
  ckaad train --data tiles --image-size 128 --strategy recon --out t.safetensors
  ckaad train --normal sheets/good --tile 512 --overlap 128 --roi mask.png --out sheets.safetensors
  ckaad train --data screw --detector patchcore --out bank.safetensors
  ckaad train --normal sheets/good --tile 512 --overlap 128 --roi mask.png --out sheets.safetensors
  ckaad train --data screw --epochs 80 --out screw.safetensors --resume
  ckaad train --normal sheets/good --tile 512 --overlap 128 --roi mask.png --out sheets.safetensors
  ckaad train --data screw --out screw.safetensors --quantize screw-int8.safetensors

Ctrl-C finishes the step, writes a checkpoint beside the model file and exits with 130; --resume goes on from there with \
the same losses, bit for bit, when the number of threads is the same.

--tile is for pictures much larger than what the network sees (--image-size): each tile is trained on and scored by itself, their maps fade \
into each other over what neighbours share, and a picture's score is taken from the whole map. The rim of a tile is where it sees \
least well, and an overlap gives it little weight. A picture may have 2^29 pixels, without tiles 2^27; scoring one takes, beside \
what a small one takes, 3 bytes a pixel (of 8-bit files), its file, and 0.1 GB. Of a picture that is known to be \
anomalous every tile is taken for anomalous. --roi keeps everything outside of the mask from having any influence.

--precision bf16 (on a GPU or sim) computes the passes in bf16; weights, their gradients and Adam's \
moments stay f32, and so does the model file. f16 is for scoring.")]
pub struct Args {
    #[command(flatten)]
    pub data: Data,
    /// Folder of normal pictures (with all folders below), in place of --data
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    pub normal: Option<PathBuf>,
    /// Folder of pictures known to be anomalous somewhere, beside --normal
    #[arg(long, value_name = "DIR", requires = "normal", conflicts_with = "data")]
    pub anomalous: Option<PathBuf>,
    /// Folder of their masks: nothing is learned from masks, but where they lie among the pictures they are taken for none
    #[arg(long, value_name = "DIR", requires = "anomalous", conflicts_with = "data")]
    pub masks: Option<PathBuf>,
    /// Backbone weights: `formula` for the built-in ones of resnet18 (layers 1 to 3), `imagenet` for the backbone's download, a name
    /// from `ckaad weights list`, a .pth or .safetensors file, or `random` [default: formula where these fit, else imagenet]
    #[arg(long, value_name = "FILE|NAME")]
    pub weights: Option<String>,
    #[command(flatten)]
    pub networks: Networks,
    #[command(flatten)]
    pub framed: Framed,
    /// Passes over the normal pictures, of a detector that learns step by step [default: 100]
    #[arg(long, value_parser = count)]
    pub epochs: Option<usize>,
    /// Normal pictures in a step; as many anomalous ones come beside them [default: 16]
    #[arg(long, value_parser = count)]
    pub batch_size: Option<usize>,
    /// Take the usual defaults, not what the paper trains a dataset that it knows with (isic2018, chest_xray, oct2017, br35h,
    /// visa; --layout mvtec)
    #[arg(long, requires = "data")]
    pub own_settings: bool,
    #[command(flatten)]
    pub detector: DetectorArgs,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Take the pictures in the order of their names in every epoch
    #[arg(long)]
    pub no_shuffle: bool,
    /// Share of the normal pictures that is held back from training to set the threshold [default: 0.1]
    #[arg(long, value_parser = share, value_name = "SHARE", conflicts_with = "best_f1")]
    pub holdout: Option<f64>,
    /// Hold nothing back, set the threshold by cross-validation: train again without each of N parts of the normal pictures
    /// [default: 5 where fewer than 30 pictures would be held back and the detector is fitted at once]
    #[arg(long, value_name = "N", conflicts_with_all = ["holdout", "best_f1"], value_parser = count)]
    pub folds: Option<usize>,
    /// Threshold by a target false positive rate: the share of normal pictures that may be called anomalous, as 0.01 or 1%; the
    /// threshold lies between the scores that may reach it and those that may not
    #[arg(long, default_value = "2%", value_parser = percentage, value_name = "SHARE")]
    pub max_false_alarms: f64,
    /// Threshold by a quantile of the normal pictures' scores: the same the other way round, 0.98 is 2% of false alarms
    #[arg(long, value_parser = share, value_name = "QUANTILE", conflicts_with = "max_false_alarms")]
    pub threshold_quantile: Option<f64>,
    /// Threshold by the best F1 on the dataset's labelled validation pictures, normal and anomalous ones, with nothing held back; that
    /// of pixels stays the 0.98-quantile of the normal ones' highest map values
    #[arg(long, requires = "data", conflicts_with_all = ["max_false_alarms", "threshold_quantile"])]
    pub best_f1: bool,
    /// Where features of the training pictures are kept between epochs
    #[arg(long, value_parser = named(CacheKind::NAMES, CacheKind::find), default_value = "auto")]
    pub feature_cache: CacheKind,
    /// Memory that decoded pictures, and again that features and what a detector is fitted from, may take; the rest is in files
    #[arg(long, default_value_t = 2048, value_name = "MB")]
    pub cache_budget: usize,
    /// Epochs between checkpoints; 0 writes one only when interrupted [default: 10]
    #[arg(long, value_name = "EPOCHS")]
    pub checkpoint_every: Option<usize>,
    /// Go on from the checkpoint beside the model file
    #[arg(long)]
    pub resume: bool,
    /// Replace a model that is already there, with its log and checkpoint
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Model file to write
    #[arg(long, default_value = "model.safetensors", value_name = "FILE")]
    pub out: PathBuf,
    /// Write the model with 8-bit weights, too, into this file, as `ckaad quantize` does, by the normal training pictures
    #[arg(long, value_name = "FILE")]
    pub quantize: Option<PathBuf>,
    /// File with one JSON object per epoch [default: the model file with .log.jsonl]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    #[command(flatten)]
    pub device: Device,
}

impl Args {
    /// Refuses what only a detector that learns step by step has a use for.
    fn expect_to_matter(&self, detector: &dyn Detector) -> Result<()> {
        let Learning::Fit(_) = detector.learning() else { return Ok(()) };
        let given = [
            ("epochs", self.epochs.is_some()),
            ("checkpoint-every", self.checkpoint_every.is_some()),
            ("no-shuffle", self.no_shuffle),
            ("resume", self.resume),
            ("log", self.log.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                let name = detector.method().name;
                Err(Error::Usage(format!("--{flag}: {name} is fitted in one go, there are no steps; leave it out")))
            }
            None => Ok(()),
        }
    }
}

fn log_path(args: &Args) -> PathBuf {
    args.log.clone().unwrap_or_else(|| beside(&args.out, "log.jsonl"))
}

/// Refuses to write where nothing can be written, where something is already, and over what is read.
fn expect_outputs(args: &Args, detector: &dyn Detector, weights: &Pretrained, set: &TrainSet) -> Result<()> {
    let mut outputs = vec![("--out", args.out.clone(), FileKind::Tensors)];
    if let Learning::Steps(_) = detector.learning() {
        outputs.push(("--log", log_path(args), FileKind::JsonLines));
        outputs.push(("--out, its checkpoint", checkpoint_of(&args.out), FileKind::Tensors));
    }
    outputs.extend(args.quantize.iter().map(|path| ("--quantize", path.clone(), FileKind::Tensors)));
    let mut written = Outputs::default();
    for (flag, path, kind) in &outputs {
        written = written.file(flag, path, *kind)?;
        if !args.resume && !args.force {
            let advice = match detector.learning() {
                Learning::Steps(_) => resume_or_force(&args.out),
                Learning::Fit(_) => "--force replaces it",
            };
            expect_new(flag, path, advice)?;
        }
    }
    weights.file().map_or(Ok(()), |file| written.expect_apart(file))?;
    let files = set.good.iter().chain(&set.anomalous).chain(&set.validation).filter_map(|sample| sample.source.file());
    files.into_iter().try_for_each(|file| written.expect_apart(file))?;
    tell_hard_links(&written);
    Ok(())
}

/// What is taken, where pictures have classes.
fn tell_classes(set: &TrainSet) {
    let mut classes: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    for sample in set.good.iter().chain(&set.anomalous) {
        *classes.entry((sample.anomalous, &sample.kind)).or_default() += 1;
    }
    let of = |anomalous: bool| {
        let classes = classes.iter().filter(|(key, _)| key.0 == anomalous);
        classes.map(|((_, kind), count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    };
    let usual = |kind: &str| [NORMAL[0], COARSE].contains(&kind) || set.taken_for_normal.iter().any(|t| t == kind);
    if classes.keys().any(|(_, kind)| !usual(kind)) {
        let anomalous = if set.anomalous.is_empty() { "none".into() } else { of(true) };
        note!("ckaad: to train on: normal {}; anomalous {anomalous}", of(false));
    }
}

/// Pictures that are to be tested on, and trained on as well: scores of these say little.
fn tell_tested(trained: &[&Sample], tested: &[Sample]) {
    let groups = digest::equal(trained.iter().copied().chain(tested).map(|sample| &sample.source));
    let both = groups.iter().filter(|group| group[0] < trained.len());
    let mut both = both.flat_map(|group| group.iter().filter_map(|&i| i.checked_sub(trained.len())));
    if let Some(first) = both.next() {
        let (n, of) = (both.count() + 1, plural(tested.len(), "test picture"));
        let first = tested[first].source.path().display();
        warning!("{n} of {of} are trained on as well, as {first}: equal files (`ckaad data check` lists them)");
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let Named { dataset, root, normal_class, mut categories } = args.data.open()?;
    let by_steps = matches!(args.detector.detector()?.learning(), Learning::Steps(_));
    // The paper's are of a method that learns by steps.
    let usual = match &categories[..] {
        _ if args.own_settings || !by_steps => None,
        [only] => Setup::of_category(&dataset, &only.name, &root),
        _ => Setup::of_dataset(&dataset, ""),
    };
    if let Some(usual) = &usual {
        note!("ckaad: {dataset}: trained as in the paper, but for flags ({usual}); --own-settings leaves that");
    }
    let asked = args.framed.setup(args.networks.setup());
    let asked = Setup { epochs: args.epochs, batch_size: args.batch_size, ..asked };
    let setup = asked.or(&usual.unwrap_or_default());
    let (architecture, framing) = (setup.architecture()?, setup.framing()?);
    let detector = args.detector.detector_with(&setup.options)?;
    args.expect_to_matter(&*detector)?;
    for flag in args.detector.unused(&*detector) {
        let with = detector.options().text("strategy").map_or(String::new(), |name| format!(" with --strategy {name}"));
        warning!("--{flag} changes nothing{with}");
    }
    let epochs = setup.epochs();
    let tested: Vec<Sample> = categories.iter().flat_map(|c| &c.test).flat_map(|set| &set.images).cloned().collect();
    let train = |c: Category| (c.name, c.train.map(|set| TrainSet { validation: c.validation, ..set }));
    let set = match (categories.len(), &args.normal) {
        (1, _) => train(categories.remove(0)).1?,
        (2.., _) => TrainSet::of_categories(categories.into_iter().map(train).collect())?,
        (0, Some(normal)) => TrainSet::of_folders(normal, args.anomalous.as_deref(), args.masks.as_deref())?,
        (0, None) => return Err(Error::Usage("which pictures? --normal DIR, or --data DIR".into())),
    };
    let named = args.weights.as_deref().unwrap_or(usual_weights(&architecture));
    let weights = Pretrained::open(named, &architecture, args.seed)?;
    expect_outputs(args, &*detector, &weights, &set)?;
    if args.weights.is_none() && named == FORMULA {
        note!(
            "ckaad: backbone weights: the built-in ones (--weights {FORMULA}); --weights {IMAGENET} takes the download"
        );
    }
    tell_passed_over(&set.passed_over);
    let left_out = set.left_out.len();
    set.left_out.iter().for_each(|reason| tell_left_out(reason));
    tell_classes(&set);
    for kind in &set.taken_for_normal {
        note!("ckaad: train/{kind} is taken for the normal pictures");
    }
    let uses_anomalies = matches!(detector.learning(), Learning::Steps(how) if how.uses_anomalies());
    if !uses_anomalies && !set.anomalous.is_empty() {
        let unused = plural(set.anomalous.len(), "anomalous picture");
        let unused = format!("{unused} not used: this detector learns from normal ones alone");
        match args.anomalous {
            Some(_) => warning!("--anomalous: {unused}"),
            None => note!("ckaad: {unused}"),
        }
    }
    let anomalous = set.anomalous.iter().filter(|_| uses_anomalies);
    tell_tested(&set.good.iter().chain(anomalous).collect::<Vec<_>>(), &tested);
    let backend = args.device.training_backend()?;
    let calibrate = match (args.folds, args.holdout) {
        _ if args.best_f1 => Calibrate::BestF1,
        (Some(folds), _) => Calibrate::CrossValidation { folds },
        (None, Some(share)) => Calibrate::HoldOut(share),
        (None, None) => Calibrate::usual(detector.learning(), set.good.len()),
    };
    let settings = Settings {
        architecture,
        framing,
        backend,
        detector,
        epochs,
        batch: setup.batch_size(),
        seed: args.seed,
        shuffle: !args.no_shuffle,
        calibrate,
        quantile: args.threshold_quantile.unwrap_or(1.0 - args.max_false_alarms),
        cache: args.feature_cache,
        budget: args.cache_budget.saturating_mul(1_000_000),
        checkpoint_every: args.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
        resume: args.resume,
        out: args.out.clone(),
        weights: weights.describe(),
        normal_class,
    };
    let log = match settings.detector.learning() {
        Learning::Steps(_) => Some(LogFile::open(&log_path(args), "epoch")?),
        Learning::Fit(_) => None,
    };

    let normal: Vec<Source> = set.good.iter().map(|sample| sample.source.clone()).collect();
    let stop = super::stop_on_ctrl_c()?;
    let teller = Teller::new(epochs, &*settings.detector, log);
    let ended = train::run(&settings, set, &weights, &|e| teller.tell(e), &stop)?;
    teller.finish();
    match ended {
        Ended::Finished { threshold, calibration } => {
            if let Learning::Fit(_) = settings.detector.learning()
                && args.force
            {
                // Of the model that this one took the place of.
                remove_checkpoint(&args.out)?;
            }
            let text = match threshold {
                Some(t) => format!("threshold {t:.5}"),
                None => {
                    warning!("no picture was held back, so the model has no threshold; `ckaad threshold` sets one");
                    "no threshold".to_string()
                }
            };
            note!("{} written ({text})", args.out.display());
            if let (Some(calibration), Some(threshold)) = (calibration, threshold) {
                tell_calibration(&calibration, threshold)?;
            }
            tell_checkpoint(&args.out);
            if let Some(out) = &args.quantize {
                let done = quantize_file(&args.out, out, &normal, &quantize::Settings::default(), &stop);
                if matches!(done, Err(Error::Cancelled)) {
                    tell!("interrupted; `ckaad quantize --model {}` goes on from here", args.out.display());
                }
                done?;
            }
            expect_all_used(left_out)?;
            Ok(true)
        }
        Ended::Interrupted { saved } => {
            tell!(
                "{}",
                if saved { "interrupted; --resume goes on from here" } else { "interrupted; nothing was written" }
            );
            Err(Error::Cancelled)
        }
    }
}

/// What the threshold rests on, and how far to trust it.
pub fn tell_calibration(calibration: &Calibration, threshold: f64) -> Result<()> {
    note!("threshold: {}", calibration.describe(threshold)?);
    if let Some(doubt) = calibration.doubt() {
        let more = match calibration.origin {
            Origin::HeldBack => {
                "--folds 3 takes all of them, by training three times more; or run `ckaad threshold` with other normal pictures"
            }
            Origin::BestF1 { .. } => "run `ckaad threshold --best-f1` with more of them",
            _ => "run `ckaad threshold` with other normal pictures",
        };
        warning!("{doubt}. {more}");
    }
    Ok(())
}

/// A checkpoint is large, and few know that it is there.
fn tell_checkpoint(out: &Path) {
    let path = checkpoint_of(out);
    if let Ok(found) = std::fs::metadata(&path) {
        let megabytes = found.len() as f64 / 1e6;
        note!(
            "{} ({megabytes:.0} MB) is for --resume with more --epochs; delete it if there will be none",
            path.display()
        );
    }
}

/// Shows a run's events and keeps its log.
pub struct Teller {
    bar: Mutex<Option<ProgressBar>>,
    log: Option<Mutex<LogFile>>,
    epochs: usize,
    /// Losses that are shown.
    shown: &'static [&'static str],
    /// Standard error is no terminal: one line an epoch instead of bars.
    quiet: bool,
}

impl Teller {
    pub fn new(epochs: usize, detector: &dyn Detector, log: Option<LogFile>) -> Self {
        let shown = match detector.learning() {
            Learning::Steps(how) => how.shown(),
            Learning::Fit(_) => &[],
        };
        let quiet = !std::io::stderr().is_terminal();
        Teller { bar: Mutex::new(None), log: log.map(Mutex::new), epochs, shown, quiet }
    }

    pub fn tell(&self, event: Event) {
        match event {
            Event::Decoded(done, of) => self.advance("pictures", done, of, String::new()),
            Event::Warning(text) => {
                self.finish();
                warning!("{text}");
            }
            Event::Features(done, of) => self.advance("features", done, of, String::new()),
            Event::Fitting(stage, done, of) => self.advance(stage, done, of, String::new()),
            Event::Fold { fold, folds, before, done, of } => {
                if done == 0 && self.quiet {
                    self.line(&format!("cross-validation: without part {fold} of {folds}"));
                } else {
                    self.advance("validation", before + done, of, format!("part {fold}/{folds}"));
                }
            }
            Event::Step { epoch, step, steps, losses } => {
                let losses = self.list(losses, |name, v| format!("  {name} {v:.4}"));
                let message = format!("epoch {epoch}/{}{losses}", self.epochs);
                self.advance("training", (epoch - 1) * steps + step, self.epochs * steps, message);
            }
            Event::Data { normal, held_back, anomalous, elastic } => {
                let normal = plural(normal, "normal picture");
                let pseudo = if elastic { ", anomalies by elastic distortion" } else { "" };
                self.line(&format!("{normal}, {held_back} held back, {anomalous} anomalous{pseudo}"));
            }
            Event::Start { epoch, step, .. } => {
                if epoch == self.epochs {
                    self.line(&format!("all {epoch} epochs were done before; only the threshold is taken again"));
                } else if (epoch, step) != (0, 0) {
                    self.line(&format!("resumed in epoch {}, after step {step}", epoch + 1));
                }
                self.with_log(|log| log.begin_behind(epoch as u64));
            }
            Event::Epoch(log) => {
                if self.quiet {
                    let losses = self.list(&log.losses, |name, v| format!("{name} {v:.5}, "));
                    self.line(&format!("epoch {}/{}: {losses}{:.1} s", log.epoch, self.epochs, log.seconds));
                }
                self.with_log(|file| file.write(log));
            }
        }
    }

    /// The losses that are shown, each as `one` writes it.
    fn list(&self, losses: &Losses, one: impl Fn(&str, f64) -> String) -> String {
        self.shown.iter().map(|name| one(name, losses.get(name))).collect()
    }

    fn line(&self, text: &str) {
        self.finish();
        note!("{text}");
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

    fn with_log(&self, write: impl FnOnce(&mut LogFile)) {
        if let Some(Ok(mut log)) = self.log.as_ref().map(Mutex::lock) {
            write(&mut log);
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
