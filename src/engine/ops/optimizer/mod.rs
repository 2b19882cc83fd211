//! Optimizers, weight decay and the gradient-norm clip: each one pass over all parameters of a network, which lie in one piece.

pub mod cases;
pub(crate) mod cuda;
mod decay;
mod schedule;
mod sgd;

use super::activation::CHUNK;
use super::{Args, Backward, Gradients, Operation};
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Tape, Var, Whole};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::vector::dot;
use crate::{Result, invalid};
use rayon::prelude::*;
use std::ops::Range;

pub use decay::{Decay, WeightDecay};
pub use schedule::LrSchedule;
pub use sgd::Sgd;

/// One Adam step with bias correction, as `torch.optim.Adam`; its weight decay is [`Tape::weight_decay`].
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub net: NetId,
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub schedule: LrSchedule,
}

/// Refuses what there is no optimizer for.
pub fn expect_trainable(dtype: DType) -> Result<()> {
    if dtype == DType::F16 {
        invalid!(
            "losses are not scaled, so f16 would lose all gradients below 6e-8; train in bf16, tf32 or f32, score in f16"
        );
    }
    Ok(())
}

/// Scales the gradients of a network so that their joint norm is at most `max`, as `torch.nn.utils.clip_grad_norm_`.
/// Output: the norm before.
#[derive(Clone, Copy, Debug)]
pub struct ClipGradNorm {
    pub max: f64,
    /// Elements of all gradients, gaps included.
    pub len: usize,
}

impl Tape {
    /// Updates the parameters of `a.net` from its gradients. In bf16 programs it is f32 parameters that are updated; what
    /// the passes read is a copy of them, rounded at the same time.
    pub fn adam(&mut self, a: Adam) -> Result<()> {
        expect_trainable(self.dtype())?;
        a.schedule.check()?;
        let exact = self.dtype().exact();
        let (grads, params) = (self.whole(a.net, Whole::Grads)?, self.whole(a.net, Whole::Params)?);
        let shape = self.shape(params);
        let [m, v] = ["moment1", "moment2"].map(|name| self.state(a.net, name, shape, exact));
        let mut outputs = vec![params, m?, v?, self.state(a.net, "steps", Shape::SCALAR, exact)?];
        if self.dtype() != exact {
            outputs.push(self.whole(a.net, Whole::Rounded)?);
        }
        self.record_into(a, vec![grads], outputs);
        Ok(())
    }

    /// Clips the gradients of `net`; call it between `backward` and the optimizer. Returns the norm found.
    pub fn clip_grad_norm(&mut self, net: NetId, max: f64) -> Result<Var> {
        let grads = self.whole(net, Whole::Grads)?;
        let norm = self.fresh(Shape::SCALAR, self.dtype().exact());
        self.record_into(ClipGradNorm { max, len: self.shape(grads).len() }, vec![], vec![norm, grads]);
        Ok(norm)
    }
}

impl Operation for Adam {
    const NAME: &'static str = "adam";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// Parameters, both moments, the number of steps done.
    fn updates(&self) -> Range<usize> {
        0..4
    }

    /// Inputs: gradients. Outputs: what it updates; in bf16 programs, the rounded parameters.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([grads, ..], [params, m, v, steps, ..]) = (a.inputs, a.outputs);
        let lr = self.lr * self.schedule.factor(steps[0].f64());
        steps[0] += T::ONE;
        let t = steps[0].f64();
        let (b1, b2) = self.betas;
        let step = T::of(lr / (1.0 - b1.powf(t)));
        let root = T::of(1.0 / (1.0 - b2.powf(t)).sqrt());
        let eps = T::of(self.eps);
        let [b1, c1, b2, c2] = [b1, 1.0 - b1, b2, 1.0 - b2].map(T::of);
        params
            .par_chunks_mut(CHUNK)
            .zip(m.par_chunks_mut(CHUNK))
            .zip(v.par_chunks_mut(CHUNK))
            .zip(grads.par_chunks(CHUNK))
            .for_each(|(((p, m), v), g)| {
                for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = b1 * *m + c1 * *g;
                    *v = b2 * *v + c2 * *g * *g;
                    *p -= step * *m / (v.sqrt() * root + eps);
                }
            });
    }
}

impl Operation for ClipGradNorm {
    const NAME: &'static str = "clip_grad_norm";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// The gradients.
    fn updates(&self) -> Range<usize> {
        1..2
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        self.len.div_ceil(CHUNK)
    }

    /// Outputs: the norm, the gradients.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [norm, grads, ..] = a.outputs;
        let partial = &mut a.scratch[..self.len.div_ceil(CHUNK)];
        partial
            .par_iter_mut()
            .zip(grads.par_chunks(CHUNK))
            .for_each(|(p, g)| *p = wide!(FUSED => dot::<T, FUSED>(g, g)));
        let total = partial.iter().map(|p| p.f64()).sum::<f64>().sqrt();
        norm[0] = T::of(total);
        let scale = self.max / (total + 1e-6);
        // A NaN norm reaches the parameters, where the loss shows it.
        if scale < 1.0 || scale.is_nan() {
            let scale = T::of(scale);
            grads.par_chunks_mut(CHUNK).for_each(|g| g.iter_mut().for_each(|g| *g *= scale));
        }
    }
}
