//! The threshold with the best F1 on pictures whose labels are known: better than any threshold chosen without them. A picture is called anomalous when score >= threshold.

use super::confusion::Confusion;
use super::{beyond, classes, descending, halfway};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestF1 {
    pub f1: f64,
    /// Halfway between two neighbouring scores, or a little below all of them; the lowest one when several give the same F1.
    pub threshold: f64,
    /// Share of pictures judged correctly at that threshold.
    pub accuracy: f64,
}

/// Tries every score as threshold, as scikit-learn's `precision_recall_curve` does; the best one is moved off its score, halfway
/// to the next lower one. `None` unless both classes occur: where all are anomalous, calling everything so is right.
pub fn best_f1(scores: &[f64], labels: &[bool]) -> Result<Option<BestF1>> {
    let Some((positives, _)) = classes(scores, labels)? else { return Ok(None) };
    let mut best = (f64::NEG_INFINITY, 0);
    let (mut tp, mut predicted) = (0usize, 0usize);
    let runs = descending(scores);
    for (at, run) in runs.iter().enumerate() {
        tp += run.iter().filter(|&&i| labels[i]).count();
        predicted += run.len();
        let (precision, recall) = (tp as f64 / predicted as f64, tp as f64 / positives as f64);
        let f1 = 2.0 * precision * recall / (precision + recall).max(1e-16);
        if f1 >= best.0 {
            best = (f1, at);
        }
    }
    let (f1, at) = best;
    let score = |run: &[usize]| scores[run[0]];
    let threshold = match runs.get(at + 1) {
        Some(lower) => halfway(score(lower), score(&runs[at])),
        None => score(&runs[at]) - beyond(score(&runs[at]), score(&runs[0])),
    };
    let accuracy = Confusion::new(scores, labels, threshold)?.accuracy().unwrap_or(0.0);
    Ok(Some(BestF1 { f1, threshold, accuracy }))
}
