//! The loss of a classification: cross-entropy of logits with labels, as `torch.nn.CrossEntropyLoss(label_smoothing=...)`.
//!
//! Of a row of logits x with label l, with s the smoothing and k the classes: `log(sum exp(x)) - (1 - s) x_l - s/k sum(x)`, where all
//! of x is taken relative to the row's largest value, so that no exponential overflows.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use rayon::prelude::*;

/// Inputs: logits (n, h, w, k), labels (n, h, w, 1). Outputs: the mean over all rows, and of each row the largest logit and
/// 1 / sum exp(x - largest).
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    pub rows: usize,
    pub classes: usize,
    pub smoothing: f64,
}

/// Inputs: dy, logits, labels, and what was saved of each row.
#[derive(Clone, Debug)]
pub struct CrossEntropyBwd {
    pub forward: CrossEntropy,
}

/// Most classes: labels are counted in f32.
const MAX_CLASSES: usize = 1 << 24;
/// Logits that one thread works on at least.
const BLOCK: usize = 4096;

impl Tape {
    /// The mean cross-entropy of `logits` (n, h, w, k) with `labels` (n, h, w, 1), numbers of classes kept as f32 in 16-bit programs;
    /// `smoothing`, below 1, is spread over all classes. A label that is no class, 0 to k - 1, makes the loss NaN.
    pub fn cross_entropy(&mut self, logits: Var, labels: Var, smoothing: f64) -> Result<Var> {
        let (s, l) = (self.shape(logits), self.shape(labels));
        let (kept, found) = (self.dtype().exact(), self.info(labels).dtype);
        let expected = Shape([s.n(), s.h(), s.w(), 1]);
        if l != expected || found != kept {
            let what = format!("logits of shape {s} need labels of shape {expected} in {kept}, found {l} in {found}");
            return Err(self.shape_error(CrossEntropy::NAME, what));
        }
        if s.c() > MAX_CLASSES || !(0.0..1.0).contains(&smoothing) {
            let what = format!(
                "at most {MAX_CLASSES} classes and a smoothing from 0 to below 1 can be, found {} and {smoothing}",
                s.c()
            );
            return Err(self.shape_error(CrossEntropy::NAME, what));
        }
        let op = CrossEntropy { rows: l.len(), classes: s.c(), smoothing };
        let saved = Shape([s.n(), s.h(), s.w(), 2]);
        let outputs = self.record(op, vec![logits, labels], &[Shape::SCALAR, saved])?;
        self.exact(outputs[1]);
        Ok(self.exact(outputs[0]))
    }
}

impl CrossEntropy {
    /// Which class a label names, if any.
    fn class<T: Real>(&self, label: T) -> Option<usize> {
        let label = label.f64();
        (label >= 0.0 && label < self.classes as f64 && label.fract() == 0.0).then_some(label as usize)
    }

    /// What every class gets of a label, and what its own gets beside.
    fn shares(&self) -> (f64, f64) {
        (self.smoothing / self.classes as f64, 1.0 - self.smoothing)
    }

    /// Rows that one thread works on at least.
    fn block(&self) -> usize {
        BLOCK.div_ceil(self.classes)
    }

    /// The loss of a row; its largest logit, and 1 / sum exp(x - largest).
    fn row<T: Real>(&self, x: &[T], label: T) -> (f64, [f64; 2]) {
        let most = x.iter().fold(T::NEG_INFINITY, |most, x| x.maximum(most)).f64();
        let sum: f64 = x.iter().map(|x| (x.f64() - most).exp()).sum();
        let (share, own) = self.shares();
        let loss = |class: usize| {
            // Without smoothing a class of probability 0 costs nothing, whatever its logit.
            let all = if share > 0.0 { share * x.iter().map(|x| x.f64() - most).sum::<f64>() } else { 0.0 };
            sum.ln() - own * (x[class].f64() - most) - all
        };
        (self.class(label).map_or(f64::NAN, loss), [most, 1.0 / sum])
    }
}

impl Operation for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let (logits, labels, saved) = (b.input(0), b.input(1), b.output(1));
        let shape = b.tape.shape(logits);
        let op = CrossEntropyBwd { forward: self.clone() };
        Ok(vec![Some(b.tape.record1(op, vec![dy, logits, labels, saved], shape)?), None])
    }

    /// A loss for each row.
    fn scratch<T: Real>(&self, _: usize) -> usize {
        self.rows
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([logits, labels, ..], [mean, saved, ..]) = (a.inputs, a.outputs);
        let losses = &mut a.scratch[..self.rows];
        let rows = logits.par_chunks_exact(self.classes).zip(labels).with_min_len(self.block());
        losses.par_iter_mut().zip(saved.par_chunks_exact_mut(2)).zip(rows).for_each(|((loss, saved), (x, label))| {
            let (value, [most, inverse]) = self.row(x, *label);
            *loss = T::of(value);
            saved.copy_from_slice(&[T::of(most), T::of(inverse)]);
        });
        mean[0] = T::of(losses.iter().map(|l| l.f64()).sum::<f64>() / self.rows as f64);
    }
}

impl Operation for CrossEntropyBwd {
    const NAME: &'static str = "cross_entropy_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, logits, labels, saved, ..], [dx, ..]) = (a.inputs, a.outputs);
        let f = &self.forward;
        let (share, own) = f.shares();
        let scale = dy[0].f64() / f.rows as f64;
        let rows = logits.par_chunks_exact(f.classes).zip(labels).zip(saved.par_chunks_exact(2));
        let each = dx.par_chunks_exact_mut(f.classes).zip(rows).with_min_len(f.block());
        each.for_each(|(dx, ((x, label), saved))| {
            let (most, inverse) = (saved[0].f64(), saved[1].f64());
            let probability = |x: T| (x.f64() - most).exp() * inverse;
            // NaN as the loss, where there is no class.
            let (class, scale) = f.class(*label).map_or((0, f64::NAN), |class| (class, scale));
            dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = T::of(scale * (probability(*x) - share)));
            dx[class] = T::of(scale * (probability(x[class]) - share - own));
        });
    }
}
