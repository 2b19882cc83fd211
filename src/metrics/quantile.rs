//! Quantiles: of the scores of normal pictures that training did not see, one becomes the threshold.

use super::{beyond, halfway};
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

/// The `q`-quantile of ascending `values`. Where interpolation does not land above a value that may not reach it any more, since a
/// share of `1 - q` of all does already, it is halfway to the next higher one, or a little above all.
pub fn exceeded_by_at_most(values: &[f64], q: f64) -> Result<f64> {
    let found = quantile(values, q)?;
    // 1 - 0.9 is a little less than 0.1, and ten per cent of fifty pictures are five.
    let may_reach = ((1.0 - q) * values.len() as f64 + 1e-9).floor() as usize;
    let Some(last) = values.len().checked_sub(may_reach + 1).map(|i| values[i]).filter(|last| found <= *last) else {
        return Ok(found);
    };
    Ok(match values.iter().find(|v| **v > last) {
        Some(next) => halfway(last, *next),
        None => (last + beyond(values[0], last)).max(last.next_up()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: of four values one may reach the 0.75-quantile, which numpy puts at 3.25.
    #[test]
    fn too_many_never_reach_a_quantile() {
        let of = |values: &[f64], q| exceeded_by_at_most(values, q).unwrap();
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], 0.75), 3.25);
        // numpy's median is 2, which two of three reach where one may.
        assert_eq!(of(&[1.0, 2.0, 3.0], 0.5), 2.5);
        // Of equal ones all would reach it.
        assert_eq!(of(&[1.0, 2.0, 2.0, 2.0, 4.0], 0.5), 3.0);
        // None may: a thousandth of 3 above 4; of a single value there is no span.
        assert_eq!(of(&[1.0, 2.0, 4.0], 0.99), 4.003);
        assert_eq!(of(&[4.0], 0.5), 4f64.next_up());
        assert_eq!(of(&[1.0, 1f64.next_up()], 0.5), 1f64.next_up());
        // All may.
        assert_eq!(of(&[1.0, 2.0], 0.0), 1.0);
    }

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
