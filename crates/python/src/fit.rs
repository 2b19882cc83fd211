//! Training: what is asked for in Python's words, and what is told while it goes on.

use super::detector::{Asked, Detector};
use super::errors::{UsageError, exception};
use super::evaluate::{samples, warn};
use super::numbers::shown;
use super::threshold::FALSE_ALARMS;
use ckaad::Error;
use ckaad::data::layout::TrainSet;
use ckaad::detector::{self, Learning};
use ckaad::model::TensorSource;
use ckaad::model::pretrained::{Pretrained, usual_weights};
use ckaad::output::{FileKind, Outputs, checkpoint_of, expect_new, remove_checkpoint};
use ckaad::train::events::{Ended, Event};
use ckaad::train::features::CacheKind;
use ckaad::train::settings::{Calibrate, Settings};
use ckaad::train::setup::{Setup, expect_known};
use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySequence, PyString};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Where the model file goes; nowhere if it is to be forgotten with the detector.
pub struct Place {
    pub out: Option<PathBuf>,
    pub overwrite: bool,
    pub resume: bool,
}

/// Epochs between checkpoints, as of `ckaad train`.
const CHECKPOINT_EVERY: usize = 10;
/// Of decoded pictures, and again of features, in memory, as of `ckaad train`.
const BUDGET: usize = 2048 * 1_000_000;
/// How often Ctrl-C is looked for.
const HEARD_EVERY: Duration = Duration::from_millis(50);

/// What the keyword arguments say beside a [`Setup`].
struct Beside {
    weights: Option<String>,
    seed: u64,
    holdout: Option<f64>,
    folds: Option<usize>,
    max_false_alarms: f64,
}

const BESIDE: [&str; 5] = ["weights", "seed", "holdout", "folds", "max_false_alarms"];

/// Takes the keyword arguments apart.
fn settings(given: Option<&Bound<PyDict>>) -> PyResult<(Setup, Beside)> {
    let names: Vec<String> = Setup::names().iter().map(|name| name.replace('-', "_")).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).chain(BESIDE).collect();
    let mut setup = Setup::default();
    let mut beside = Beside { weights: None, seed: 0, holdout: None, folds: None, max_false_alarms: FALSE_ALARMS };
    for (name, value) in given.into_iter().flatten() {
        let name: String = name.extract()?;
        expect_known(&name, &known, "fit").map_err(|e| PyTypeError::new_err(e.to_string()))?;
        if value.is_none() {
            continue;
        }
        let unlike = |why: String| UsageError::new_err(format!("fit: {name}={}: {why}", shown(&value)));
        let expected = |what: &str| unlike(format!("expected {what}"));
        let share = || value.extract().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| expected("0 to 1"));
        match name.as_str() {
            // A path, too.
            "weights" => beside.weights = Some(value.str()?.extract()?),
            "roi" => setup.roi = Some(value.extract().map_err(|_| expected("a path"))?),
            "seed" => beside.seed = value.extract().map_err(|_| expected("a whole number from 0 to 2^64 - 1"))?,
            "holdout" => beside.holdout = Some(share()?),
            "max_false_alarms" => beside.max_false_alarms = share()?,
            "folds" => beside.folds = Some(value.extract().map_err(|_| expected("a whole number of 2 or more"))?),
            _ => setup = one_setting(&name, &value).map_err(unlike)?.or(&setup),
        }
    }
    if beside.holdout.is_some() && beside.folds.is_some() {
        return Err(UsageError::new_err("holdout and folds: the threshold is set by one of them"));
    }
    if setup.batch_size == Some(0) {
        return Err(UsageError::new_err("fit: batch_size=0: expected 1 or more"));
    }
    Ok((setup, beside))
}

/// More than any setting has of numbers.
const MANY: usize = 100;

/// What `json` knows: numbers and arrays of numpy as Python's, any other sequence as a list.
fn plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let number = |value: &Bound<'py, PyAny>| value.call_method0("tolist").unwrap_or_else(|_| value.clone());
    let value = number(value);
    let is_text = value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>();
    match value.cast::<PySequence>() {
        Ok(several) if !is_text && several.len()? <= MANY => {
            let all: Vec<_> = several.try_iter()?.map(|one| Ok(number(&one?))).collect::<PyResult<_>>()?;
            Ok(PyList::new(value.py(), all)?.into_any())
        }
        _ => Ok(value),
    }
}

