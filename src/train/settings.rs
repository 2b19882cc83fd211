//! What to train, on what, and what a later run must agree with to go on from a checkpoint.

use super::features::CacheKind;
use crate::data::framing::Framing;
use crate::detector::provenance::ENOUGH;
use crate::detector::{Detector, Learning, Method};
use crate::engine::device::Backend;
use crate::model::Architecture;
use crate::model::saved::expect_same;
use crate::{Error, Result, invalid};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

/// What to train, on what, and where to put it. Serialized, it is those settings that change the numbers, by the names that people
/// know them by; see [`Key`].
#[derive(Clone, Serialize)]
pub struct Settings {
    #[serde(flatten, serialize_with = "detector_in_training")]
    pub detector: Arc<dyn Detector>,
    #[serde(flatten)]
    pub architecture: Architecture,
    /// How pictures become what its networks see.
    #[serde(flatten)]
    pub framing: Framing,
    /// Where to compute, in anything but `F16`.
    #[serde(skip)]
    pub backend: Backend,
    /// Of no meaning to a detector that is fitted at once, as are `shuffle`, `checkpoint_every` and `resume`.
    #[serde(skip)]
    pub epochs: usize,
    pub batch: usize,
    pub seed: u64,
    /// Draw a new order every epoch; off, pictures come in the order of their names.
    pub shuffle: bool,
    #[serde(rename = "holdout", serialize_with = "share_held_back")]
    pub calibrate: Calibrate,
    /// Quantile of normal pictures' scores that becomes the threshold; with [`Calibrate::BestF1`] only that of pixels.
    #[serde(skip)]
    pub quantile: f64,
    #[serde(skip)]
    pub cache: CacheKind,
    /// Bytes that decoded pictures, and again that features, may take in memory.
    #[serde(skip)]
    pub budget: usize,
    /// Epochs between checkpoints; 0 writes one only when interrupted.
    #[serde(skip)]
    pub checkpoint_every: usize,
    /// Go on from the checkpoint beside `out`. Else one that is there is removed when the first step begins.
    #[serde(skip)]
    pub resume: bool,
    #[serde(skip)]
    pub out: PathBuf,
    /// Said of the backbone in the model file: where its weights came from.
    #[serde(skip)]
    pub weights: String,
    /// Said of the pictures there: which classes are called normal, of datasets in which others could be.
    #[serde(skip)]
    pub normal_class: Option<String>,
}

/// The method and its options, so far as training needs them.
fn detector_in_training<S: Serializer>(detector: &Arc<dyn Detector>, to: S) -> std::result::Result<S::Ok, S::Error> {
    let options = detector.options();
    let needed = options.specs().iter().filter(|spec| spec.need.in_training());
    let method = ("detector", Some(detector.method().name));
    to.collect_map(std::iter::once(method).chain(needed.map(|spec| (spec.name, options.text(spec.name)))))
}

/// Cross-validation comes after the training that resumes, and changes nothing in it.
fn share_held_back<S: Serializer>(calibrate: &Calibrate, to: S) -> std::result::Result<S::Ok, S::Error> {
    if let Calibrate::HoldOut(share) = calibrate { *share } else { 0.0 }.serialize(to)
}

/// Which pictures' scores the thresholds are taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibrate {
    /// A share of them, held back from training; 0 for no thresholds.
    HoldOut(f64),
    /// All of them, each scored by a detector that is trained without it: so many more are, each without one of so many
    /// equal parts.
    CrossValidation { folds: usize },
    /// The labelled pictures of [`TrainSet::validation`](crate::data::layout::TrainSet::validation), of both kinds: the threshold is
    /// the one with the best F1.
    BestF1,
}

/// Share held back, and folds, where nobody asks for others.
const HOLDOUT: f64 = 0.1;
const FOLDS: usize = 5;

impl Calibrate {
    /// What to do with `normal` pictures where nobody asks for anything: a share is held back. Of few pictures it says nothing;
    /// where learning is quick, all of those are scored by detectors that did not see them.
    pub fn usual(learning: Learning, normal: usize) -> Self {
        let usual = Calibrate::HoldOut(HOLDOUT);
        let few = usual.held_back(normal) < ENOUGH && normal >= FOLDS;
        match learning {
            Learning::Fit(_) if few => Calibrate::CrossValidation { folds: FOLDS },
            _ => usual,
        }
    }

    /// How many of `normal` pictures are held back.
    pub fn held_back(self, normal: usize) -> usize {
        match self {
            Calibrate::HoldOut(share) => ((normal as f64 * share).round() as usize).min(normal.saturating_sub(1)),
            Calibrate::CrossValidation { .. } | Calibrate::BestF1 => 0,
        }
    }
}

/// What the pictures come to, so far as it changes the numbers.
#[derive(Serialize)]
pub struct DataKey<'a> {
    /// Of names, sizes and contents.
    #[serde(rename = "digest of the pictures")]
    pub digest: &'a str,
    #[serde(rename = "normal pictures")]
    pub normal: usize,
    #[serde(rename = "anomalous pictures")]
    pub anomalous: usize,
    #[serde(rename = "features cached")]
    pub cached: bool,
}

