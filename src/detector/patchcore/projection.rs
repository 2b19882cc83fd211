//! Sparse random projection (Li, Hastie and Church, 2006): distances between patches are kept well enough to choose a coreset
//! by, in fewer numbers. As scikit-learn's and anomalib's `SparseRandomProjection` with density 1/sqrt(channels).

use crate::Result;
use crate::invalid;
use crate::model::init::named_rng;
use rand::RngExt;

/// Distortion of distances that the number of dimensions is for, as anomalib has it.
const EPS: f64 = 0.9;

/// A matrix by its non-zero entries, output by output.
pub struct Projection {
    channels: usize,
    /// Where each output's entries end.
    ends: Vec<usize>,
    /// Channel and weight.
    entries: Vec<(u32, f32)>,
}

/// Dimensions that keep all distances between `rows` points within a factor of 1 ± 0.9, by the lemma of Johnson and
/// Lindenstrauss.
pub fn dimensions(rows: usize) -> usize {
    (4.0 * (rows as f64).ln() / (EPS * EPS / 2.0 - EPS * EPS * EPS / 3.0)) as usize
}

impl Projection {
    /// From `channels` to `dimensions`: every entry is ±sqrt(sqrt(channels) / dimensions) with probability 1/sqrt(channels),
    /// else 0.
    pub fn random(channels: usize, dimensions: usize, seed: u64) -> Self {
        let mut rng = named_rng(seed, "patchcore.projection");
        let density = 1.0 / (channels as f64).sqrt();
        let weight = (1.0 / density / dimensions as f64).sqrt() as f32;
        let (mut ends, mut entries) = (Vec::with_capacity(dimensions), Vec::new());
        for _ in 0..dimensions {
            for channel in 0..channels as u32 {
                if rng.random::<f64>() < density {
                    entries.push((channel, if rng.random::<bool>() { weight } else { -weight }));
                }
            }
            ends.push(entries.len());
        }
        Projection { channels, ends, entries }
    }

    /// From a matrix (dimensions, channels), row by row.
    pub fn from_matrix(matrix: &[f32], channels: usize) -> Result<Self> {
        if channels == 0 || !matrix.len().is_multiple_of(channels) {
            invalid!("a projection of {} entries has no whole rows of {channels} channels", matrix.len());
        }
        let (mut ends, mut entries) = (Vec::new(), Vec::new());
        for row in matrix.chunks_exact(channels) {
            let weights = row.iter().enumerate().filter(|(_, w)| **w != 0.0);
            entries.extend(weights.map(|(channel, w)| (channel as u32, *w)));
            ends.push(entries.len());
        }
        Ok(Projection { channels, ends, entries })
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn dimensions(&self) -> usize {
        self.ends.len()
    }

    /// Projects one point.
    pub fn apply(&self, x: &[f32], to: &mut [f32]) {
        assert_eq!((x.len(), to.len()), (self.channels, self.dimensions()));
        let mut start = 0;
        for (to, &end) in to.iter_mut().zip(&self.ends) {
            *to = self.entries[start..end].iter().map(|&(channel, weight)| x[channel as usize] * weight).sum();
            start = end;
        }
    }
}
