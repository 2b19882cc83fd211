//! A figure of a table: a mean over the results that the file asks for, how many of them there are, and what is printed of it.

use super::printed::PrintedFigure;
use std::collections::BTreeMap;
use std::fmt;

/// What came of a result that the file asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Came {
    /// A share of 1.
    Of(f64),
    /// Nothing is defined, as the test pictures are.
    Undefined,
    /// The cell failed, or was not run.
    Missing,
}

/// A number in percent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// `None` as well where one of the results does not define it: of the others it would be another average.
    pub mean: Option<f64>,
    /// Of the sample of repetitions; `None` of less than two, and where one lacks something.
    pub deviation: Option<f64>,
    pub there: usize,
    pub asked: usize,
    pub printed: Option<PrintedFigure>,
}

impl Figure {
    /// The mean over what came of each repetition, then mean and deviation over those.
    pub fn new<K: Ord>(results: impl IntoIterator<Item = (K, Came)>, printed: Option<PrintedFigure>) -> Self {
        let mut of: BTreeMap<K, Vec<f64>> = BTreeMap::new();
        let (mut there, mut asked, mut undefined) = (0, 0, false);
        for (repetition, came) in results {
            asked += 1;
            match came {
                Came::Of(value) => {
                    there += 1;
                    of.entry(repetition).or_default().push(100.0 * value);
                }
                Came::Undefined => undefined = true,
                Came::Missing => {}
            }
        }
        if undefined || there == 0 {
            return Figure { there, asked, printed, ..Figure::default() };
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let means: Vec<f64> = of.values().map(|values| mean(values)).collect();
        let all = mean(&means);
        let spread = means.iter().map(|m| (m - all).powi(2)).sum::<f64>();
        let deviation = (means.len() > 1 && there == asked).then(|| (spread / (means.len() - 1) as f64).sqrt());
        Figure { mean: Some(all), deviation, there, asked, printed }
    }

    /// Whether it is an average over less than the file asks for.
    pub fn is_partial(&self) -> bool {
        self.mean.is_some() && self.there < self.asked
    }
}

/// `95.7 ± 0.3 (printed 96.57 ± 0.03, -0.9)`, or `61.1 (1 of 9) (printed 92.1)`: a part is not compared with a whole.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.mean, self.deviation) {
            (None, _) => f.write_str("–")?,
            (Some(mean), None) => write!(f, "{mean:.1}")?,
            (Some(mean), Some(deviation)) => write!(f, "{mean:.1} ± {deviation:.1}")?,
        }
        if self.is_partial() {
            write!(f, " ({} of {})", self.there, self.asked)?;
        }
        match (&self.printed, self.mean.filter(|_| !self.is_partial())) {
            (Some(printed), Some(mean)) => write!(f, " (printed {printed}, {:+.1})", mean - printed.mean.value),
            (Some(printed), None) => write!(f, " (printed {printed})"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::printed::Decimal;
    use super::*;

    fn printed(mean: &str, deviation: Option<&str>) -> Option<PrintedFigure> {
        let number = |text| Decimal::new(text).unwrap();
        Some(PrintedFigure { mean: number(mean), deviation: deviation.map(number) })
    }

    fn of(values: &[(u64, f64)]) -> Vec<(u64, Came)> {
        values.iter().map(|(seed, value)| (*seed, Came::Of(*value))).collect()
    }

    /// Two seeds of two classes: (1 + 2) / 2 and (3 + 6) / 2 percent; mean 3, deviation 3 / sqrt(2).
    #[test]
    fn classes_are_averaged_before_seeds() {
        let found = Figure::new(of(&[(1, 0.01), (1, 0.02), (2, 0.03), (2, 0.06)]), printed("2.5", None));
        assert!((found.mean.unwrap() - 3.0).abs() < 1e-12);
        assert!((found.deviation.unwrap() - 3.0 / 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.to_string(), "3.0 ± 2.1 (printed 2.5, +0.5)");
        assert_eq!(Figure::new(of(&[]), printed("97.0", None)).to_string(), "– (printed 97.0)");
        assert_eq!(Figure::new(of(&[(1, 0.5)]), None).to_string(), "50.0");
    }

    /// 99.93 is not 99.9, and 96.60 was printed with its nought; 100 - 99.93 is 0.07, and not 0.1 more than 99.9.
    #[test]
    fn printed_figures_keep_their_decimals() {
        assert_eq!(Figure::new(of(&[(1, 1.0)]), printed("99.93", None)).to_string(), "100.0 (printed 99.93, +0.1)");
        assert_eq!(Figure::new(of(&[(1, 1.0)]), printed("99.96", None)).to_string(), "100.0 (printed 99.96, +0.0)");
        let found = Figure::new(of(&[(1, 0.95)]), printed("96.60", Some("0.10")));
        assert_eq!(found.to_string(), "95.0 (printed 96.60 ± 0.10, -1.6)");
    }

    /// One of nine, two of three seeds, one category that defines nothing.
    #[test]
    fn a_part_is_not_compared_with_a_whole() {
        let rest = |n: u64, came: Came| (2..2 + n).map(move |seed| (seed, came));
        let of = |came, n| Figure::new(of(&[(1, 0.611)]).into_iter().chain(rest(n, came)), printed("92.1", None));
        assert_eq!(of(Came::Missing, 8).to_string(), "61.1 (1 of 9) (printed 92.1)");
        assert_eq!(of(Came::Undefined, 1).to_string(), "– (printed 92.1)");
        let seeds = [(1, Came::Of(0.5)), (2, Came::Of(0.7)), (3, Came::Missing)];
        assert_eq!(Figure::new(seeds, None).to_string(), "60.0 (2 of 3)");
    }
}