/// All that changes the numbers: a run resumes only with the same. The names are part of the file format, whatever fields are
/// called.
#[derive(Debug, PartialEq)]
pub struct Key(Map<String, Value>);

impl Key {
    pub fn new(s: &Settings, data: &DataKey) -> Result<Self> {
        #[derive(Serialize)]
        struct All<'a> {
            #[serde(flatten)]
            settings: &'a Settings,
            #[serde(flatten)]
            data: &'a DataKey<'a>,
            computed: String,
        }
        match serde_json::to_value(All { settings: s, data, computed: s.backend.identity()? }) {
            Ok(Value::Object(map)) => Ok(Key(map)),
            Ok(other) => invalid!("settings are an object, found {other}"),
            Err(e) => Err(Error::Invalid(format!("settings: {e}"))),
        }
    }

    pub fn to_text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Refuses a run whose settings differ from those of `text`, a checkpoint's; names all that do.
    pub fn expect(&self, text: &str) -> Result<()> {
        let Ok(Value::Object(mut then)) = serde_json::from_str(text) else {
            invalid!("cannot resume with other settings: it was written by another version of this program")
        };
        // An option that there was not yet had what is its default now.
        let method = self.0.get("detector").and_then(Value::as_str).and_then(|name| Method::find(name).ok());
        for spec in method.into_iter().flat_map(|m| m.options).filter(|spec| self.0.contains_key(spec.name)) {
            then.entry(spec.name).or_insert_with(|| spec.default.into());
        }
        expect_same(&then, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::METHODS;
    use crate::detector::options::Options;
    use crate::engine::device::Device;
    use crate::engine::toolkit::cuda::{Choices, Number};

    fn detector(name: &str) -> Arc<dyn Detector> {
        let method = METHODS.into_iter().find(|m| m.name == name).unwrap();
        (method.detector)(Options::new(method.options)).unwrap()
    }

    #[test]
    fn few_pictures_are_cross_validated_where_that_is_quick() {
        // A tenth of 295 is 29.5, rounded to 30, which is enough.
        let cases = [(4, None), (5, Some(5)), (294, Some(5)), (295, None), (1000, None)];
        let (steps, fit) = (detector("ckaad"), detector("patchcore"));
        for (normal, folds) in cases {
            let expected = folds.map_or(Calibrate::HoldOut(0.1), |folds| Calibrate::CrossValidation { folds });
            assert_eq!(Calibrate::usual(fit.learning(), normal), expected, "{normal} pictures");
            assert_eq!(Calibrate::usual(steps.learning(), normal), Calibrate::HoldOut(0.1), "{normal} pictures");
        }
    }

    /// What 0.1.0 wrote into a checkpoint, before the key was derived from the settings.
    const OLD: &str = r#"{"adv":"0.02","anomalous pictures":0,"backbone":"resnet18","batch":4,"computed":"threads 2","d-lr":"0.0001","detector":"ckaad","digest of the pictures":"296559de3e551e22","features cached":true,"gamma":"0.5","holdout":0.1,"image_size":64,"layers":[2,3],"lr":"0.001","norm":"instance","normal pictures":11,"seed":7,"shuffle":true,"strategy":"ckapatch","sub":"0.02"}"#;

    #[test]
    fn the_key_of_an_older_version_still_matches() {
        let mut settings = Settings {
            detector: detector("ckaad"),
            architecture: Architecture::new("resnet18", &[2, 3], 64).unwrap(),
            framing: Framing::default(),
            backend: Backend { device: Device::Cpu, number: Number::F32, choices: Choices::Model },
            epochs: 2,
            batch: 4,
            seed: 7,
            shuffle: true,
            calibrate: Calibrate::HoldOut(0.1),
            quantile: 0.98,
            cache: CacheKind::Auto,
            budget: 1 << 30,
            checkpoint_every: 1,
            resume: true,
            out: "model.safetensors".into(),
            weights: "random".into(),
            normal_class: None,
        };
        let data = DataKey { digest: "296559de3e551e22", normal: 11, anomalous: 0, cached: true };
        let old = OLD.replace("threads 2", &format!("threads {}", rayon::current_num_threads()));
        Key::new(&settings, &data).unwrap().expect(&old).unwrap();
        // Another number of folds is no other training.
        settings.calibrate = Calibrate::CrossValidation { folds: 3 };
        let folds = old.replace("\"holdout\":0.1", "\"holdout\":0.0");
        Key::new(&settings, &data).unwrap().expect(&folds).unwrap();
        // Another look at pictures is.
        settings.framing = Framing::new(None, Some(48), Some(12), None).unwrap();
        let error = Key::new(&settings, &data).unwrap().expect(&folds).unwrap_err().to_string();
        assert!(error.contains("this run tile 48") && error.contains("this run overlap 12"), "{error}");
    }

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
