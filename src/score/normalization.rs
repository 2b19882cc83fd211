//! Scores as numbers from 0 to 1 with 0.5 at the threshold, which compare between models. `docs/decisions.md` says why there are two
//! maps.

use crate::detector::provenance::Calibration;

/// A map of scores that never falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalization {
    /// Of normal and anomalous pictures the scores are known: (score - threshold) / (highest - lowest) + 0.5, cut at 0 and 1, as
    /// anomalib's `MinMaxNormalization` has it.
    MinMax { threshold: f64, span: f64 },
    /// How high anomalous pictures score is not known: with r = (score - lowest) / (threshold - lowest), r / 2 up to the
    /// threshold and 1 - 1 / (2 r) above, which 1 is the limit of.
    Ratio { threshold: f64, lowest: f64 },
}

impl Normalization {
    /// For scores that are held against `threshold`, by those that it was taken from. Without any the lowest is 0, which scores do
    /// not fall below. `None` without a threshold, and with one that no score lies below.
    pub fn new(threshold: Option<f64>, calibration: Option<&Calibration>) -> Option<Self> {
        let (threshold, both) = (threshold?, calibration.filter(|c| !c.anomalous.is_empty()));
        let ends = |c: &Calibration| {
            let low = c.scores.first().copied().unwrap_or(f64::INFINITY).min(c.anomalous.first().copied()?);
            let high = c.scores.last().copied().unwrap_or(f64::NEG_INFINITY).max(c.anomalous.last().copied()?);
            Some(high - low)
        };
        if let Some(span) = both.and_then(ends).filter(|span| *span > 0.0) {
            return Some(Normalization::MinMax { threshold, span });
        }
        // A threshold set by hand may lie below all scores that another was taken from, one of a single score is the next number
        // above it: neither leaves anything to measure by.
        let of_calibration = calibration.and_then(|c| c.scores.first().copied());
        let below = |low: &f64| threshold - low > 1e-9 * threshold.abs();
        let lowest = [of_calibration, Some(0.0)].into_iter().flatten().find(below)?;
        Some(Normalization::Ratio { threshold, lowest })
    }

    /// 0 to 1, at least 0.5 exactly where `score` is at least the threshold.
    pub fn of(&self, score: f64) -> f64 {
        let (value, threshold) = match *self {
            Normalization::MinMax { threshold, span } => {
                (((score - threshold) / span + 0.5).clamp(0.0, 1.0), threshold)
            }
            Normalization::Ratio { threshold, lowest } => {
                let r = (score - lowest) / (threshold - lowest);
                (if r <= 1.0 { (r / 2.0).max(0.0) } else { 1.0 - 0.5 / r }, threshold)
            }
        };
        // Rounding must not turn a verdict over.
        if score >= threshold { value.max(0.5) } else { value.min(0.5f64.next_down()) }
    }

    /// What the numbers mean, in a sentence.
    pub fn describe(&self) -> &'static str {
        match self {
            Normalization::MinMax { .. } => {
                "Normalised scores run from 0 to 1 with 0.5 at the threshold, in units of what lies between the lowest and the \
                 highest score that it was taken from (min-max)."
            }
            Normalization::Ratio { .. } => {
                "Normalised scores run from 0, at the lowest normal score known, over 0.5 at the threshold; twice as far from the \
                 lowest is 0.75, and 1 is never reached."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::provenance::Origin;

    fn of(n: Normalization, scores: &[f64]) -> Vec<f64> {
        scores.iter().map(|s| n.of(*s)).collect()
    }

    /// `anomalib.metrics.min_max` (normalize): ((preds - threshold) / (max - min)) + 0.5, clipped; by hand.
    #[test]
    fn of_both_kinds_as_anomalib() {
        let outcomes = [(1.0, 0.0, false), (3.0, 0.0, false), (4.0, 0.0, true), (6.0, 0.0, true)];
        let calibration = Calibration::best_f1(0.98, &outcomes).unwrap();
        let n = Normalization::new(Some(4.0), Some(&calibration)).unwrap();
        // (x - 4) / 5 + 0.5
        assert_eq!(n, Normalization::MinMax { threshold: 4.0, span: 5.0 });
        let found = of(n, &[0.0, 1.0, 3.0, 4.0, 6.0, 6.5, 9.0]);
        let expected = [0.0, 0.0, 0.3, 0.5, 0.9, 1.0, 1.0];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12), "{found:?}");
        // All equal: there is no span to divide by.
        let equal = Calibration::best_f1(0.98, &[(2.0, 0.0, false), (2.0, 0.0, true)]).unwrap();
        let n = Normalization::new(Some(2.0), Some(&equal)).unwrap();
        assert_eq!(n, Normalization::Ratio { threshold: 2.0, lowest: 0.0 });
    }

    #[test]
    fn of_normal_pictures_by_hand() {
        let calibration = Calibration::new(Origin::HeldBack, 1.0, &[(3.0, 0.0), (1.0, 0.0), (2.0, 0.0)]);
        let n = Normalization::new(Some(3.0), Some(&calibration)).unwrap();
        // r = (x - 1) / 2: -0.5, 0, 0.5, 1, 2, 4, and no end.
        let found = of(n, &[0.0, 1.0, 2.0, 3.0, 5.0, 9.0, f64::INFINITY]);
        assert_eq!(found, [0.0, 0.0, 0.25, 0.5, 0.75, 0.875, 1.0]);
        // The verdict is the same by either number, also next to the threshold.
        assert!(n.of(3f64.next_down()) < 0.5 && n.of(3f64.next_up()) >= 0.5);
    }

    #[test]
    fn without_scores_the_lowest_is_nothing() {
        let by_hand = Calibration::new(Origin::Value, 0.0, &[]);
        for calibration in [None, Some(&by_hand)] {
            let n = Normalization::new(Some(4.0), calibration).unwrap();
            assert_eq!(of(n, &[0.0, 2.0, 4.0, 8.0]), [0.0, 0.25, 0.5, 0.75]);
            assert_eq!(Normalization::new(None, calibration), None);
            assert_eq!(Normalization::new(Some(0.0), calibration), None, "nothing lies below");
        }
        let calibration = Calibration::new(Origin::HeldBack, 1.0, &[(3.0, 0.0)]);
        let n = Normalization::new(Some(2.0), Some(&calibration)).unwrap();
        assert_eq!(n, Normalization::Ratio { threshold: 2.0, lowest: 0.0 });
    }
}
