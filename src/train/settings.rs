//! What to train, on what, and what a later run must agree with to go on from a checkpoint.

use super::features::CacheKind;
use crate::detector::Detector;
use crate::engine::device::Backend;
use crate::model::Architecture;
use crate::{Result, invalid};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// What to train, on what, and where to put it.
pub struct Settings {
    pub detector: Arc<dyn Detector>,
    pub architecture: Architecture,
    /// Where to compute, in anything but `F16`.
    pub backend: Backend,
    /// Of no meaning to a detector that is fitted at once, as are `shuffle`, `checkpoint_every` and `resume`.
    pub epochs: usize,
    pub batch: usize,
    pub seed: u64,
    /// Draw a new order every epoch; off, pictures come in the order of their names.
    pub shuffle: bool,
    pub calibrate: Calibrate,
    /// Quantile of normal pictures' scores that becomes the threshold.
    pub quantile: f64,
    pub cache: CacheKind,
    /// Bytes that decoded pictures, and again that features, may take in memory.
    pub budget: usize,
    /// Epochs between checkpoints; 0 writes one only when interrupted.
    pub checkpoint_every: usize,
    /// Go on from the checkpoint beside `out`.
    pub resume: bool,
    pub out: PathBuf,
    /// Said of the backbone in the model file: where its weights came from.
    pub weights: String,
}

/// Which normal pictures' scores the thresholds are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibrate {
    /// A share of them, held back from training; 0 for no thresholds.
    HoldOut(f64),
    /// All of them, each scored by a detector that is trained without it: so many more are, each without one of so many
    /// equal parts.
    CrossValidation { folds: usize },
}

impl Calibrate {
    /// How many of `normal` pictures are held back.
    pub fn held_back(self, normal: usize) -> usize {
        match self {
            Calibrate::HoldOut(share) => ((normal as f64 * share).round() as usize).min(normal.saturating_sub(1)),
            Calibrate::CrossValidation { .. } => 0,
        }
    }
}

/// What the pictures come to, so far as it changes the numbers.
pub struct DataKey<'a> {
    /// Of names, sizes and contents.
    pub digest: &'a str,
    pub normal: usize,
    pub anomalous: usize,
    pub cached: bool,
}

/// The settings that change the numbers, by the names that people know them by: a run resumes only with the same ones. The
/// names are part of the file format, whatever fields are called.
#[derive(Debug, PartialEq)]
pub struct Key(Map<String, Value>);

impl Key {
    pub fn new(s: &Settings, data: &DataKey) -> Result<Self> {
        // Cross-validation comes after the training that resumes, and changes nothing in it.
        let holdout = if let Calibrate::HoldOut(share) = s.calibrate { share } else { 0.0 };
        let a = &s.architecture;
        let mut key = json!({
            "detector": s.detector.method().name,
            "backbone": a.backbone.name,
            "layers": a.layers,
            "image_size": a.image_size,
            "batch": s.batch,
            "seed": s.seed,
            "shuffle": s.shuffle,
            "holdout": holdout,
            "normal pictures": data.normal,
            "anomalous pictures": data.anomalous,
            "digest of the pictures": data.digest,
            "features cached": data.cached,
            "computed": s.backend.identity()?,
        });
        let options = s.detector.options();
        for spec in options.specs().iter().filter(|spec| spec.need.in_training()) {
            key[spec.name] = json!(options.text(spec.name));
        }
        match key {
            Value::Object(map) => Ok(Key(map)),
            other => invalid!("settings are an object, found {other}"),
        }
    }

    pub fn to_text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Refuses a run whose settings differ from those of `text`, a checkpoint's; names all that do.
    pub fn expect(&self, text: &str) -> Result<()> {
        let Ok(Value::Object(then)) = serde_json::from_str(text) else {
            invalid!("cannot resume with other settings: it was written by another version of this program")
        };
        let then = &then;
        let mut names: Vec<&String> = then.keys().chain(self.0.keys().filter(|k| !then.contains_key(*k))).collect();
        names.retain(|name| then.get(*name) != self.0.get(*name));
        if names.is_empty() {
            return Ok(());
        }
        let said = |name: &str, value: Option<&Value>| match value {
            None => format!("no {name}"),
            Some(Value::String(text)) => format!("{name} {text}"),
            Some(value) => format!("{name} {value}"),
        };
        let differs = |name: &&String| {
            format!("the checkpoint has {}, this run {}", said(name, then.get(*name)), said(name, self.0.get(*name)))
        };
        let all: Vec<String> = names.iter().map(differs).collect();
        invalid!("cannot resume with other settings: {}", all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn names_what_differs() {
        let now = key(r#"{"batch": 4, "lr": "0.1", "layers": [1, 2], "computed": "cpu"}"#);
        now.expect(&now.to_text()).unwrap();
        // The order of the fields says nothing.
        now.expect(r#"{"computed": "cpu", "layers": [1, 2], "lr": "0.1", "batch": 4}"#).unwrap();
        let error = now.expect(r#"{"batch": 8, "lr": "0.1", "layers": [1, 2], "seed": 1}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot resume with other settings: the checkpoint has batch 8, this run batch 4; the checkpoint has seed 1, \
             this run no seed; the checkpoint has no computed, this run computed cpu"
        );
        assert!(now.expect("batch 4\nlr 0.1").unwrap_err().to_string().contains("another version"));
    }
}
