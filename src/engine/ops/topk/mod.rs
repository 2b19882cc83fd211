//! Image scores: the mean of the k largest values of every image's map.

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::onnx::{Attr, Composer};
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
        if self.k == self.len { 0 } else { 2 * self.k }
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let x = c.input(0);
        let mut x = c.node("Flatten", &[&x], &[("axis", Attr::I(1))]);
        if self.k < self.len {
            let k = c.ints(&[self.k as i64]);
            let [largest, _] = c.nodes("TopK", &[&x, &k], &[("axis", Attr::I(1))]);
            x = largest;
        }
        let mean = c.node("ReduceMean", &[&x], &[("axes", Attr::Ints(vec![1]))]);
        let y = c.reshape(&mean, &[-1, 1, 1, 1]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let mean = |v: &[T]| T::of(v.iter().map(|v| v.f64()).sum::<f64>() / v.len() as f64);
        for (y, x) in y.iter_mut().zip(x.chunks_exact(self.len)) {
            if self.k == self.len {
                *y = mean(x);
                continue;
            }
            let largest = largest(x, self.k, &mut a.scratch[..2 * self.k]);
            // Sorted, so that the sum does not depend on how the selection left them.
            largest.sort_unstable_by(descending);
            *y = mean(largest);
        }
    }
}

/// The `k` largest of `x`, which has more, in any order. `found` has place for twice as many: whenever it is full, the smaller
/// half is dropped, and what is not above the rest from then on is passed over, a chunk at a time.
fn largest<'a, T: Real>(x: &[T], k: usize, found: &'a mut [T]) -> &'a mut [T] {
    const CHUNK: usize = 64;
    let (mut count, mut least) = (0, None);
    for x in x.chunks(CHUNK) {
        if least.is_some_and(|least| wide!(none_above(x, least))) {
            continue;
        }
        for x in x {
            if least.is_some_and(|least| *x <= least) {
                continue;
            }
            found[count] = *x;
            count += 1;
            if count == found.len() {
                let (_, last, _) = found.select_nth_unstable_by(k - 1, descending);
                (count, least) = (k, Some(*last));
            }
        }
    }
    if count > k {
        found[..count].select_nth_unstable_by(k - 1, descending);
    }
    &mut found[..k]
}

/// NaN counts as above.
#[inline(always)]
fn none_above<T: Real>(x: &[T], least: T) -> bool {
    let mut none = true;
    for x in x {
        none &= *x <= least;
    }
    none
}
