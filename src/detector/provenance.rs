//! Where a model comes from, as its file tells: what it was trained on and with, and what its thresholds rest on.

use crate::error::plural;
use crate::metrics::confusion::Confusion;
use crate::metrics::f1::best_f1;
use crate::metrics::quantile::{exceeded_by_at_most, quantile};
use crate::{Error, Result, invalid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What a detector was trained on and with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Training {
    /// Of this program.
    pub version: String,
    /// When training ended, UTC, as RFC 3339.
    pub date: String,
    /// Where it was computed, and in which numbers.
    pub device: String,
    pub seed: u64,
    /// None for a detector that is fitted at once.
    pub epochs: Option<usize>,
    pub batch_size: usize,
    /// The method's options, also those that scoring has no use for.
    pub options: BTreeMap<String, String>,
    /// Normal pictures that were trained on.
    pub normal: usize,
    /// Normal pictures that were held back.
    pub held_back: usize,
    /// Pictures known to be anomalous somewhere.
    pub anomalous: usize,
    /// The classes that were called normal, of datasets in which others could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal_class: Option<String>,
    /// Digest of names, sizes and contents of all of these.
    pub data: String,
}

/// Whose scores a threshold was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Normal pictures that training held back.
    HeldBack,
    /// All normal pictures, each scored by a detector trained without it.
    CrossValidation { folds: usize },
    /// Pictures that were given to `ckaad threshold`.
    Pictures,
    /// Labelled pictures of both kinds, of a validation split or given to `ckaad threshold`: the threshold of pictures is the one
    /// with the best F1, which is this.
    BestF1 { f1: f64 },
    /// Nobody's: it was set by hand.
    Value,
}

/// What a model's thresholds rest on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub origin: Origin,
    /// The threshold is this quantile of the normal pictures' scores, and at most a share of `1 - quantile` of them reaches it; of
    /// [`Origin::BestF1`] only the threshold of pixels is one.
    pub quantile: f64,
    /// The normal pictures' scores, ascending; empty for [`Origin::Value`].
    pub scores: Vec<f64>,
    /// The anomalous pictures' scores, ascending; empty but for [`Origin::BestF1`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalous: Vec<f64>,
    /// The highest value of each normal one's map, ascending.
    pub peaks: Vec<f64>,
}

/// With fewer pictures a quantile near 1 is hardly more than their maximum.
pub const ENOUGH: usize = 30;

impl Calibration {
    /// `outcomes`: score and highest map value of every normal picture.
    pub fn new(origin: Origin, quantile: f64, outcomes: &[(f64, f64)]) -> Self {
        let (scores, peaks) = (sorted(outcomes.iter().map(|o| o.0)), sorted(outcomes.iter().map(|o| o.1)));
        Calibration { origin, quantile, scores, anomalous: vec![], peaks }
    }

    /// The best F1 of labelled pictures. `outcomes`: score, highest map value, and whether it is anomalous, of every picture;
    /// `quantile` is for the threshold of pixels. An error unless there are pictures of both kinds.
    pub fn best_f1(quantile: f64, outcomes: &[(f64, f64, bool)]) -> Result<Self> {
        let normal: Vec<(f64, f64)> = outcomes.iter().filter(|o| !o.2).map(|o| (o.0, o.1)).collect();
        let mut found = Self::new(Origin::BestF1 { f1: 0.0 }, quantile, &normal);
        found.anomalous = sorted(outcomes.iter().filter(|o| o.2).map(|o| o.0));
        let (scores, labels) = found.labelled();
        let Some(best) = best_f1(&scores, &labels)? else {
            let (normal, anomalous) = (found.scores.len(), found.anomalous.len());
            invalid!("the best F1 needs pictures of both kinds, found {normal} normal and {anomalous} anomalous ones");
        };
        found.origin = Origin::BestF1 { f1: best.f1 };
        Ok(found)
    }

    /// The scores of all pictures, and which of them are anomalous.
    fn labelled(&self) -> (Vec<f64>, Vec<bool>) {
        let normal = self.scores.iter().map(|s| (*s, false));
        normal.chain(self.anomalous.iter().map(|s| (*s, true))).unzip()
    }

    /// Of pictures, and of pixels: the same quantile of the normal pictures' highest map values.
    pub fn thresholds(&self) -> Result<(f64, f64)> {
        let of = |values: &[f64]| exceeded_by_at_most(values, self.quantile);
        let (scores, labels) = self.labelled();
        // With normal pictures alone there is no F1.
        let score = match best_f1(&scores, &labels)? {
            Some(best) => best.threshold,
            None => of(&self.scores)?,
        };
        Ok((score, of(&self.peaks)?))
    }

