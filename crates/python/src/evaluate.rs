//! Evaluations, with the numbers of `ckaad eval --format json`.

use super::detector::Detector;
use super::errors::{UsageError, exception};
use super::pictures;
use ckaad::Error;
use ckaad::data::layout::{Dataset, Layout, Options, Sample, TestSet};
use ckaad::error::plural;
use ckaad::report::evaluation::Known;
use ckaad::report::json;
use ckaad::score::evaluate::{ProDefinition, evaluate};
use pyo3::prelude::*;
use std::path::PathBuf;

/// Which pictures: a dataset, or normal and anomalous ones.
pub struct Pictures<'a, 'py> {
    pub data: Option<PathBuf>,
    pub normal: Option<Bound<'py, PyAny>>,
    pub anomalous: Option<Bound<'py, PyAny>>,
    pub masks: Option<PathBuf>,
    pub category: Option<String>,
    pub layout: Option<&'a str>,
    pub normal_class: Option<String>,
}

pub fn run<'py>(
    py: Python<'py>,
    detector: &Detector,
    pictures: &Pictures<'_, 'py>,
    pro: &str,
    scores: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let pro = ProDefinition::find(pro).map_err(exception)?;
    let set = set(py, pictures)?;
    if set.images.is_empty() {
        return Err(UsageError::new_err("evaluate: no picture was given"));
    }
    let (config, request) = (&detector.config, detector.request()?);
    let mut interrupt = None;
    let evaluated = py.detach(|| {
        let heard = |_| {
            let signals = Python::attach(|py| py.check_signals());
            signals.map_err(|e| {
                interrupt = Some(e);
                Error::Cancelled
            })
        };
        // What a signal calls may score, too: nothing of the detector is held while signals are heard.
        let e = evaluate(&mut detector.another_scorer(&request)?, &set, config.threshold, pro, heard)?;
        let unreadable: Vec<String> = e.unreadable.iter().map(Error::to_string).collect();
        Ok((json::evaluation(&e, &Known::new(config, &e), config, pro, scores).to_string(), unreadable))
    });
    let (text, unreadable) = evaluated.map_err(|e| interrupt.take().unwrap_or_else(|| exception(e)))?;
    if let [first, ..] = &unreadable[..] {
        warn(py, &format!("{} left out, see 'left_out': {first}", plural(unreadable.len(), "picture")))?;
    }
    object(py, &text)
}

/// Tells the caller what is odd.
pub fn warn(py: Python, text: &str) -> PyResult<()> {
    py.import("warnings")?.call_method1("warn", (text,)).map(|_| ())
}

/// JSON as Python's dictionaries.
pub fn object<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (text,))
}

/// Refuses what says nothing of the pictures that were given.
fn expect_to_matter(given: &Pictures) -> PyResult<()> {
    let of_datasets = [
        ("category", given.category.is_some()),
        ("layout", given.layout.is_some()),
        ("normal_class", given.normal_class.is_some()),
    ];
    let refused = |name: &str, what: &str| Err(UsageError::new_err(format!("evaluate: {name}: {what}: leave it out")));
    match (&given.data, of_datasets.iter().find(|(_, given)| *given)) {
        (None, Some((name, _))) => refused(name, "says how to read a dataset (data=DIR), and none is given"),
        (Some(_), _) if given.masks.is_some() => refused("masks", "a dataset (data=DIR) has its own"),
        (None, None) if given.masks.is_some() && given.anomalous.is_none() => {
            refused("masks", "those of anomalous pictures, and none are given")
        }
        _ => Ok(()),
    }
}

fn set(py: Python, given: &Pictures) -> PyResult<TestSet> {
    match (&given.data, &given.normal, &given.anomalous) {
        (Some(root), None, None) => {
            expect_to_matter(given)?;
            let options = Options { normal: given.normal_class.iter().cloned().collect() };
            let names: Vec<String> = given.category.iter().cloned().collect();
            let layout = given.layout;
            let read = py.detach(|| {
                let dataset = Dataset::open(root, layout.map(Layout::find).transpose()?, &options)?;
                let mut categories = dataset.categories(&names)?;
                match categories.len() {
                    1 => categories.remove(0).test,
                    _ => TestSet::of_categories(categories.into_iter().map(|c| (c.name, c.test)).collect()),
                }
            });
            read.map_err(exception)
        }
        (None, normal, anomalous) if normal.is_some() || anomalous.is_some() => {
            expect_to_matter(given)?;
            let folder = |given: &Option<Bound<PyAny>>| {
                PyResult::Ok(given.as_ref().map(pictures::folder).transpose()?.flatten())
            };
            let [normals, anomalies]: [Option<PathBuf>; 2] = [folder(normal)?, folder(anomalous)?];
            if normals.is_some() == normal.is_some() && anomalies.is_some() == anomalous.is_some() {
                let masks = given.masks.as_deref();
                let read = || TestSet::of_folders(normals.as_deref(), anomalies.as_deref(), masks);
                return py.detach(read).map_err(exception);
            }
            if given.masks.is_some() {
                return Err(UsageError::new_err(
                    "evaluate: masks: expected with folders of pictures only, by whose names they are found: leave it out",
                ));
            }
            let mut set = TestSet::default();
            for (given, anomalous) in [(normal, false), (anomalous, true)] {
                set.images.extend(samples(given.as_ref(), anomalous)?);
            }
            Ok(set)
        }
        _ => Err(UsageError::new_err("which pictures? data=DIR, or normal=, anomalous= or both (with masks=DIR)")),
    }
}

/// Pictures of one kind, from a folder or a list.
pub fn samples(given: Option<&Bound<PyAny>>, anomalous: bool) -> PyResult<Vec<Sample>> {
    let Some(given) = given else { return Ok(vec![]) };
    let kind = if anomalous { "anomalous" } else { "good" };
    let sources = pictures::all(given)?;
    Ok(sources.into_iter().map(|source| Sample::new(source, kind, anomalous)).collect())
}
