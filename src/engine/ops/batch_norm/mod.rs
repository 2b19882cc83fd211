//! Batch normalisation as PyTorch's `BatchNorm2d` (eps inside the root).
//!
//! In training, every channel has mean 0 and variance 1 over all pictures and positions of the batch: that is an instance norm
//! of the batch seen as one picture, and recorded as such. [`RunningStats`] keeps what scoring takes in place of a batch's own
//! statistics, which [`BatchNorm`] does.

pub mod cases;
mod cpu;
pub(crate) mod cuda;

use super::instance_norm::Options;
use super::{Activation, Args, Backward, Gradients, Operation};
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Tape, Var, Whole};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer};
use crate::{Result, invalid};
use std::ops::Range;

/// Normalisation by given statistics: `y = act(gamma * (x - mean) / sqrt(var + eps) + beta + residual)`.
/// Inputs: x (n, h, w, c), mean, var, gamma, beta (c), then the residual if present. Has no gradient.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub c: usize,
    pub eps: f64,
    pub residual: bool,
    pub act: Activation,
}

/// Moves running statistics towards those of a batch: `r += momentum * (s - r)`, where s is the batch's mean, or its variance
/// without bias. Inputs: mean and 1 / sqrt(var + eps) of the batch. Output: all parameters of the network, updated.
#[derive(Clone, Debug)]
pub struct RunningStats {
    pub c: usize,
    /// Values of a channel in the batch.
    pub count: usize,
    pub eps: f64,
    pub momentum: f64,
    /// Where the running mean and variance begin in the network.
    pub mean_at: usize,
    pub var_at: usize,
}

/// What a batch norm in training is to be followed by, once all layers of its network are recorded: running statistics are
/// parameters of the network, and an update takes them all.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Names of the running mean and variance in the network.
    pub running: [String; 2],
    pub mean: Var,
    pub rstd: Var,
    pub count: usize,
    pub eps: f64,
}

impl Tape {
    /// Normalisation of `x` (n, h, w, c) by the batch's own statistics; returns the result, and mean and 1 / sqrt(var + eps) of
    /// the batch, (1, 1, 1, c) each.
    pub fn batch_norm(&mut self, x: Var, eps: f64, o: Options) -> Result<(Var, [Var; 2])> {
        let s = self.shape(x);
        let as_one = Shape([1, s.n() * s.h(), s.w(), s.c()]);
        let flat = self.view(x, as_one)?;
        let residual = o.residual.map(|r| self.view(r, as_one)).transpose()?;
        let [y, mean, rstd] = self.instance_norm_with_stats(flat, eps, Options { residual, ..o })?;
        Ok((self.view(y, s)?, [mean, rstd]))
    }

    /// Updates the running statistics of `net` with those of a batch, as PyTorch with this momentum.
    pub fn running_stats(&mut self, net: NetId, batch: &BatchStatistics, momentum: f64) -> Result<()> {
        let c = self.shape(batch.mean).c();
        if batch.count < 2 {
            let what = "a batch norm needs more than one value a channel to train on, found 1";
            return Err(self.shape_error(RunningStats::NAME, what.into()));
        }
        let params = self.whole(net, Whole::Params)?;
        let place = |name: &String| match self.parameters(net).find(name) {
            Some(p) if p.range.len() == c => Ok(p.range.start),
            Some(p) => invalid!("running statistics {name} of {} values, expected {c}", p.range.len()),
            None => invalid!("{} has no {name} to keep running statistics in", self.parameters(net).network),
        };
        let [mean_at, var_at] = [place(&batch.running[0])?, place(&batch.running[1])?];
        let op = RunningStats { c, count: batch.count, eps: batch.eps, momentum, mean_at, var_at };
        self.record_into(op, vec![batch.mean, batch.rstd], vec![params]);
        Ok(())
    }

    /// Normalisation of `x` (n, h, w, c) by running statistics [mean, variance], each (c), as in scoring. Has to be affine.
    pub fn batch_norm_by(&mut self, x: Var, running: [Var; 2], eps: f64, o: Options) -> Result<Var> {
        if o.affine.is_none() {
            return Err(self.shape_error(BatchNorm::NAME, "has neither scale nor shift".into()));
        }
        let s = self.shape(x);
        let inputs = self.norm_inputs(BatchNorm::NAME, x, &running, &o)?;
        self.record1(BatchNorm { c: s.c(), eps, residual: o.residual.is_some(), act: o.act }, inputs, s)
    }
}

impl Operation for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        self.c
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let [mean, var, gamma, beta] = [1, 2, 3, 4].map(|i| c.vector(i));
        let (x, eps) = (c.input(0), ("epsilon", Attr::F(self.eps)));
        let y = c.node("BatchNormalization", &[&x, &gamma, &beta, &mean, &var], &[eps]);
        let y = c.finish_with(y, self.residual.then_some(5), self.act.negative_slope());
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::forward(self, a)
    }
}

impl Operation for RunningStats {
    const NAME: &'static str = "running_stats";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// The network's parameters.
    fn updates(&self) -> Range<usize> {
        0..1
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::update(self, a)
    }
}
