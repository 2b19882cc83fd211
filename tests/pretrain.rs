//! Training of a backbone: what a checkpoint brings back, what the file holds, what the command line refuses.

use ckaad::detector::file::ModelFile;
use ckaad::engine::device::{Backend, Device};
use ckaad::engine::toolkit::cuda::{Choices, Number};
use ckaad::model::folded;
use ckaad::model::pretrained::Pretrained;
use ckaad::model::{Architecture, TensorSource, resnet};
use ckaad::pretrain::{self, Ended, Event, Objective, Optimizer, Recipe, Settings};
use ckaad::weights::Archive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn recipe(objective: Objective, steps: u32) -> Recipe {
    Recipe {
        architecture: Architecture::new("resnet18", &[1, 2], 32).unwrap(),
        objective,
        classes_per_family: 2,
        optimizer: Optimizer::Sgd { momentum: 0.9 },
        lr: 0.05,
        weight_decay: 1e-4,
        warmup: 2,
        steps,
        batch: 8,
        smoothing: 0.1,
        seed: 3,
    }
}

fn settings(recipe: Recipe, out: &Path) -> Settings {
    Settings {
        recipe,
        backend: Backend { device: Device::Cpu, number: Number::F32, choices: Choices::Model },
        out: out.to_path_buf(),
        resume: false,
        log_every: 1,
        checkpoint_every: 0,
        keep_every: 0,
        held_out: 16,
        drawing: 3,
        commit: "abc".into(),
    }
}

/// Runs up to a step; returns the losses of its lines.
fn run(s: &Settings, until: u32) -> (Ended, Vec<(u32, f64)>) {
    let (stop, mut losses) = (AtomicBool::new(false), vec![]);
    let mut hear = |event: Event| match event {
        Event::Step(step, _) if step == until => stop.store(true, Ordering::Relaxed),
        Event::Line(line) => losses.push((line.step, line.loss)),
        _ => {}
    };
    let ended = pretrain::run(s, &mut hear, &stop).unwrap();
    (ended, losses)
}

/// Interrupted and resumed, with other numbers of drawing threads, a run has the bits of one that was not.
#[test]
fn a_resumed_run_has_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for (objective, optimizer) in
        [(Objective::Pooled, Optimizer::Sgd { momentum: 0.9 }), (Objective::Dense, Optimizer::Adam)]
    {
        // Interrupted after step 3, where one loss is behind the last line of the log.
        let recipe = Recipe { optimizer, ..recipe(objective, 7) };
        let whole = Settings { log_every: 2, ..settings(recipe, &dir.path().join("whole.safetensors")) };
        let (ended, expected) = run(&whole, u32::MAX);
        assert_eq!((ended, expected.len()), (Ended::Finished, 4));
        let mut parts = Settings { out: dir.path().join("parts.safetensors"), drawing: 1, ..whole.clone() };
        let (ended, mut found) = run(&parts, 3);
        assert_eq!(ended, Ended::Interrupted);
        (parts.resume, parts.drawing) = (true, 2);
        let (ended, rest) = run(&parts, u32::MAX);
        found.extend(rest);
        assert_eq!(ended, Ended::Finished);
        assert_eq!(found, expected, "{objective:?}");
        let bytes = |s: &Settings| std::fs::read(&s.out).unwrap();
        assert!(bytes(&whole) == bytes(&parts), "{objective:?}: other backbones");
    }
}