/// By way of JSON, as files have settings; the error says what was expected.
fn one_setting(name: &str, value: &Bound<PyAny>) -> Result<Setup, String> {
    let dumped = plain(value)
        .and_then(|plain| value.py().import("json")?.call_method1("dumps", (plain,)))
        .and_then(|dumped| dumped.extract::<String>());
    // Of what is not finite, json makes no JSON.
    let parsed = dumped.ok().and_then(|text| serde_json::from_str(&text).ok());
    let parsed: serde_json::Value = parsed.ok_or("expected a finite number, a text or a sequence of them")?;
    let object = serde_json::Map::from_iter([(name.replace('_', "-"), parsed)]);
    let setup = serde_json::from_value(object.into());
    setup.map_err(|e| e.to_string().replace("usize", "a whole number of 0 or more"))
}

/// Refuses settings that the method does not have.
fn expect_to_matter(setup: &Setup, detector: &dyn detector::Detector, resume: bool) -> PyResult<()> {
    let method = detector.method();
    if let Some(name) = setup.options.keys().find(|name| method.options.iter().all(|spec| spec.name != **name)) {
        let name = name.replace('-', "_");
        return Err(UsageError::new_err(format!("fit: {name} is not a setting of {}: leave it out", method.name)));
    }
    let steps = [("epochs", setup.epochs.is_some()), ("resume", resume)];
    match (detector.learning(), steps.into_iter().find(|(_, given)| *given)) {
        (Learning::Fit(_), Some((name, _))) => {
            let text = format!("fit: {name}: {} is fitted in one go, there are no steps: leave it out", method.name);
            Err(UsageError::new_err(text))
        }
        _ => Ok(()),
    }
}

/// What was given in vain, in the words of warnings.
fn changing_nothing(setup: &Setup, detector: &dyn detector::Detector, anomalous: usize) -> Vec<String> {
    let unused = detector.unused_options();
    let options = setup.options.keys().filter(|name| unused.contains(&name.as_str()));
    let mut texts: Vec<String> = options.map(|name| format!("{} changes nothing", name.replace('-', "_"))).collect();
    let uses_anomalies = matches!(detector.learning(), Learning::Steps(how) if how.uses_anomalies());
    if anomalous > 0 && !uses_anomalies {
        texts.push("anomalous pictures are not used: this method learns from normal ones alone".into());
    }
    texts
}

/// What is told, by itself: events lend.
enum Told {
    Warning(String),
    Progress { stage: &'static str, done: usize, of: usize, losses: Vec<(&'static str, f64)> },
}

fn told(event: Event, epochs: usize) -> Option<Told> {
    let progress = |stage, done, of| Some(Told::Progress { stage, done, of, losses: vec![] });
    match event {
        Event::Warning(text) => Some(Told::Warning(text.into())),
        Event::Decoded(done, of) => progress("pictures", done, of),
        Event::Features(done, of) => progress("features", done, of),
        Event::Fitting(stage, done, of) => progress(stage, done, of),
        Event::Fold { before, done, of, .. } => progress("validation", before + done, of),
        Event::Step { epoch, step, steps, losses } => Some(Told::Progress {
            stage: "training",
            done: (epoch - 1) * steps + step,
            of: epochs * steps,
            losses: losses.names.iter().copied().zip(losses.values.iter().copied()).collect(),
        }),
        Event::Data { .. } | Event::Start { .. } | Event::Epoch(_) => None,
    }
}

