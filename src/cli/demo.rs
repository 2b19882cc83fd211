//! `ckaad demo`: everything once, on pictures made up on the spot: data, training, evaluation, report.

use super::detector::DetectorArgs;
use super::message::plain;
use super::options::{Device, command_line, count, print};
use super::train::Teller;
use super::{eval, progress, theorems};
use crate::data::framing::Framing;
use crate::data::layout::{TestSet, TrainSet};
use crate::data::synthetic::{self, Spec};
use crate::detector::file::ModelFile;
use crate::detector::{Detector, Learning};
use crate::model::pretrained::Pretrained;
use crate::model::{Architecture, TensorSource};
use crate::output::{FileKind, Outputs};
use crate::report::evaluation::{self, Head};
use crate::score::evaluate::{ProDefinition, evaluate};
use crate::score::scorer::{Gives, Scorer};
use crate::train;
use crate::train::features::CacheKind;
use crate::train::settings::{Calibrate, Settings};
use crate::train::setup::Setting;
use crate::weights::registry::FORMULA;
use crate::{Error, Result, invalid};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Generate a small dataset, train a detector on it, evaluate it and write an HTML report
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  ckaad demo
  ckaad demo --weights imagenet --out demo-imagenet
  ckaad demo theorems --out theorems.html"
)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Folder to write into
    #[arg(long, default_value = "demo", value_name = "DIR")]
    out: PathBuf,
    /// ResNet-18 weights: `formula` for the built-in ones, `imagenet` for the download, a file, or `random`
    #[arg(long, default_value = FORMULA, value_name = "FILE|NAME")]
    weights: String,
    /// Side of the pictures in pixels, a multiple of 16 from 32; smaller ones take less time, and are harder
    #[arg(long, default_value_t = IMAGE_SIZE, value_parser = count)]
    image_size: usize,
    /// Passes over the training pictures [default: 36]
    #[arg(long, value_parser = count)]
    epochs: Option<usize>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    detector: DetectorArgs,
    #[command(flatten)]
    device: Device,
}

#[derive(clap::Subcommand, Debug)]
enum Other {
    Theorems(theorems::Args),
}

const IMAGE_SIZE: usize = 128;
const EPOCHS: usize = 36;
/// Lies in every folder the demo wrote to, so that it never deletes anybody else's pictures.
const MARK: &str = ".made-by-ckaad-demo";

pub fn run(args: &Args) -> Result<bool> {
    if let Some(Other::Theorems(args)) = &args.other {
        return theorems::run(args);
    }
    let backend = args.device.training_backend()?;
    let started = Instant::now();
    // The usual 4 pixels belong to pictures of 256.
    let sigma = Setting::Whole((args.image_size / 64) as u64);
    let detector = args.detector.detector_with(&[("sigma".to_string(), sigma)].into())?;
    if let (Learning::Fit(_), Some(_)) = (detector.learning(), args.epochs) {
        let name = detector.method().name;
        return Err(Error::Usage(format!("--epochs: {name} is fitted in one go, there are no steps; leave it out")));
    }
    let epochs = args.epochs.unwrap_or(EPOCHS);
    let architecture = Architecture::new("resnet18", &[1, 2], args.image_size)?;
    let weights = Pretrained::open(&args.weights, &architecture, args.seed)?;
    let note = match &weights {
        Pretrained::Random(_) => {
            "The backbone is random, not pretrained: good enough for woven textures, not for real \
                               pictures. Without `--weights random` it is the built-in one."
        }
        Pretrained::File(_) => "",
    };
    if !note.is_empty() {
        note!("{note}");
    }
    if let Some(file) = weights.file() {
        // An earlier demo's model is removed below.
        let written = args.out.join("model.safetensors");
        Outputs::default()
            .file("--out", &written, FileKind::Tensors)
            .map_or(Ok(()), |outputs| outputs.expect_apart(file))?;
    }
    let data = args.out.join("data");
    let spec = Spec {
        size: args.image_size,
        train_good: 64,
        train_anomalous: 9,
        test_good: 30,
        test_per_type: 15,
        seed: args.seed,
    };
    make_data(&args.out, &data, &spec)?;

    let model_path = args.out.join("model.safetensors");
    let settings = Settings {
        architecture,
        backend: backend.clone(),
        detector: detector.clone(),
        epochs,
        batch: 8,
        seed: args.seed,
        shuffle: true,
        calibrate: Calibrate::HoldOut(0.15),
        quantile: 0.98,
        cache: CacheKind::Memory,
        budget: usize::MAX,
        checkpoint_every: 0,
        resume: false,
        out: model_path.clone(),
        weights: weights.describe(),
        normal_class: None,
        framing: Framing::default(),
    };
    let teller = Teller::new(epochs, &*detector, None);
    train::run(&settings, TrainSet::open(&data)?, &weights, &|e| teller.tell(e), &AtomicBool::new(false))?;
    teller.finish();

    let model = ModelFile::open(&model_path)?;
    let set = TestSet::open(&data)?;
    let mut scorer = Scorer::from_file(&model, 8, &backend, Gives::ScoresAndMaps)?;
    let bar = progress::bar("evaluating", set.images.len() as u64);
    let e = evaluate(&mut scorer, &set, model.config.threshold, ProDefinition::Exact, |done| {
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let settings = [
        ("Pictures", format!("woven textures, {} px, generated with seed {}", args.image_size, args.seed)),
        ("Backbone", format!("ResNet-18, layers 1 and 2, weights: {}", weights.describe())),
        ("Training", training(epochs, &*detector)),
        ("Time", format!("{seconds:.0} s in all, {:.1} ms to score a picture", e.ms_per_image)),
    ];
    let settings = settings.map(|(name, value)| (name.to_string(), value)).into();
    let head = Head { title: "ckaad demo".into(), note: note.into(), command: command_line(), settings };
    let path = args.out.join("report.html");
    evaluation::write(&path, head, &model.config, &e, ProDefinition::Exact)?;
    let table = eval::table(&e, &model.config, ProDefinition::Exact)?;
    print(&format!("{table}\n{seconds:.0} s. Open {}\n", plain(path.display())))?;
    Ok(true)
}

/// One line on how it was trained.
fn training(epochs: usize, detector: &dyn Detector) -> String {
    let options = detector.options();
    let changed = options.specs().iter().filter(|spec| options.text(spec.name) != spec.default);
    let changed = changed.filter_map(|spec| Some(format!(", {} {}", spec.name, options.text(spec.name)?)));
    let name = detector.method().name.to_string() + &changed.collect::<String>();
    match detector.learning() {
        Learning::Steps(_) => format!("{name}: {epochs} epochs, batch size 8"),
        Learning::Fit(_) => format!("{name}: fitted at once"),
    }
}

/// Writes the dataset, in place of an earlier demo's, whose report and model go, too.
fn make_data(out: &Path, folder: &Path, spec: &Spec) -> Result<()> {
    let mark = out.join(MARK);
    if folder.exists() && !mark.exists() {
        invalid!("{}: already there, and not made by a demo; choose another --out", folder.display());
    }
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    std::fs::write(&mark, "").map_err(|e| Error::io(&mark, e))?;
    for old in ["report.html", "model.safetensors"] {
        // Most of the time there is none.
        let _ = std::fs::remove_file(out.join(old));
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    synthetic::generate(folder, spec)
}
