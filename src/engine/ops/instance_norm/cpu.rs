//! Instance norm on the CPU: two passes over blocks of rows that stay in cache, block statistics merged in f64.
//!
//! The blocks do not depend on the number of threads, so neither do the bits of the result.

use super::InstanceNorm;
use crate::engine::ops::{Activation, Args};
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;

/// Rows a block holds.
const BLOCK: usize = 32;

fn blocks(op: &InstanceNorm) -> usize {
    op.rows.div_ceil(BLOCK)
}

/// Two sums per block and channel, then two per image and channel.
pub fn scratch(op: &InstanceNorm) -> usize {
    op.n * (blocks(op) + 1) * 2 * op.c
}

/// Calls the generic kernel with the activation as a constant, so that the inner loops hold no branch on its kind.
macro_rules! with_activation {
    ($act:expr, $a:ident => $body:expr) => {
        match $act {
            Activation::None => {
                let $a = Activation::None;
                $body
            }
            Activation::Relu => {
                let $a = Activation::Relu;
                $body
            }
            Activation::LeakyRelu(s) => {
                let $a = Activation::LeakyRelu(s);
                $body
            }
        }
    };
}

pub fn forward<T: Real>(op: &InstanceNorm, a: Args<'_, T>) {
    let (c, image, block) = (op.c, op.rows * op.c, BLOCK * op.c);
    let [x, rest @ ..] = a.inputs;
    let mut rest = rest.into_iter();
    let mut next = |present: bool| if present { rest.next() } else { None };
    let (gamma, beta, residual) = (next(op.affine), next(op.affine), next(op.residual));
    let [y, mean, rstd, ..] = a.outputs;
    let partial = blocks(op) * 2 * c;
    y.par_chunks_mut(image)
        .zip(x.par_chunks(image))
        .zip(mean.par_chunks_mut(c).zip(rstd.par_chunks_mut(c)))
        .zip(a.scratch.par_chunks_mut(partial + 2 * c))
        .enumerate()
        .for_each(|(n, (((y, x), (mean, rstd)), scratch))| {
            let (partial, affine) = scratch.split_at_mut(partial);
            partial
                .par_chunks_mut(2 * c)
                .zip(x.par_chunks(block))
                .for_each(|(p, x)| wide!(FUSED => block_moments::<T, FUSED>(p, x, c)));
            wide!(merge_moments(op, partial, mean, rstd));
            // y = scale * x + shift
            let (scale, shift) = affine.split_at_mut(c);
            for i in 0..c {
                scale[i] = gamma.map_or(rstd[i], |g| g[i] * rstd[i]);
                shift[i] = beta.map_or(T::ZERO, |b| b[i]);
            }
            let residual = residual.map(|r| &r[n * image..][..image]);
            normalise(y, x, residual, [mean, scale, shift], op.act);
        });
}

/// `y = act((x - mean) * scale + shift + residual)`, row by row of as many channels as there are means.
pub fn normalise<T: Real>(y: &mut [T], x: &[T], residual: Option<&[T]>, per_channel: [&[T]; 3], act: Activation) {
    let [mean, scale, shift] = per_channel;
    let block = BLOCK * mean.len();
    y.par_chunks_mut(block).enumerate().for_each(|(b, y)| {
        let x = &x[b * block..][..y.len()];
        let residual = residual.map(|r| &r[b * block..][..y.len()]);
        // Told apart inside, where the compiler then knows which one it is.
        wide!(FUSED => with_activation!(act, act => apply::<T, FUSED>(y, x, residual, mean, scale, shift, act)))
    });
}

/// Mean and sum of squared deviations of each channel over one block.
#[inline(always)]
fn block_moments<T: Real, const FUSED: bool>(p: &mut [T], x: &[T], c: usize) {
    let (mean, m2) = p.split_at_mut(c);
    mean.fill(T::ZERO);
    m2.fill(T::ZERO);
    for row in x.chunks_exact(c) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += *x);
    }
    let inverse = T::of(c as f64 / x.len() as f64);
    mean.iter_mut().for_each(|m| *m *= inverse);
    for row in x.chunks_exact(c) {
        for ((m2, m), x) in m2.iter_mut().zip(mean.iter()).zip(row) {
            let d = *x - *m;
            *m2 = d.mul_add::<FUSED>(d, *m2);
        }
    }
}

/// Statistics of an image from those of its blocks (Chan et al.), in f64.
#[inline(always)]
fn merge_moments<T: Real>(op: &InstanceNorm, partial: &[T], mean: &mut [T], rstd: &mut [T]) {
    /// Channels whose sums are kept in registers.
    const LANES: usize = 32;
    let (c, rows) = (op.c, op.rows);
    for (group, (mean, rstd)) in mean.chunks_mut(LANES).zip(rstd.chunks_mut(LANES)).enumerate() {
        let (at, lanes) = (group * LANES, mean.len());
        let mut sum = [0.0; LANES];
        for (b, p) in partial.chunks_exact(2 * c).enumerate() {
            let count = BLOCK.min(rows - b * BLOCK) as f64;
            for (sum, p) in sum.iter_mut().zip(&p[at..at + lanes]) {
                *sum += count * p.f64();
            }
        }
        let mut m2 = [0.0; LANES];
        for (b, p) in partial.chunks_exact(2 * c).enumerate() {
            let count = BLOCK.min(rows - b * BLOCK) as f64;
            for (i, m2) in m2[..lanes].iter_mut().enumerate() {
                let d = p[at + i].f64() - sum[i] / rows as f64;
                *m2 += p[c + at + i].f64() + count * d * d;
            }
        }
        for i in 0..lanes {
            mean[i] = T::of(sum[i] / rows as f64);
            rstd[i] = T::of(1.0 / (m2[i] / rows as f64 + op.eps).sqrt());
        }
    }
}

