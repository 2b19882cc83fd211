//! The receiver operating characteristic of image scores and the area under it, with ties as in scikit-learn's
//! `roc_auc_score`: a threshold cannot split equal scores, so they are one step of the curve.

use super::{classes, descending};
use crate::error::Result;

/// The curve and its area.
#[derive(Clone, Debug)]
pub struct Roc {
    /// (false positive rate, true positive rate) from (0, 0) to (1, 1), one point per distinct score.
    pub points: Vec<(f64, f64)>,
    /// Area under the curve, 0 to 1: how often an anomalous picture scores above a normal one, ties counting half.
    pub auroc: f64,
}

/// `None` unless both classes occur: AUROC compares pictures of one with pictures of the other.
pub fn roc(scores: &[f64], labels: &[bool]) -> Result<Option<Roc>> {
    let Some((positives, negatives)) = classes(scores, labels)? else { return Ok(None) };
    let (mut tp, mut fp, mut twice_area) = (0usize, 0usize, 0u128);
    let mut points = vec![(0.0, 0.0)];
    for run in descending(scores) {
        let hits = run.iter().filter(|&&i| labels[i]).count();
        let misses = run.len() - hits;
        twice_area += (misses * (2 * tp + hits)) as u128;
        tp += hits;
        fp += misses;
        points.push((fp as f64 / negatives as f64, tp as f64 / positives as f64));
    }
    let auroc = twice_area as f64 / (2.0 * positives as f64 * negatives as f64);
    Ok(Some(Roc { points, auroc }))
}
