//! Quantiles: of the scores of normal pictures that training did not see, one becomes the threshold.

use crate::{Result, invalid};

/// The `q`-quantile of `scores`, linearly interpolated between neighbours as numpy's default.
pub fn quantile(scores: &[f64], q: f64) -> Result<f64> {
    if scores.is_empty() || !(0.0..=1.0).contains(&q) {
        invalid!("a quantile between 0 and 1 of at least one score is needed, found {q} of {}", scores.len());
    }
    if let Some(i) = scores.iter().position(|s| s.is_nan()) {
        invalid!("the score of normal picture {i} is not a number");
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Ok(below + (above - below) * position.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numpy() {
        // numpy.quantile([3, 1, 2, 10], [0, .5, .9, 1]) = [1, 2.5, 7.9, 10]
        let scores = [3.0, 1.0, 2.0, 10.0];
        for (q, expected) in [(0.0, 1.0), (0.5, 2.5), (0.9, 7.9), (1.0, 10.0)] {
            assert!((quantile(&scores, q).unwrap() - expected).abs() < 1e-12);
        }
        assert!(quantile(&scores, 1.5).is_err() && quantile(&[], 0.5).is_err() && quantile(&[f64::NAN], 0.5).is_err());
    }
}
