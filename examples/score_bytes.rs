//! A picture that is in memory, as a service gets it, scored by a detector.
//!
//!     cargo run --release --example score_bytes                          # with a detector made on the fly
//!     cargo run --release --example score_bytes -- MODEL PICTURE

use ckaad::backend::Request;
use ckaad::data::framing::Framing;
use ckaad::data::image::Source;
use ckaad::data::layout::TrainSet;
use ckaad::data::synthetic::{self, Spec};
use ckaad::detector::Method;
use ckaad::detector::file::ModelFile;
use ckaad::detector::options::Options;
use ckaad::engine::device::Backend;
use ckaad::model::init::RandomBackbone;
use ckaad::model::{Architecture, TensorSource};
use ckaad::score::pipeline::{self, Wanted};
use ckaad::score::scorer::{Gives, Scorer};
use ckaad::train::features::CacheKind;
use ckaad::train::settings::{Calibrate, Settings};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

fn main() -> ckaad::Result<()> {
    let folder = tempfile::tempdir().map_err(|e| ckaad::Error::io("a temporary folder", e))?;
    let mut given = std::env::args_os().skip(1).map(PathBuf::from);
    let (model, picture) = match (given.next(), given.next()) {
        (Some(model), Some(picture)) => (model, picture),
        _ => made_up(folder.path())?,
    };
    let bytes = std::fs::read(&picture).map_err(|e| ckaad::Error::io(&picture, e))?;

    // A GPU where there is one; what there is to know of the choice is for the caller to show.
    let chosen = Request::default().choose()?;
    chosen.notes.iter().for_each(|note| eprintln!("{note}"));
    let model = ModelFile::open(&model)?;
    let mut scorer = Scorer::from_file(&model, 1, &chosen.backend, Gives::ScoresAndMaps)?;

    let source = Source::Bytes { name: "upload".into(), bytes: bytes.into() };
    let loaded = pipeline::load(&source, scorer.framer(), Wanted::default())?;
    let (_, scored) = pipeline::score(&mut scorer, vec![loaded])?.remove(0);
    let map = &scored.map;
    let (at, hottest) =
        map.values.iter().enumerate().fold((0, f32::MIN), |a, (i, v)| if *v > a.1 { (i, *v) } else { a });
    println!("score {:.4}, hottest {hottest:.4} at ({}, {})", scored.score, at % map.width, at / map.width);
    if let Some(threshold) = model.config.threshold {
        println!("{}", if scored.score >= threshold { "anomalous" } else { "normal" });
    }
    Ok(())
}

/// A memory bank of a few woven pictures, and a picture with a hole.
fn made_up(folder: &Path) -> ckaad::Result<(PathBuf, PathBuf)> {
    let data = folder.join("data");
    let spec = Spec { size: 64, train_good: 8, train_anomalous: 0, test_good: 1, test_per_type: 1, seed: 0 };
    synthetic::generate(&data, &spec)?;
    let backbone = RandomBackbone { seed: 0 };
    let method = Method::find("patchcore")?;
    let settings = Settings {
        detector: (method.detector)(Options::new(method.options).with("sigma", "2")?)?,
        architecture: Architecture::new("resnet18", &[1, 2], 64)?,
        framing: Framing::default(),
        backend: Backend::CPU,
        epochs: 1,
        batch: 4,
        seed: 0,
        shuffle: true,
        calibrate: Calibrate::HoldOut(0.25),
        quantile: 0.98,
        cache: CacheKind::Memory,
        budget: usize::MAX,
        checkpoint_every: 0,
        resume: false,
        out: folder.join("model.safetensors"),
        weights: backbone.describe(),
        normal_class: None,
    };
    ckaad::train::run(&settings, TrainSet::open(&data)?, &backbone, &|_| (), &AtomicBool::new(false))?;
    Ok((settings.out, data.join("test/hole/000.png")))
}
