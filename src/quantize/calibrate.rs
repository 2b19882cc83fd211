//! How large the numbers of a program become over pictures, and which scale of bytes serves them best.

use crate::{Error, Result};
use std::fmt;

/// How a scale is chosen from what was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The largest number still fits.
    Largest,
    /// All but this share of the numbers fit.
    Percentile(f64),
    /// The mean squared error of the bytes is least.
    Mse,
}

impl Choice {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("max", "The largest number that was seen still fits"),
        ("percentile", "All but one in ten thousand of the numbers fit"),
        ("mse", "The mean squared error of the bytes is least"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "max" => Ok(Choice::Largest),
            "percentile" => Ok(Choice::Percentile(1e-4)),
            "mse" => Ok(Choice::Mse),
            _ => Err(Error::Usage(format!("unknown choice of scales '{name}': expected max, percentile or mse"))),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Choice::Largest => "max",
            Choice::Percentile(_) => "percentile",
            Choice::Mse => "mse",
        })
    }
}

const BINS: usize = 2048;

/// Magnitudes that were seen, and how many of each: in bins up to `top`, which doubles as larger ones come.
#[derive(Clone, Debug)]
pub struct Magnitudes {
    top: f32,
    largest: f32,
    counts: Vec<u64>,
}

impl Default for Magnitudes {
    fn default() -> Self {
        Magnitudes { top: f32::MIN_POSITIVE, largest: 0.0, counts: vec![0; BINS] }
    }
}

impl Magnitudes {
    /// Adds numbers, all of them finite.
    pub fn add(&mut self, values: &[f32]) {
        let largest = values.iter().fold(0f32, |most, v| most.max(v.abs()));
        self.largest = self.largest.max(largest);
        while self.top <= largest {
            self.double();
        }
        let bins = BINS as f32 / self.top;
        for v in values {
            self.counts[((v.abs() * bins) as usize).min(BINS - 1)] += 1;
        }
    }

    /// Each pair of bins becomes one.
    fn double(&mut self) {
        self.top *= 2.0;
        for i in 0..BINS {
            let pair = |j: usize| self.counts.get(j).copied().unwrap_or(0);
            self.counts[i] = pair(2 * i) + pair(2 * i + 1);
        }
    }

    /// What one of `steps` steps is to be worth. Of nothing but zeros, 1: their byte is that of 0 by any scale.
    pub fn scale(&self, choice: Choice, steps: i32) -> f32 {
        if self.largest == 0.0 {
            return 1.0;
        }
        let clip = match choice {
            Choice::Largest => self.largest,
            Choice::Percentile(beyond) => self.quantile(beyond),
            Choice::Mse => self.least_error(steps),
        };
        // Of the smallest numbers there are, a step could be 0.
        (clip / steps as f32).max(f32::MIN_POSITIVE)
    }

    fn edge(&self, bin: usize) -> f32 {
        (self.top / BINS as f32 * bin as f32).min(self.largest)
    }

    /// Below which all but `beyond` of the numbers are, to a bin.
    fn quantile(&self, beyond: f64) -> f32 {
        let mut left = (self.counts.iter().sum::<u64>() as f64 * beyond) as u64;
        let mut bin = BINS;
        while bin > 1 && self.counts[bin - 1] <= left {
            left -= self.counts[bin - 1];
            bin -= 1;
        }
        self.edge(bin)
    }

    /// Where to clip: what is below loses a twelfth of a step squared, what is above all that is beyond.
    fn least_error(&self, steps: i32) -> f32 {
        let width = f64::from(self.top) / BINS as f64;
        let error = |clip: f64| {
            let rounding = (clip / f64::from(steps)).powi(2) / 12.0;
            let of_bin = |(bin, count): (usize, &u64)| {
                let beyond = (bin as f64 + 0.5) * width - clip;
                *count as f64 * if beyond > 0.0 { beyond * beyond } else { rounding }
            };
            self.counts.iter().enumerate().map(of_bin).sum::<f64>()
        };
        // From an eighth of the largest; 1 in 128 of it apart.
        let clips = (16..=128).map(|i| f64::from(self.largest) * f64::from(i) / 128.0);
        clips.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(f64::from(self.largest)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quantile and a least error by brute force over the numbers themselves.
    #[test]
    fn scales_serve_what_was_seen() {
        // Mostly small, a few large: exponential magnitudes.
        let values: Vec<f32> = (0..20_000).map(|i| -((1.0 - (i as f32 + 0.5) / 20_000.0).ln()) * 0.3).collect();
        let mut seen = Magnitudes::default();
        values.chunks(777).for_each(|part| seen.add(part));
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        let largest = sorted[sorted.len() - 1];
        assert_eq!(seen.scale(Choice::Largest, 255), largest / 255.0);

        let want = sorted[sorted.len() - 1 - sorted.len() / 100];
        let found = seen.scale(Choice::Percentile(0.01), 255) * 255.0;
        assert!((found - want).abs() <= 2.0 * seen.top / BINS as f32, "{found}, expected {want}");

        let error = |scale: f32| -> f64 {
            let of = |v: &f32| f64::from((v / scale).round().min(255.0) * scale - v).powi(2);
            values.iter().map(of).sum()
        };
        let best = error(seen.scale(Choice::Mse, 255));
        let least = (1..400).map(|i| error(largest / 255.0 * i as f32 / 400.0)).fold(f64::MAX, f64::min);
        assert!(best <= 1.05 * least && best <= error(largest / 255.0), "{best}, the least is {least}");
    }

    #[test]
    fn nothing_but_zeros_has_a_scale() {
        let mut seen = Magnitudes::default();
        seen.add(&[0.0; 100]);
        for choice in [Choice::Largest, Choice::Percentile(1e-4), Choice::Mse] {
            assert_eq!(seen.scale(choice, 255), 1.0);
        }
        seen.add(&[f32::MIN_POSITIVE / 2.0]);
        assert!(seen.scale(Choice::Largest, 255) > 0.0);
    }
}