/// Trains, and opens what was trained.
pub fn run(
    py: Python,
    (normal, anomalous): (&Bound<PyAny>, Option<&Bound<PyAny>>),
    place: Place,
    progress: Option<&Bound<PyAny>>,
    asked: Asked,
    given: Option<&Bound<PyDict>>,
) -> PyResult<Detector> {
    let (setup, beside) = settings(given)?;
    if place.resume && (place.out.is_none() || place.overwrite) {
        return Err(UsageError::new_err(
            "fit: resume goes on from the checkpoint beside out, and replaces no other model",
        ));
    }
    let set =
        TrainSet { good: samples(Some(normal), false)?, anomalous: samples(anomalous, true)?, ..Default::default() };
    if set.good.is_empty() {
        return Err(UsageError::new_err("fit: no normal picture was given"));
    }
    let (detector, architecture) = (setup.detector().map_err(exception)?, setup.architecture().map_err(exception)?);
    expect_to_matter(&setup, &*detector, place.resume)?;
    for text in changing_nothing(&setup, &*detector, set.anomalous.len()) {
        warn(py, &text)?;
    }
    let named = beside.weights.as_deref().unwrap_or(usual_weights(&architecture));
    let request = asked.request()?;
    let opened = py.detach(|| {
        let weights = Pretrained::open(named, &architecture, beside.seed)?;
        Ok((weights, request.choose_to_train()?.backend))
    });
    let (weights, backend) = opened.map_err(exception)?;
    let folder = tempfile::tempdir().map_err(|e| exception(Error::io(std::env::temp_dir(), e)))?;
    let out = place.out.clone().unwrap_or_else(|| folder.path().join("model.safetensors"));
    expect_place(&out, &place, &set, &weights).map_err(exception)?;
    let calibrate = match (beside.folds, beside.holdout) {
        (Some(folds), _) => Calibrate::CrossValidation { folds },
        (None, Some(share)) => Calibrate::HoldOut(share),
        (None, None) => Calibrate::usual(detector.learning(), set.good.len()),
    };
    let settings = Settings {
        detector,
        architecture,
        framing: setup.framing().map_err(exception)?,
        backend,
        epochs: setup.epochs(),
        batch: setup.batch_size(),
        seed: beside.seed,
        shuffle: true,
        calibrate,
        quantile: 1.0 - beside.max_false_alarms,
        cache: CacheKind::Auto,
        budget: BUDGET,
        checkpoint_every: if place.out.is_some() { CHECKPOINT_EVERY } else { 0 },
        resume: place.resume,
        out: out.clone(),
        weights: weights.describe(),
        normal_class: None,
    };
    match train(py, &settings, set, &weights, progress)? {
        Ended::Finished { .. } => Detector::open(py, &out, asked),
        Ended::Interrupted { .. } => Err(PyKeyboardInterrupt::new_err("interrupted")),
    }
}

/// Refuses to write over what is there, or is read.
fn expect_place(out: &Path, place: &Place, set: &TrainSet, weights: &Pretrained) -> ckaad::Result<()> {
    let mut outputs = Outputs::default();
    for path in [out.to_path_buf(), checkpoint_of(out)] {
        outputs = outputs.file("out", &path, FileKind::Tensors)?;
        if !place.overwrite && !place.resume {
            expect_new("out", &path, "resume=True goes on from its checkpoint, overwrite=True replaces it")?;
        }
    }
    weights.file().map_or(Ok(()), |file| outputs.expect_apart(file))?;
    let mut files = set.good.iter().chain(&set.anomalous).filter_map(|sample| sample.source.file());
    files.try_for_each(|file| outputs.expect_apart(file))?;
    if place.overwrite { remove_checkpoint(out) } else { Ok(()) }
}

/// Trains on a thread of its own, while this one tells what is told and hears Ctrl-C: callbacks run on the thread that
/// called.
fn train(
    py: Python,
    settings: &Settings,
    set: TrainSet,
    weights: &Pretrained,
    progress: Option<&Bound<PyAny>>,
) -> PyResult<Ended> {
    let stop = AtomicBool::new(false);
    let (send, receive) = mpsc::channel::<Told>();
    // Lent to what runs without the interpreter's lock.
    let receive = Mutex::new(receive);
    std::thread::scope(|scope| {
        let stop = &stop;
        let work = scope.spawn(move || {
            let tell = |event: Event| {
                if let Some(told) = told(event, settings.epochs) {
                    // Whoever listens is there until this thread ends.
                    let _ = send.send(told);
                }
            };
            ckaad::train::run(settings, set, weights, &tell, stop)
        });
        let mut failed: Option<PyErr> = None;
        loop {
            let told = py.detach(|| match receive.lock() {
                Ok(receive) => receive.recv_timeout(HEARD_EVERY),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            });
            let heard = match told {
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Ok(_) if failed.is_some() => continue,
                Ok(Told::Warning(text)) => warn(py, &text),
                Ok(Told::Progress { stage, done, of, losses }) => match progress {
                    Some(progress) => {
                        let losses: std::collections::BTreeMap<_, _> = losses.into_iter().collect();
                        progress.call1((stage, done, of, losses)).map(|_| ())
                    }
                    None => Ok(()),
                },
            };
            if let Err(e) = heard.and_then(|()| py.check_signals()) {
                stop.store(true, Ordering::Relaxed);
                failed.get_or_insert(e);
            }
        }
        let ended = py.detach(|| work.join());
        match (failed, ended) {
            (Some(e), _) => Err(e),
            (None, Ok(ended)) => ended.map_err(exception),
            (None, Err(_)) => Err(exception(Error::Device("training failed unexpectedly; please report it".into()))),
        }
    })
}
