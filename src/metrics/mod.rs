//! How good a detector is: ROC, F1, per-region overlap.
//!
//! Scores and maps are larger where something looks more anomalous; `true` and non-zero mark anomalies. Everything is
//! computed in f64 from exact counts. A metric that the labels do not define (one class only) is `None`; a NaN is an
//! error that names its picture.

pub mod confusion;
pub mod f1;
pub mod precision_recall;
pub mod pro;
pub mod quantile;
pub mod regions;
pub mod roc;

use crate::error::Result;
use crate::invalid;

fn check(scores: &[f64], labels: &[bool]) -> Result<()> {
    if scores.len() != labels.len() {
        invalid!("{} scores for {} labels", scores.len(), labels.len());
    }
    if let Some(i) = scores.iter().position(|s| s.is_nan()) {
        invalid!("picture {i} (counted from 0): the score is not a number");
    }
    Ok(())
}

/// How many pictures are anomalous, and how many normal; `None` unless there are both.
fn classes(scores: &[f64], labels: &[bool]) -> Result<Option<(usize, usize)>> {
    check(scores, labels)?;
    let positives = labels.iter().filter(|&&l| l).count();
    let negatives = labels.len() - positives;
    Ok((positives > 0 && negatives > 0).then_some((positives, negatives)))
}

/// A threshold between two neighbouring scores, halfway: on one of them rounding would decide. Above `low`, and at most `high`.
fn halfway(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle > low && middle <= high { middle } else { high }
}

/// How far a threshold lies beyond the last score that it is to be apart from: a thousandth of what the scores span, which rounding
/// does not come near.
fn beyond(lowest: f64, highest: f64) -> f64 {
    (highest - lowest) / 1000.0
}

/// Indices from the highest score to the lowest, in runs of equal scores.
fn descending(scores: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.chunk_by(|&a, &b| scores[a] == scores[b]).map(<[usize]>::to_vec).collect()
}
