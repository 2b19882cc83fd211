//! What a model says of a picture by its thresholds, in the form that every front end shows.

use super::normalization::Normalization;
use super::regions::{Region, regions};
use super::scorer::Scored;
use crate::detector::file::Config;
use serde::Serialize;

/// A model's thresholds, or others in their place.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Scores of at least this are anomalous.
    pub threshold: Option<f64>,
    /// Map values of at least this are anomalous.
    pub pixel_threshold: Option<f64>,
    pub normalization: Option<Normalization>,
}

/// What is said of a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub score: f64,
    /// 0 to 1, with 0.5 at the threshold; none without one.
    pub score_normalized: Option<f64>,
    pub threshold: Option<f64>,
    pub anomalous: Option<bool>,
    /// The connected areas above the threshold of pixels; none without one, or without a map.
    pub regions: Option<Vec<Region>>,
}

impl Judge {
    /// By the model's thresholds, where none are given in their place.
    pub fn new(config: &Config, threshold: Option<f64>, pixel_threshold: Option<f64>) -> Self {
        let threshold = threshold.or(config.threshold);
        let normalization = Normalization::new(threshold, config.calibration.as_ref());
        Judge { threshold, pixel_threshold: pixel_threshold.or(config.pixel_threshold), normalization }
    }

    /// Of a picture of `shown` pixels (width, height).
    pub fn verdict(&self, scored: &Scored, shown: (usize, usize)) -> Verdict {
        let score = scored.score;
        let threshold = self.pixel_threshold.filter(|_| !scored.map.is_empty());
        Verdict {
            score,
            score_normalized: self.normalization.map(|n| n.of(score)),
            threshold: self.threshold,
            anomalous: self.threshold.map(|t| score >= t),
            regions: threshold.map(|t| regions(&scored.map, t, shown)),
        }
    }
}
