//! Precision over recall, and the average precision, as scikit-learn's `precision_recall_curve` and
//! `average_precision_score`.

use super::{classes, descending};
use crate::error::Result;

/// The curve and its mean.
#[derive(Clone, Debug)]
pub struct PrecisionRecall {
    /// (recall, precision), from the highest threshold to the lowest, one point per distinct score; before them (0, 1).
    pub points: Vec<(f64, f64)>,
    /// Precision, averaged over the steps of recall.
    pub average: f64,
}

/// `None` unless both classes occur.
pub fn precision_recall(scores: &[f64], labels: &[bool]) -> Result<Option<PrecisionRecall>> {
    let Some((positives, _)) = classes(scores, labels)? else { return Ok(None) };
    let (mut found, mut called, mut average) = (0usize, 0usize, 0.0);
    let mut points = vec![(0.0, 1.0)];
    for run in descending(scores) {
        let hits = run.iter().filter(|&&i| labels[i]).count();
        found += hits;
        called += run.len();
        let precision = found as f64 / called as f64;
        average += precision * hits as f64 / positives as f64;
        points.push((found as f64 / positives as f64, precision));
    }
    Ok(Some(PrecisionRecall { points, average }))
}
