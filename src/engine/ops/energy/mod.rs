//! The terms of the energy losses over a range of the batch: mean |E|, which is low for what is real, and
//! mean max(0, margin - |E|), which pushes energies of generated or anomalous features up to the margin.

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
    /// Mean energy term over the images `images` of `e` (n, h, w, 1).
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
        let value = |e: &T| match self.term {
            Term::Low => e.f64().abs(),
            // NaN must not be clamped away.
            Term::High { margin } => {
                let d = margin - e.f64().abs();
                if d < 0.0 { 0.0 } else { d }
            }
        };
        y[0] = T::of(e[self.range.clone()].iter().map(value).sum::<f64>() / self.range.len() as f64);
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
            let sign = if *e > T::ZERO {
                scale
            } else if *e < T::ZERO {
                -scale
            } else {
                T::ZERO
            };
            *de = match self.forward.term {
                Term::Low => sign,
                Term::High { margin } if e.abs() <= T::of(margin) => -sign,
                Term::High { .. } => T::ZERO,
            };
        }
    }
}