    /// How many of the normal pictures a threshold calls anomalous.
    pub fn flagged(&self, threshold: f64) -> usize {
        self.scores.iter().filter(|s| **s >= threshold).count()
    }

    /// One line: `0.98-quantile of 60 normal pictures by 5-fold cross-validation (scores 0.21 to 0.55, median 0.33); 2 of
    /// them (3.3 %) would be called anomalous`.
    pub fn describe(&self, threshold: f64) -> Result<String> {
        let n = self.scores.len();
        let origin = match &self.origin {
            Origin::Value => return Ok("set by hand".into()),
            Origin::HeldBack => "held back from training".to_string(),
            Origin::CrossValidation { folds } => format!("by {folds}-fold cross-validation"),
            Origin::Pictures => "given to ckaad threshold".to_string(),
            Origin::BestF1 { f1 } => return self.describe_best_f1(*f1, threshold),
        };
        let (Some(low), Some(high)) = (self.scores.first(), self.scores.last()) else {
            invalid!("a threshold without any score");
        };
        let (flagged, median) = (self.flagged(threshold), quantile(&self.scores, 0.5)?);
        let pictures = plural(n, "normal picture");
        Ok(format!(
            "{}-quantile of {pictures} {origin} (scores {low:.4} to {high:.4}, median {median:.4}); {flagged} of \
             them ({:.1} %) would be called anomalous",
            self.quantile,
            100.0 * flagged as f64 / n as f64
        ))
    }

    /// `best-F1 threshold (F1 0.9091) of 20 normal pictures (scores 0.21 to 0.55) and 10 anomalous pictures (0.48 to 1.20); 1 false
    /// alarm (5.0 %), 1 missed (10.0 %)`.
    fn describe_best_f1(&self, f1: f64, threshold: f64) -> Result<String> {
        let (scores, labels) = self.labelled();
        let c = Confusion::new(&scores, &labels, threshold)?;
        let ends = |scores: &[f64]| match (scores.first(), scores.last()) {
            (Some(low), Some(high)) => Ok(format!("{low:.4} to {high:.4}")),
            _ => Err(Error::Invalid("a best F1 without pictures of both kinds".into())),
        };
        let (normal, anomalous) = (plural(c.normal(), "normal picture"), plural(c.anomalous(), "anomalous picture"));
        let percent = |n: usize, of: usize| format!("{:.1} %", 100.0 * n as f64 / of as f64);
        Ok(format!(
            "best-F1 threshold (F1 {f1:.4}) of {normal} (scores {}) and {anomalous} ({}); {} ({}), {} missed ({})",
            ends(&self.scores)?,
            ends(&self.anomalous)?,
            plural(c.false_positives, "false alarm"),
            percent(c.false_positives, c.normal()),
            c.false_negatives,
            percent(c.false_negatives, c.anomalous()),
        ))
    }

