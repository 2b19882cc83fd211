//! Batch norm by running statistics, and their update, on the CPU.

use super::{BatchNorm, RunningStats};
use crate::engine::ops::Args;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;

/// Positions a thread takes at once.
const BLOCK: usize = 32;

pub fn normalise<T: Real>(op: &BatchNorm, a: Args<'_, T>) {
    let c = op.c;
    let [x, mean, var, gamma, beta, rest @ ..] = a.inputs;
    let residual = if op.residual { rest.into_iter().next() } else { None };
    let (scale, shift) = a.scratch[..2 * c].split_at_mut(c);
    for i in 0..c {
        let by = gamma[i].f64() / (var[i].f64() + op.eps).sqrt();
        scale[i] = T::of(by);
        shift[i] = T::of(beta[i].f64() - mean[i].f64() * by);
    }
    let (scale, shift) = (&*scale, &*shift);
    let [y, ..] = a.outputs;
    y.par_chunks_mut(BLOCK * c).enumerate().for_each(|(b, y)| {
        let at = b * BLOCK * c..b * BLOCK * c + y.len();
        let (x, residual, act) = (&x[at.clone()], residual.map(|r| &r[at]), op.act);
        wide!({
            for (row, (y, x)) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)).enumerate() {
                for i in 0..c {
                    y[i] = x[i] * scale[i] + shift[i];
                }
                if let Some(r) = residual {
                    y.iter_mut().zip(&r[row * c..]).for_each(|(y, r)| *y += *r);
                }
                y.iter_mut().for_each(|y| *y = act.apply(*y));
            }
        });
    });
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