#[inline(always)]
fn apply<T: Real, const FUSED: bool>(
    y: &mut [T],
    x: &[T],
    residual: Option<&[T]>,
    mean: &[T],
    scale: &[T],
    shift: &[T],
    act: Activation,
) {
    let c = mean.len();
    let (scale, shift) = (&scale[..c], &shift[..c]);
    match residual {
        None => {
            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for i in 0..c {
                    y[i] = act.apply((x[i] - mean[i]).mul_add::<FUSED>(scale[i], shift[i]));
                }
            }
        }
        Some(r) => {
            for ((y, x), r) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(r.chunks_exact(c)) {
                for i in 0..c {
                    y[i] = act.apply((x[i] - mean[i]).mul_add::<FUSED>(scale[i], shift[i]) + r[i]);
                }
            }
        }
    }
}

/// With dz = dy * act'(y) and xhat = (x - mean) * rstd:
/// dx = gamma * rstd * (dz - mean(dz) - xhat * mean(dz * xhat)), dgamma = sum dz * xhat, dbeta = sum dz.
pub fn backward<T: Real>(op: &InstanceNorm, a: Args<'_, T>) {
    let (c, image, block) = (op.c, op.rows * op.c, BLOCK * op.c);
    let [dy, x, y, mean, rstd, gamma, ..] = a.inputs;
    let [dx, dgamma, dbeta, ..] = a.outputs;
    let partial = blocks(op) * 2 * c;
    let scratch = &mut a.scratch[..op.n * (partial + 2 * c)];
    dx.par_chunks_mut(image).zip(scratch.par_chunks_mut(partial + 2 * c)).enumerate().for_each(|(n, (dx, scratch))| {
        let image = n * image..(n + 1) * image;
        let (dy, x, y) = (&dy[image.clone()], &x[image.clone()], &y[image]);
        let (mean, rstd) = (&mean[n * c..][..c], &rstd[n * c..][..c]);
        let (partial, sums) = scratch.split_at_mut(partial);
        with_activation!(op.act, act => {
            partial.par_chunks_mut(2 * c).enumerate().for_each(|(b, p)| {
                let at = b * block..((b + 1) * block).min(x.len());
                let (dy, x, y) = (&dy[at.clone()], &x[at.clone()], &y[at]);
                wide!(FUSED => block_sums::<T, FUSED>(p, dy, x, y, mean, rstd, act))
            });
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = T::of(partial.chunks_exact(2 * c).map(|p| p[i].f64()).sum());
            }
            let (s1, s2) = sums.split_at(c);
            dx.par_chunks_mut(block).enumerate().for_each(|(b, dx)| {
                let at = b * block..b * block + dx.len();
                let given = [&dy[at.clone()], &x[at.clone()], &y[at]];
                wide!(block_dx(dx, given, [mean, rstd, s1, s2], gamma, op.rows, act))
            });
        });
    });
    for i in 0..dgamma.len() {
        let sum = |at: usize| T::of(scratch.chunks_exact(partial + 2 * c).map(|s| s[partial + at].f64()).sum());
        dbeta[i] = sum(i);
        dgamma[i] = sum(c + i);
    }
}

/// Sums of dz and of dz * xhat over one block.
#[inline(always)]
fn block_sums<T: Real, const FUSED: bool>(
    p: &mut [T],
    dy: &[T],
    x: &[T],
    y: &[T],
    mean: &[T],
    rstd: &[T],
    act: Activation,
) {
    let c = mean.len();
    let rstd = &rstd[..c];
    let (s1, s2) = p.split_at_mut(c);
    s1.fill(T::ZERO);
    s2.fill(T::ZERO);
    for ((dy, x), y) in dy.chunks_exact(c).zip(x.chunks_exact(c)).zip(y.chunks_exact(c)) {
        for i in 0..c {
            let dz = dy[i] * act.slope_at(y[i]);
            s1[i] += dz;
            s2[i] = ((x[i] - mean[i]) * rstd[i]).mul_add::<FUSED>(dz, s2[i]);
        }
    }
}

#[inline(always)]
fn block_dx<T: Real>(dx: &mut [T], [dy, x, y]: [&[T]; 3], stats: [&[T]; 4], gamma: &[T], rows: usize, act: Activation) {
    let c = stats[0].len();
    let [mean, rstd, s1, s2] = stats.map(|s| &s[..c]);
    let inverse = T::of(1.0 / rows as f64);
    let row = |dx: &mut [T], dy: &[T], x: &[T], y: &[T], gamma: &[T]| {
        for i in 0..c {
            let dz = dy[i] * act.slope_at(y[i]);
            let xhat = (x[i] - mean[i]) * rstd[i];
            let g = if gamma.is_empty() { rstd[i] } else { gamma[i] * rstd[i] };
            dx[i] = g * (dz - s1[i] * inverse - xhat * s2[i] * inverse);
        }
    };
    let rows = dx.chunks_exact_mut(c).zip(dy.chunks_exact(c)).zip(x.chunks_exact(c)).zip(y.chunks_exact(c));
    for (((dx, dy), x), y) in rows {
        // One call each, so that the inner loop has no branch.
        if gamma.is_empty() { row(dx, dy, x, y, &[]) } else { row(dx, dy, x, y, &gamma[..c]) }
    }
}
