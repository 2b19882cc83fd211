//! Batch norm by running statistics, and their update, on the CPU.

use super::{BatchNorm, RunningStats};
use crate::engine::ops::Args;
use crate::engine::ops::instance_norm::cpu::normalise;
use crate::engine::real::Real;

pub fn forward<T: Real>(op: &BatchNorm, a: Args<'_, T>) {
    let ([x, mean, var, gamma, beta, rest @ ..], [y, ..]) = (a.inputs, a.outputs);
    let residual = if op.residual { rest.into_iter().next() } else { None };
    let scale = &mut a.scratch[..op.c];
    for (scale, (gamma, var)) in scale.iter_mut().zip(gamma.iter().zip(var)) {
        *scale = T::of(gamma.f64() / (var.f64() + op.eps).sqrt());
    }
    normalise(y, x, residual, [mean, scale, beta], op.act);
}

pub fn update<T: Real>(op: &RunningStats, a: Args<'_, T>) {
    let ([mean, rstd, ..], [params, ..]) = (a.inputs, a.outputs);
    let without_bias = op.count as f64 / (op.count - 1) as f64;
    let mut step = |at: usize, batch: f64| {
        let now = params[at].f64();
        params[at] = T::of(now + op.momentum * (batch - now));
    };
    for i in 0..op.c {
        step(op.mean_at + i, mean[i].f64());
        step(op.var_at + i, (rstd[i].f64().powi(-2) - op.eps) * without_bias);
    }
}
