//! What is said of a scored picture.

use crate::score::normalization::Normalization;
use crate::score::regions::regions;
use crate::score::scorer::Scored;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug)]
pub struct Judge {
    pub threshold: Option<f64>,
    pub pixel_threshold: Option<f64>,
    pub normalization: Option<Normalization>,
}

impl Judge {
    /// The object that `ckaad score` prints, and whether the picture is anomalous.
    pub fn of(&self, scored: &Scored, shown: (usize, usize)) -> (Value, Option<bool>) {
        let size = scored.map.len().isqrt();
        let regions = self.pixel_threshold.map(|t| regions(&scored.map, size, t, shown));
        let anomalous = self.threshold.map(|t| scored.score >= t);
        let object = json!({
            "score": scored.score, "score_normalized": self.normalization.map(|n| n.of(scored.score)),
            "threshold": self.threshold, "anomalous": anomalous, "regions": regions,
        });
        (object, anomalous)
    }
}
