//! The terms of a discriminator's losses over a range of the batch. Its outputs E are energies: mean |E|, which is low for
//! what is real, and mean max(0, margin - |E|), which pushes those of generated or anomalous features up to the margin. Or
//! they are logits: the binary cross-entropy with "real" or "generated", as PyTorch's `binary_cross_entropy_with_logits`.

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// mean |E|
    Low,
    /// mean max(0, margin - |E|)
    High { margin: f64 },
    /// mean ln(1 + exp(-E)): the cross-entropy with 1
    Real,
    /// mean ln(1 + exp(E)): the cross-entropy with 0
    Generated,
}

impl Term {
    /// Its value for one output. NaN stays NaN.
    fn value(self, e: f64) -> f64 {
        match self {
            Term::Low => e.abs(),
            Term::High { margin } => {
                let d = margin - e.abs();
                if d < 0.0 { 0.0 } else { d }
            }
            Term::Real => softplus(-e),
            Term::Generated => softplus(e),
        }
    }

    /// The slope of the value.
    fn slope(self, e: f64) -> f64 {
        match self {
            Term::Low => sign(e),
            Term::High { margin } if e.abs() <= margin => -sign(e),
            Term::High { .. } => 0.0,
            Term::Real => -sigmoid(-e),
            Term::Generated => sigmoid(e),
        }
    }
}

/// ln(1 + exp(x)), without overflow.
fn softplus(x: f64) -> f64 {
    let above = if x < 0.0 { 0.0 } else { x };
    above + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// -1, 0 or 1, of NaN 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { 0.0 } else { x.signum() }
}

/// Input: E (n, h, w, 1). Output: a scalar.
#[derive(Clone, Debug)]
pub struct Energy {
    pub term: Term,
    /// Elements of the images the mean is taken over.
    pub range: Range<usize>,
}

/// Inputs: dy, E. Zero outside of the range.
#[derive(Clone, Debug)]
pub struct EnergyBwd {
    pub forward: Energy,
}

impl Tape {
    /// The mean of a term over the images `images` of `e` (n, h, w, 1).
    pub fn energy(&mut self, e: Var, term: Term, images: Range<usize>) -> Result<Var> {
        let s = self.shape(e);
        if images.is_empty() || images.end > s.n() {
            return Err(self.shape_error(Energy::NAME, format!("images {images:?} of a batch of {}", s.n())));
        }
        let each = s.len() / s.n();
        let op = Energy { term, range: images.start * each..images.end * each };
        let y = self.record1(op, vec![e], Shape::SCALAR)?;
        Ok(self.exact(y))
    }
}

impl Operation for Energy {
    const NAME: &'static str = "energy";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let shape = b.tape.shape(b.input(0));
        Ok(vec![Some(b.tape.record1(EnergyBwd { forward: self.clone() }, vec![dy, b.input(0)], shape)?)])
    }

    /// One scalar an image position: a few thousand values, summed in f64 by one thread.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([e, ..], [y, ..]) = (a.inputs, a.outputs);
        let sum: f64 = e[self.range.clone()].iter().map(|e| self.term.value(e.f64())).sum();
        y[0] = T::of(sum / self.range.len() as f64);
    }
}

impl Operation for EnergyBwd {
    const NAME: &'static str = "energy_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, e, ..], [de, ..]) = (a.inputs, a.outputs);
        let range = &self.forward.range;
        let scale = dy[0] * T::of(1.0 / range.len() as f64);
        de.fill(T::ZERO);
        for (de, e) in de[range.clone()].iter_mut().zip(&e[range.clone()]) {
            *de = scale * T::of(self.forward.term.slope(e.f64()));
        }
    }
}
