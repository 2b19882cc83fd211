//! Instance normalisation: every channel of every sample to mean 0 and variance 1 over its positions, as PyTorch's
//! `InstanceNorm2d` (eps inside the root, biased variance), then scale and shift, residual and activation:
//! `y = act(gamma * (x - mean) * rstd + beta + residual)`.

pub mod cases;
pub(super) mod cpu;
mod cuda;

use super::{Activation, Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer};

/// Inputs: x, then gamma and beta if affine, then the residual if present. Outputs: y, mean, rstd (n, 1, 1, c).
#[derive(Clone, Debug)]
pub struct InstanceNorm {
    pub n: usize,
    /// Positions that a mean is taken over (h * w).
    pub rows: usize,
    pub c: usize,
    pub eps: f64,
    pub affine: bool,
    pub residual: bool,
    pub act: Activation,
}

/// Inputs: dy, x, y, mean, rstd, gamma if affine. Outputs: dx, then dgamma and dbeta if affine.
///
/// The gradient of a residual is `dy * act'(y)` itself; where there is one it is computed before, and `forward.act` is `None`.
#[derive(Clone, Debug)]
pub struct InstanceNormBwd {
    pub forward: InstanceNorm,
}

/// What is fused behind the normalisation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Scale and shift, each of shape (c).
    pub affine: Option<(Var, Var)>,
    pub residual: Option<Var>,
    pub act: Activation,
}

impl Tape {
    /// Instance normalisation of `x` (n, h, w, c), eps 1e-5 unless told otherwise.
    pub fn instance_norm(&mut self, x: Var, eps: f64, o: Options) -> Result<Var> {
        Ok(self.instance_norm_with_stats(x, eps, o)?[0])
    }

    /// The same; also returns mean and 1 / sqrt(var + eps), (n, 1, 1, c) each.
    pub fn instance_norm_with_stats(&mut self, x: Var, eps: f64, o: Options) -> Result<[Var; 3]> {
        let s = self.shape(x);
        let inputs = self.norm_inputs(InstanceNorm::NAME, x, &[], &o)?;
        let op = InstanceNorm {
            n: s.n(),
            rows: s.h() * s.w(),
            c: s.c(),
            eps,
            affine: o.affine.is_some(),
            residual: o.residual.is_some(),
            act: o.act,
        };
        let stats = Shape([s.n(), 1, 1, s.c()]);
        let outputs = self.record(op, inputs, &[s, stats, stats])?;
        Ok([outputs[0], self.exact(outputs[1]), self.exact(outputs[2])])
    }

    /// The inputs of the norm `op`: x, statistics that it is given, scale and shift, the residual. All but x and the residual are
    /// of one value a channel.
    pub(super) fn norm_inputs(&self, op: &str, x: Var, statistics: &[Var], o: &Options) -> Result<Vec<Var>> {
        let s = self.shape(x);
        let affine = o.affine.map(|(gamma, beta)| [gamma, beta]);
        let mut inputs = vec![x];
        for v in statistics.iter().chain(affine.iter().flatten()) {
            if self.shape(*v) != Shape::vector(s.c()) {
                let what = format!("statistics, scale and shift must have {} values, found {}", s.c(), self.shape(*v));
                return Err(self.shape_error(op, what));
            }
            inputs.push(*v);
        }
        if let Some(r) = o.residual {
            if self.shape(r) != s {
                let what = format!("residual of shape {}, expected {s}", self.shape(r));
                return Err(self.shape_error(op, what));
            }
            inputs.push(r);
        }
        Ok(inputs)
    }
}

impl Operation for InstanceNorm {
    const NAME: &'static str = "instance_norm";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let x = b.input(0);
        let mut forward = self.clone();
        let mut dz = dy;
        if self.residual {
            dz = b.tape.activate_bwd(b.output(0), dy, self.act)?;
            forward.act = Activation::None;
        }
        let mut inputs = vec![dz, x, b.output(0), b.output(1), b.output(2)];
        let mut outputs = vec![b.tape.shape(x)];
        if self.affine {
            inputs.push(b.input(1));
            outputs.extend([Shape::vector(self.c); 2]);
        }
        let mut grads = b.tape.record(InstanceNormBwd { forward }, inputs, &outputs)?;
        grads[1..].iter_mut().for_each(|g| *g = b.tape.exact(*g));
        Ok(grads.into_iter().map(Some).chain(self.residual.then_some(Some(dz))).collect())
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        cpu::scratch(self)
    }

    /// Without the statistics, which only gradients read.
    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let [gamma, beta] = match self.affine {
            true => [c.vector(1), c.vector(2)],
            false => [1.0, 0.0].map(|x| c.floats(&[self.c], vec![x; self.c])),
        };
        let x = c.input(0);
        let y = c.node("InstanceNormalization", &[&x, &gamma, &beta], &[("epsilon", Attr::F(self.eps))]);
        let residual = self.residual.then_some(if self.affine { 3 } else { 1 });
        let y = c.finish_with(y, residual, self.act.negative_slope());
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::forward(self, a)
    }
}

impl Operation for InstanceNormBwd {
    const NAME: &'static str = "instance_norm_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        cpu::scratch(&self.forward)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::backward(&self.forward, a)
    }
}