/// What is written is a ResNet to every reader of weights, and says how it was made.
#[test]
fn the_file_is_a_backbone() {
    let dir = tempfile::tempdir().unwrap();
    let s = settings(recipe(Objective::Pooled, 3), &dir.path().join("b.safetensors"));
    run(&s, u32::MAX);
    let archive = Archive::open(&s.out).unwrap();
    let said = archive.metadata();
    let of = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    assert_eq!((of("kind"), of("steps"), of("commit"), of("seed")), ("backbone", "3", "abc", "3"));
    assert!(of("recipe").contains("\"objective\":\"pooled\"") && of("sha256").len() == 64, "{said:?}");
    assert!(of("computed").starts_with("threads "), "{said:?}");
    let error = ModelFile::open(&s.out).err().unwrap().to_string();
    assert!(error.contains("b.safetensors: not a model file but a backbone"), "{error}");
    let weights = Pretrained::open(s.out.to_str().unwrap(), &s.recipe.architecture, 0).unwrap();
    let folded = resnet::load::<f64>(&s.recipe.architecture, &weights).unwrap();
    for e in folded.parameters.entries() {
        let (found, stored) = (folded.to_file(e), archive.f32(&e.name, &e.file_shape).unwrap());
        // A norm that only adds a bias has a factor of 1, as near as f32 can say it.
        let near = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs() <= 1e-7 * a.abs();
        assert!(found.iter().zip(&*stored).all(near), "{}", e.name);
    }
    let deeper = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    let error = resnet::load::<f32>(&deeper, &weights).err().unwrap().to_string();
    assert!(error.contains("missing: layer3.0") && error.contains("deepest layer is 2: choose --layers"), "{error}");
    assert!(weights.describe().ends_with("b.safetensors"));
    // `ckaad weights inspect` names it.
    let shapes: Vec<(&str, &[usize])> = archive.tensors().map(|t| (t.name, t.shape)).collect();
    let shapes = folded::unfolded(shapes);
    let fits = resnet::nearest(&shapes.iter().map(|(name, shape)| (name.as_str(), *shape)).collect()).unwrap();
    let found: Vec<(&str, Option<usize>)> = fits.iter().map(|f| (f.backbone.name, f.up_to)).collect();
    assert_eq!(found, [("resnet18", Some(2))]);
}

/// It learns to tell classes apart: of held-out pictures it names three times as many as guessing does (8 %; 34 to 40 % were measured
/// after 100 steps).
#[test]
fn it_learns() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        architecture: Architecture::new("resnet18", &[1, 2], 64).unwrap(),
        classes_per_family: 1,
        optimizer: Optimizer::Adam,
        lr: 0.002,
        batch: 16,
        warmup: 10,
        ..recipe(Objective::Pooled, 100)
    };
    let s = Settings { log_every: 0, held_out: 240, ..settings(recipe, &dir.path().join("b.safetensors")) };
    let mut found = None;
    let mut hear = |event: Event| {
        if let Event::Line(line) = event {
            found = line.held_out;
        }
    };
    pretrain::run(&s, &mut hear, &AtomicBool::new(false)).unwrap();
    let (accuracy, chance) = (found.unwrap().accuracy, 1.0 / s.recipe.formula().classes() as f64);
    assert!(accuracy > 3.0 * chance, "{accuracy} of held-out pictures, where guessing gives {chance}");
}

#[test]
fn other_settings_do_not_resume() {
    let dir = tempfile::tempdir().unwrap();
    let mut s = settings(recipe(Objective::Pooled, 6), &dir.path().join("b.safetensors"));
    assert_eq!(run(&s, 2).0, Ended::Interrupted);
    s.resume = true;
    s.recipe.lr = 0.1;
    let error = pretrain::run(&s, &mut |_| {}, &AtomicBool::new(false)).unwrap_err().to_string();
    assert!(
        error.contains(
            "b.checkpoint.safetensors: cannot resume with other settings: the checkpoint has lr 0.05, this run lr 0.1"
        ),
        "{error}"
    );
}

/// What could not be drawn or computed is refused before anything is.
#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let usual = recipe(Objective::Dense, 6);
    let refused = [
        ("--classes-per-family 0", Recipe { classes_per_family: 0, ..usual.clone() }),
        ("--classes-per-family 4611686018427387904", Recipe { classes_per_family: 1 << 62, ..usual.clone() }),
        ("--batch-size 1", Recipe { batch: 1, ..usual.clone() }),
        ("--lr NaN", Recipe { lr: f64::NAN, ..usual.clone() }),
        ("--weight-decay -1", Recipe { weight_decay: -1.0, ..usual.clone() }),
        ("--warmup 6", Recipe { warmup: 6, ..usual.clone() }),
        ("--momentum 1", Recipe { optimizer: Optimizer::Sgd { momentum: 1.0 }, ..usual.clone() }),
        ("--label-smoothing 1", Recipe { smoothing: 1.0, ..usual.clone() }),
        ("--steps 0", Recipe { steps: 0, ..usual.clone() }),
    ];
    for (expected, recipe) in refused {
        let s = settings(recipe, &dir.path().join("b.safetensors"));
        let error = pretrain::run(&s, &mut |_| {}, &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{expected}: expected")), "{expected}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
