//! The threshold with the best F1, and accuracy at a threshold. A picture is called anomalous when score >= threshold.

use super::{check, descending};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestF1 {
    pub f1: f64,
    /// One of the scores; the lowest one when several give the same F1.
    pub threshold: f64,
    /// Share of pictures judged correctly at that threshold.
    pub accuracy: f64,
}

/// Tries every score as threshold, as scikit-learn's `precision_recall_curve` does. `None` without an anomalous picture.
pub fn best_f1(scores: &[f64], labels: &[bool]) -> Result<Option<BestF1>> {
    check(scores, labels)?;
    let positives = labels.iter().filter(|&&l| l).count();
    if positives == 0 {
        return Ok(None);
    }
    let mut best = (f64::NEG_INFINITY, 0.0);
    let (mut tp, mut predicted) = (0usize, 0usize);
    for run in descending(scores) {
        tp += run.iter().filter(|&&i| labels[i]).count();
        predicted += run.len();
        let (precision, recall) = (tp as f64 / predicted as f64, tp as f64 / positives as f64);
        let f1 = 2.0 * precision * recall / (precision + recall).max(1e-16);
        if f1 >= best.0 {
            best = (f1, scores[run[0]]);
        }
    }
    let (f1, threshold) = best;
    Ok(Some(BestF1 { f1, threshold, accuracy: accuracy(scores, labels, threshold)? }))
}

/// Share of pictures judged correctly at `threshold`; NaN for no pictures.
pub fn accuracy(scores: &[f64], labels: &[bool], threshold: f64) -> Result<f64> {
    check(scores, labels)?;
    let right = scores.iter().zip(labels).filter(|&(&s, &l)| (s >= threshold) == l).count();
    Ok(right as f64 / scores.len() as f64)
}
