//! What came of cells: a file with one JSON object a line, to which a run adds as cells end, and from which another goes on.

use super::grid::Cell;
use crate::error::{Error, Result};
use crate::metrics::f1::BestF1;
use crate::report::evaluation::Known;
use crate::score::evaluate::{Evaluation, Metrics, NoMask, Truth};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// One cell's line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub cell: Cell,
    /// Training pictures.
    pub normal: usize,
    pub labelled: usize,
    /// Pictures that were kept apart for validation.
    pub validated: usize,
    /// From the first picture decoded to the last one judged; of a cell that was cut off, with the time up to the checkpoint that it
    /// went on from.
    pub seconds: f64,
    pub threads: usize,
    /// Of every category.
    pub results: Vec<CategoryResult>,
}

/// What a model makes of one category's test pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CategoryResult {
    pub category: String,
    /// By the names of [`super::file::METRICS`]; what a set does not define is not there.
    pub metrics: BTreeMap<String, f64>,
    /// Image AUROC of each class of anomalies against all normal pictures.
    pub image_auroc_of: BTreeMap<String, f64>,
    pub normal_scores: Vec<f64>,
    pub anomalous_scores: Vec<f64>,
    /// Pictures that could not be read, and count nowhere.
    pub unreadable: usize,
    /// Pictures whose masks could not be read, and which count in image metrics only.
    #[serde(default)]
    pub unreadable_masks: usize,
    /// Anomalous pictures that have no mask, or one that marks nothing, where others have one; they count in image metrics only, too.
    /// Earlier versions did not count them.
    #[serde(default)]
    pub unmarked: Option<usize>,
    /// Pictures that the model was trained on, and such that only its threshold was taken from.
    #[serde(default)]
    pub trained_on: usize,
    #[serde(default)]
    pub calibrated_on: usize,
}

impl CategoryResult {
    pub fn new(category: &str, e: &Evaluation, known: &Known) -> Self {
        let of =
            |anomalous: bool| e.pictures.iter().filter(|p| p.image.anomalous == anomalous).map(|p| p.score).collect();
        let marked = e.pictures.iter().any(|p| matches!(p.truth, Truth::Marked(_)));
        let unmarked = e.without_mask(|why| matches!(why, NoMask::Missing | NoMask::Empty));
        let auroc = |(kind, _, m): &(String, usize, Metrics)| Some((kind.clone(), m.image_auroc?));
        CategoryResult {
            category: category.into(),
            metrics: metrics(&e.overall),
            image_auroc_of: e.per_type.iter().filter_map(auroc).collect(),
            normal_scores: of(false),
            anomalous_scores: of(true),
            unreadable: e.unreadable.len(),
            unreadable_masks: e.without_mask(|why| matches!(why, NoMask::Unreadable(_))),
            unmarked: Some(if marked { unmarked } else { 0 }),
            trained_on: known.trained_on.len(),
            calibrated_on: known.calibrated_on.len(),
        }
    }

    /// Pictures that count.
    pub fn judged(&self) -> usize {
        self.normal_scores.len() + self.anomalous_scores.len()
    }

    /// Why there is no value of a metric.
    pub fn why_none(&self, metric: &str) -> &'static str {
        match metric {
            _ if self.normal_scores.is_empty() => "no normal test picture",
            _ if self.anomalous_scores.is_empty() => "no anomalous test picture",
            "pixel_auroc" | "aupro30" => "no mask that marks anything",
            "accuracy_at_validation" => "no validation pictures of both kinds",
            _ => "not defined by the test pictures",
        }
    }
}

fn metrics(m: &Metrics) -> BTreeMap<String, f64> {
    let best = |value: fn(&BestF1) -> f64| m.best.as_ref().map(value);
    let all = [
        ("image_auroc", m.image_auroc),
        ("best_f1", best(|b| b.f1)),
        ("accuracy", best(|b| b.accuracy)),
        ("pixel_auroc", m.pixel_auroc),
        ("aupro30", m.aupro30),
        ("accuracy_at_validation", m.operating.and_then(|c| c.accuracy())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

/// Lines of earlier runs; none where there is no file. Errors: one that is no result, by its number; a run adds to what is read here, so
/// nothing may be left out.
pub fn read(path: &Path) -> Result<Vec<Outcome>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::unread(path, e, "results of `ckaad experiment`, a line per cell")),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line).map_err(|e| {
                let n = i + 1;
                let text = format!(
                    "line {n} is no result of a cell ({e}); copy the file again if it was cut off, or take the line out: its cell \
                     counts as not run then"
                );
                Error::Invalid(text).within(path.display())
            })
        })
        .collect()
}

/// All of them as text, a line each.
pub fn to_text(outcomes: &[Outcome]) -> Result<String> {
    let line = |o: &Outcome| serde_json::to_string(o).map(|line| line + "\n");
    let lines: std::result::Result<String, _> = outcomes.iter().map(line).collect();
    lines.map_err(|e| Error::Invalid(format!("a result cannot be written: {e}")))
}
