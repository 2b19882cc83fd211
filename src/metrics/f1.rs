//! The threshold with the best F1 on pictures whose labels are known: better than any threshold chosen without them. A picture is called anomalous when score >= threshold.

use super::confusion::Confusion;
use super::{classes, descending};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestF1 {
    pub f1: f64,
    /// One of the scores; the lowest one when several give the same F1.
    pub threshold: f64,
    /// Share of pictures judged correctly at that threshold.
    pub accuracy: f64,
}

/// Tries every score as threshold, as scikit-learn's `precision_recall_curve` does. `None`
/// unless both classes occur: where all are anomalous, calling everything so is right.
pub fn best_f1(scores: &[f64], labels: &[bool]) -> Result<Option<BestF1>> {
    let Some((positives, _)) = classes(scores, labels)? else { return Ok(None) };
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
    let accuracy = Confusion::new(scores, labels, threshold)?.accuracy().unwrap_or(0.0);
    Ok(Some(BestF1 { f1, threshold, accuracy }))
}
