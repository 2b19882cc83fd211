//! Image scores: the mean of the k largest values of every image's map.

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use std::cmp::Ordering;

/// Input: (n, h, w, 1). Output: (n, 1, 1, 1). `k` equal to `len` is the plain mean.
#[derive(Clone, Debug)]
pub struct TopKMean {
    pub len: usize,
    pub k: usize,
}

impl Tape {
    /// Mean of the `k` largest values of each image of `map`; `None` or more than there are means all of them.
    pub fn topk_mean(&mut self, map: Var, k: Option<usize>) -> Result<Var> {
        let s = self.shape(map);
        let len = s.len() / s.n();
        let k = k.unwrap_or(len).min(len);
        if k == 0 {
            return Err(self.shape_error(TopKMean::NAME, "k must be at least 1".into()));
        }
        let scores = self.record1(TopKMean { len, k }, vec![map], Shape([s.n(), 1, 1, 1]))?;
        Ok(self.exact(scores))
    }
}

/// Descending; NaN counts as largest, so that it reaches the score instead of vanishing.
fn descending<T: Real>(a: &T, b: &T) -> Ordering {
    b.partial_cmp(a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()).reverse())
}

impl Operation for TopKMean {
    const NAME: &'static str = "topk_mean";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        if self.k == self.len { 0 } else { self.len }
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let mean = |v: &[T]| T::of(v.iter().map(|v| v.f64()).sum::<f64>() / v.len() as f64);
        for (y, x) in y.iter_mut().zip(x.chunks_exact(self.len)) {
            if self.k == self.len {
                *y = mean(x);
                continue;
            }
            let largest = &mut a.scratch[..self.len];
            largest.copy_from_slice(x);
            largest.select_nth_unstable_by(self.k - 1, descending);
            // Sorted, so that the sum does not depend on how the selection left them.
            let largest = &mut largest[..self.k];
            largest.sort_unstable_by(descending);
            *y = mean(largest);
        }
    }
}
