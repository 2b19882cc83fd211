//! CPU kernels of the upsampling and the blur.

use super::AnomalyMap;
use crate::engine::ops::Args;
use crate::engine::real::Real;
use rayon::prelude::*;

/// Neighbours and weight of output coordinate `o`: value = a + t * (b - a). Computed in f64, exact for every size in use.
fn source(o: usize, from: usize, to: usize) -> (usize, usize, f64) {
    let position = if to > 1 { o as f64 * (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let i = (position as usize).min(from - 1);
    (i, (i + 1).min(from - 1), position - i as f64)
}

pub fn run<T: Real>(op: &AnomalyMap, a: Args<'_, T>) {
    let [y, ..] = a.outputs;
    upsample_sum(op, &a.inputs, y);
    if op.taps.len() > 1 {
        blur(op, y, a.scratch);
    }
}

fn upsample_sum<T: Real>(op: &AnomalyMap, inputs: &[&[T]], y: &mut [T]) {
    let size = op.size;
    y.par_chunks_exact_mut(size).enumerate().for_each(|(line, y)| {
        let (n, oy) = (line / size, line % size);
        y.fill(T::ZERO);
        for (x, &(h, w)) in inputs.iter().zip(&op.from) {
            let (top, bottom, ty) = source(oy, h, size);
            let row = |i: usize| &x[(n * h + i) * w..][..w];
            let (top, bottom, ty) = (row(top), row(bottom), T::of(ty));
            for (ox, y) in y.iter_mut().enumerate() {
                let (l, r, tx) = source(ox, w, size);
                let tx = T::of(tx);
                let upper = top[l] + (top[r] - top[l]) * tx;
                let lower = bottom[l] + (bottom[r] - bottom[l]) * tx;
                *y += upper + (lower - upper) * ty;
            }
        }
    });
}

/// Index of `i`, which may lie outside of 0..n, mirrored about the edges (period 2n).
fn mirror(i: isize, n: usize) -> usize {
    let j = i.rem_euclid(2 * n as isize) as usize;
    if j < n { j } else { 2 * n - 1 - j }
}

/// Lines one thread blurs at a time.
const LINES: usize = 16;

/// The horizontally blurred maps of one image, and a padded line for each group of lines.
pub fn scratch(op: &AnomalyMap, _threads: usize) -> usize {
    match op.taps.len() - 1 {
        0 => 0,
        radius => op.size * op.size + op.size.div_ceil(LINES) * (op.size + 2 * radius),
    }
}

/// In place.
fn blur<T: Real>(op: &AnomalyMap, maps: &mut [T], scratch: &mut [T]) {
    let (size, radius) = (op.size, op.taps.len() - 1);
    let (rows, padded) = scratch.split_at_mut(size * size);
    for map in maps.chunks_exact_mut(size * size) {
        rows.par_chunks_mut(LINES * size)
            .zip(map.par_chunks(LINES * size))
            .zip(padded.par_chunks_mut(size + 2 * radius))
            .for_each(|((out, x), padded)| {
                for (out, x) in out.chunks_exact_mut(size).zip(x.chunks_exact(size)) {
                    for (i, p) in padded.iter_mut().enumerate() {
                        *p = x[mirror(i as isize - radius as isize, size)];
                    }
                    weigh(out, &op.taps, |offset| &padded[(radius as isize + offset) as usize..][..size]);
                }
            });
        let rows = &*rows;
        map.par_chunks_mut(size).with_min_len(LINES).enumerate().for_each(|(i, y)| {
            weigh(y, &op.taps, |offset| &rows[mirror(i as isize + offset, size) * size..][..size]);
        });
    }
}

/// `out[j] = sum over offsets of taps[|offset|] * line(offset)[j]`
#[inline(always)]
fn weigh<'a, T: Real>(out: &mut [T], taps: &[f64], line: impl Fn(isize) -> &'a [T]) {
    let centre = T::of(taps[0]);
    out.iter_mut().zip(line(0)).for_each(|(o, x)| *o = *x * centre);
    for (k, tap) in taps.iter().enumerate().skip(1) {
        let tap = T::of(*tap);
        for ((o, a), b) in out.iter_mut().zip(line(-(k as isize))).zip(line(k as isize)) {
            *o = (*a + *b).mul_add(tap, *o);
        }
    }
}