    /// Why the threshold means less than it seems to, if it does.
    pub fn doubt(&self) -> Option<String> {
        let (n, tail) = (self.scores.len(), 1.0 - self.quantile);
        match self.origin {
            Origin::Value => return None,
            Origin::BestF1 { .. } => {
                let (few, m) = (n.min(self.anomalous.len()) < ENOUGH, self.anomalous.len());
                return few.then(|| {
                    format!(
                        "{n} normal and {m} anomalous scores say little about F1: at least {ENOUGH} of each are needed"
                    )
                });
            }
            _ => {}
        }
        if n < ENOUGH {
            let scores = plural(n, "score");
            let say = if n == 1 { "says" } else { "say" };
            return Some(format!("{scores} {say} little about the rate of false alarms: at least {ENOUGH} are needed"));
        }
        if tail <= 0.0 {
            return Some("no number of scores shows that there will be no false alarm".into());
        }
        // So many pictures have to be there for one of them to lie above.
        let needed = (1.0 / tail).ceil();
        if (n as f64) < needed {
            return Some(format!(
                "{n} scores cannot tell a false-alarm rate of {:.2} % from none: {needed} would be needed",
                100.0 * tail
            ));
        }
        None
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all
}

/// This moment in UTC, or the one that `SOURCE_DATE_EPOCH` names, for files that shall not differ from run to run
/// (reproducible-builds.org).
pub fn now() -> Result<String> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => SystemTime::now(),
        Ok(text) => {
            let seconds = text.parse().ok();
            let time = seconds.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            time.ok_or_else(|| Error::Usage(format!("SOURCE_DATE_EPOCH={text}: expected seconds since 1970")))?
        }
    };
    Ok(humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_threshold_rests_on() {
        let outcomes: Vec<(f64, f64)> = (0..40).rev().map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        let c = Calibration::new(Origin::CrossValidation { folds: 5 }, 0.95, &outcomes);
        // numpy.quantile(numpy.arange(40), 0.95) = 37.05
        let (image, pixel) = c.thresholds().unwrap();
        assert!((image - 37.05).abs() < 1e-12 && (pixel - 74.1).abs() < 1e-12);
        assert_eq!(c.flagged(image), 2);
        let text = c.describe(image).unwrap();
        assert_eq!(
            text,
            "0.95-quantile of 40 normal pictures by 5-fold cross-validation (scores 0.0000 to 39.0000, median 19.5000); 2 \
             of them (5.0 %) would be called anomalous"
        );
        assert_eq!(c.doubt(), None);
        assert!(Calibration { quantile: 0.98, ..c.clone() }.doubt().unwrap().contains("50 would be needed"));
        let none = Calibration { quantile: 1.0, ..c.clone() };
        assert_eq!(none.flagged(none.thresholds().unwrap().0), 0);
        assert!(none.doubt().unwrap().contains("no false alarm"));
        let few = Calibration::new(Origin::HeldBack, 0.98, &outcomes[..6]);
        assert!(few.doubt().unwrap().contains("6 scores say little"));
        let one = Calibration::new(Origin::HeldBack, 0.98, &outcomes[..1]);
        assert!(one.doubt().unwrap().contains("1 score says little"));
        let back: Calibration = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
        assert_eq!(back, c);
    }

    /// A rate that is asked for is kept on the pictures that the threshold is taken from: by counting.
    #[test]
    fn at_most_the_share_asked_for_is_called_anomalous() {
        for n in 1..=120 {
            let outcomes: Vec<(f64, f64)> = (0..n).map(|i| (f64::from(i * i % 97), f64::from(i))).collect();
            for (percent, q) in [(0, 1.0), (1, 0.99), (2, 0.98), (3, 0.97), (10, 0.9), (25, 0.75), (50, 0.5)] {
                let c = Calibration::new(Origin::HeldBack, q, &outcomes);
                let (image, pixel) = c.thresholds().unwrap();
                let allowed = percent * n as usize / 100;
                assert!(c.flagged(image) <= allowed, "{n} pictures, {percent} %: {}", c.flagged(image));
                // All highest values differ: exactly so many reach it.
                let reached = c.peaks.iter().filter(|p| **p >= pixel).count();
                assert_eq!(reached, allowed, "{n} pictures, {percent} %");
            }
        }
    }

    /// scikit-learn: precision_recall_curve([0, 0, 0, 1, 1], [1, 2, 3, 2.5, 4]) has at 2.5 precision 2/3 and recall 1, so F1 0.8;
    /// at 4 precision 1 and recall 1/2, so 2/3; lower down more false alarms.
    #[test]
    fn the_best_f1_of_both_kinds() {
        let outcomes =
            [(1.0, 10.0, false), (4.0, 99.0, true), (2.0, 20.0, false), (2.5, 99.0, true), (3.0, 30.0, false)];
        let c = Calibration::best_f1(0.5, &outcomes).unwrap();
        let Origin::BestF1 { f1 } = c.origin else { panic!("{:?}", c.origin) };
        assert!((f1 - 0.8).abs() < 1e-12);
        // Between 2 and 2.5. Of pixels it is the median of the normal pictures' peaks, which at most half of the three may reach:
        // between the second and the third.
        assert_eq!(c.thresholds().unwrap(), (2.25, 25.0));
        assert_eq!((&c.scores[..], &c.anomalous[..]), (&[1.0, 2.0, 3.0][..], &[2.5, 4.0][..]));
        assert_eq!(
            c.describe(2.5).unwrap(),
            "best-F1 threshold (F1 0.8000) of 3 normal pictures (scores 1.0000 to 3.0000) and 2 anomalous pictures (2.5000 to \
             4.0000); 1 false alarm (33.3 %), 0 missed (0.0 %)"
        );
        assert!(c.doubt().unwrap().starts_with("3 normal and 2 anomalous scores say little"));
        let back: Calibration = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
        assert_eq!(back, c);
        // What earlier versions wrote names no anomalous pictures.
        let old = r#"{"origin":"pictures","quantile":0.5,"scores":[1.0],"peaks":[2.0]}"#;
        let thresholds = serde_json::from_str::<Calibration>(old).unwrap().thresholds().unwrap();
        assert_eq!(thresholds, (1f64.next_up(), 2f64.next_up()));
        let error = Calibration::best_f1(0.5, &outcomes[..1]).unwrap_err().to_string();
        assert!(error.contains("1 normal and 0 anomalous"), "{error}");
    }
}
