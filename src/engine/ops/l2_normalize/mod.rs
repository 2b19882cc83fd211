//! Channel normalisation: every position's vector to length 1, as PyTorch's `F.normalize(x, dim=1)` (eps 1e-12).

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::vector::dot;
use crate::engine::toolkit::onnx::Composer;
use rayon::prelude::*;

const EPS: f64 = 1e-12;
/// Rows one thread works on at a time.
const BLOCK: usize = 64;

/// y = x / max(|x|, eps) over c. Outputs: y and the inverse lengths (n, h, w, 1).
#[derive(Clone, Debug)]
pub struct L2Normalize {
    pub c: usize,
}

/// dx = inverse * (dy - y (y . dy)). Inputs: dy, y, inverse.
#[derive(Clone, Debug)]
pub struct L2NormalizeBwd {
    pub c: usize,
}

impl Tape {
    /// Divides every channel vector of `x` (n, h, w, c) by its length.
    pub fn l2_normalize(&mut self, x: Var) -> Result<Var> {
        let s = self.shape(x);
        let lengths = Shape([s.n(), s.h(), s.w(), 1]);
        let outputs = self.record(L2Normalize { c: s.c() }, vec![x], &[s, lengths])?;
        self.exact(outputs[1]);
        Ok(outputs[0])
    }
}

impl Operation for L2Normalize {
    const NAME: &'static str = "l2_normalize";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let shape = b.tape.shape(b.input(0));
        let op = L2NormalizeBwd { c: self.c };
        Ok(vec![Some(b.tape.record1(op, vec![dy, b.output(0), b.output(1)], shape)?)])
    }

    /// Without the inverse lengths, which only its gradient reads.
    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let x = c.input(0);
        let length = c.length(&x, EPS);
        let y = c.node("Div", &[&x, &length], &[]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, inverse, ..]) = (a.inputs, a.outputs);
        let block = BLOCK * self.c;
        y.par_chunks_mut(block).zip(x.par_chunks(block)).zip(inverse.par_chunks_mut(BLOCK)).for_each(
            |((y, x), inv)| {
                for ((y, x), inv) in y.chunks_exact_mut(self.c).zip(x.chunks_exact(self.c)).zip(inv) {
                    *inv = T::ONE / wide!(FUSED => dot::<T, FUSED>(x, x)).sqrt().maximum(T::of(EPS));
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = *x * *inv);
                }
            },
        );
    }
}

impl Operation for L2NormalizeBwd {
    const NAME: &'static str = "l2_normalize_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, y, inverse, ..], [dx, ..]) = (a.inputs, a.outputs);
        let c = self.c;
        dx.par_chunks_mut(c).with_min_len(BLOCK).enumerate().for_each(|(i, dx)| {
            let (dy, y, inv) = (&dy[i * c..][..c], &y[i * c..][..c], inverse[i]);
            // Where the length was clamped to eps, y is a constant times x and the projection vanishes.
            let along = if inv < T::of(1.0 / EPS) { wide!(FUSED => dot::<T, FUSED>(y, dy)) } else { T::ZERO };
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = inv * (*dy - *y * along);
            }
        });
    }
}
