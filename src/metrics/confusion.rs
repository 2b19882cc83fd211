//! What comes of calling pictures anomalous from a threshold on.

use super::check;
use crate::error::Result;
use serde::Serialize;

/// Pictures by what they are and what they are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Anomalous, called so.
    pub true_positives: usize,
    /// Anomalous, called normal.
    pub false_negatives: usize,
    /// Normal, called anomalous.
    pub false_positives: usize,
    /// Normal, called so.
    pub true_negatives: usize,
}

impl Confusion {
    /// A picture is called anomalous when score >= threshold.
    pub fn new(scores: &[f64], labels: &[bool], threshold: f64) -> Result<Self> {
        check(scores, labels)?;
        let count = |anomalous: bool, called: bool| {
            scores.iter().zip(labels).filter(|&(&s, &l)| l == anomalous && (s >= threshold) == called).count()
        };
        Ok(Confusion {
            true_positives: count(true, true),
            false_negatives: count(true, false),
            false_positives: count(false, true),
            true_negatives: count(false, false),
        })
    }

    pub fn anomalous(&self) -> usize {
        self.true_positives + self.false_negatives
    }

    pub fn normal(&self) -> usize {
        self.false_positives + self.true_negatives
    }

    /// Share of the anomalous pictures that are found; `None` where there are none.
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.anomalous())
    }

    /// Share of the normal pictures that are called anomalous.
    pub fn false_alarm_rate(&self) -> Option<f64> {
        share(self.false_positives, self.normal())
    }

    /// Whether there are pictures of both classes: of one, precision and accuracy only say again how many of it are found.
    pub fn both(&self) -> bool {
        self.anomalous() > 0 && self.normal() > 0
    }

    /// Share of those called anomalous that are; `None` of one class.
    pub fn precision(&self) -> Option<f64> {
        self.both().then(|| share(self.true_positives, self.true_positives + self.false_positives))?
    }

    /// Share of all that are called what they are; `None` of one class.
    pub fn accuracy(&self) -> Option<f64> {
        self.both().then(|| share(self.true_positives + self.true_negatives, self.anomalous() + self.normal()))?
    }
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
