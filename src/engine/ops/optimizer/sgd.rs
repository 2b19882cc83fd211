//! Gradient descent with momentum.

use super::{LrSchedule, expect_trainable};
use crate::Result;
use crate::engine::ops::activation::CHUNK;
use crate::engine::ops::{Args, Backward, Gradients, Operation};
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Tape, Whole};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;
use std::ops::Range;

/// One step as `torch.optim.SGD` without dampening.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    pub net: NetId,
    pub lr: f64,
    pub momentum: f64,
    pub nesterov: bool,
    pub schedule: LrSchedule,
}

impl Tape {
    /// Updates the parameters of `s.net` from its gradients, as [`Tape::adam`] does.
    pub fn sgd(&mut self, s: Sgd) -> Result<()> {
        expect_trainable(self.dtype())?;
        s.schedule.check()?;
        let exact = self.dtype().exact();
        let (grads, params) = (self.whole(s.net, Whole::Grads)?, self.whole(s.net, Whole::Params)?);
        let shape = self.shape(params);
        let momentum = self.state(s.net, "momentum", shape, exact)?;
        let mut outputs = vec![params, momentum, self.state(s.net, "steps", Shape::SCALAR, exact)?];
        if self.dtype() != exact {
            outputs.push(self.whole(s.net, Whole::Rounded)?);
        }
        self.record_into(s, vec![grads], outputs);
        Ok(())
    }
}

impl Operation for Sgd {
    const NAME: &'static str = "sgd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// Parameters, momentum, the number of steps done.
    fn updates(&self) -> Range<usize> {
        0..3
    }

    /// Inputs: gradients. Outputs: what it updates; in bf16 programs, the rounded parameters.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([grads, ..], [params, momentum, steps, ..]) = (a.inputs, a.outputs);
        let lr = T::of(self.lr * self.schedule.factor(steps[0].f64()));
        steps[0] += T::ONE;
        let kept = T::of(self.momentum);
        // How much of the gradient and of the momentum after this step a parameter moves by.
        let (of_gradient, of_momentum) = if self.nesterov { (T::ONE, kept) } else { (T::ZERO, T::ONE) };
        let chunks = params.par_chunks_mut(CHUNK).zip(momentum.par_chunks_mut(CHUNK)).zip(grads.par_chunks(CHUNK));
        chunks.for_each(|((p, m), g)| {
            wide!({
                for ((p, m), g) in p.iter_mut().zip(&mut *m).zip(g) {
                    *m = kept * *m + *g;
                    *p -= lr * (of_gradient * *g + of_momentum * *m);
                }
            })
        });
    }
}
