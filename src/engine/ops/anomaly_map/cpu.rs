//! CPU kernels of the upsampling and the blur.

use super::AnomalyMap;
use crate::engine::ops::Args;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;

/// Neighbours and weight of output coordinate `o`: value = a + t * (b - a). Computed in f64, exact for every size in use.
pub fn source(o: usize, from: usize, to: usize) -> (usize, usize, f64) {
    let position = if to > 1 { o as f64 * (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let i = (position as usize).min(from - 1);
    (i, (i + 1).min(from - 1), position - i as f64)
}

pub fn run<T: Real>(op: &AnomalyMap, a: Args<'_, T>) {
    let [y, ..] = a.outputs;
    for (n, map) in y.chunks_exact_mut(op.size * op.size).enumerate() {
        upsample_sum(op, &a.inputs, n, map, a.scratch);
        if op.taps.len() > 1 {
            blur(op, map, a.scratch);
        }
    }
}

/// The map of image `n`: every input's rows are stretched first, then each line is a sum of pairs of these.
fn upsample_sum<T: Real>(op: &AnomalyMap, inputs: &[&[T]], n: usize, map: &mut [T], scratch: &mut [T]) {
    let size = op.size;
    let mut rest = &mut *scratch;
    for (x, &(h, w)) in inputs.iter().zip(&op.from) {
        let (stretched, after) = rest.split_at_mut(h * size);
        rest = after;
        let rows = x[n * h * w..][..h * w].par_chunks(LINES * w);
        stretched.par_chunks_mut(LINES * size).zip(rows).for_each(|(to, rows)| {
            // Column by column: to tell what one is made of takes longer than to make it.
            for ox in 0..size {
                let (l, r, t) = source(ox, w, size);
                let t = T::of(t);
                for (i, row) in rows.chunks_exact(w).enumerate() {
                    to[i * size + ox] = row[l] + (row[r] - row[l]) * t;
                }
            }
        });
    }
    let stretched = &*scratch;
    map.par_chunks_exact_mut(size).with_min_len(LINES).enumerate().for_each(|(oy, y)| {
        y.fill(T::ZERO);
        let mut first = 0;
        for &(h, _) in &op.from {
            let (top, bottom, t) = source(oy, h, size);
            let row = |i: usize| &stretched[(first + i) * size..][..size];
            let t = T::of(t);
            let (upper, lower) = (row(top), row(bottom));
            wide!({
                for ((y, &upper), &lower) in y.iter_mut().zip(upper).zip(lower) {
                    *y += upper + (lower - upper) * t;
                }
            });
            first += h;
        }
    });
}

/// Index of `i`, which may lie outside of 0..n, mirrored about the edges (period 2n).
pub fn mirror(i: isize, n: usize) -> usize {
    let j = i.rem_euclid(2 * n as isize) as usize;
    if j < n { j } else { 2 * n - 1 - j }
}

/// Lines one thread takes at a time.
const LINES: usize = 16;

/// For one image, the inputs stretched, or later its horizontally blurred map and a padded line for each group of lines.
pub fn scratch(op: &AnomalyMap, _threads: usize) -> usize {
    let stretched = op.from.iter().map(|&(h, _)| h * op.size).sum();
    match op.taps.len() - 1 {
        0 => stretched,
        radius => stretched.max(op.size * op.size + op.size.div_ceil(LINES) * (op.size + 2 * radius)),
    }
}

/// In place.
fn blur<T: Real>(op: &AnomalyMap, map: &mut [T], scratch: &mut [T]) {
    let (size, radius) = (op.size, op.taps.len() - 1);
    let (rows, padded) = scratch.split_at_mut(size * size);
    rows.par_chunks_mut(LINES * size)
        .zip(map.par_chunks(LINES * size))
        .zip(padded.par_chunks_mut(size + 2 * radius))
        .for_each(|((out, x), padded)| {
            for (out, x) in out.chunks_exact_mut(size).zip(x.chunks_exact(size)) {
                padded[radius..][..size].copy_from_slice(x);
                for i in (0..radius).chain(radius + size..padded.len()) {
                    padded[i] = x[mirror(i as isize - radius as isize, size)];
                }
                let padded = &*padded;
                wide!(FUSED => weigh::<T, FUSED>(out, &op.taps, |offset| &padded[(radius as isize + offset) as usize..][..size]));
            }
        });
    let rows = &*rows;
    map.par_chunks_mut(size).with_min_len(LINES).enumerate().for_each(|(i, y)| {
        wide!(FUSED => weigh::<T, FUSED>(y, &op.taps, |offset| &rows[mirror(i as isize + offset, size) * size..][..size]));
    });
}

/// `out[j] = sum over offsets of taps[|offset|] * line(offset)[j]`
#[inline(always)]
fn weigh<'a, T: Real, const FUSED: bool>(out: &mut [T], taps: &[f64], line: impl Fn(isize) -> &'a [T]) {
    let centre = T::of(taps[0]);
    out.iter_mut().zip(line(0)).for_each(|(o, x)| *o = *x * centre);
    for (k, tap) in taps.iter().enumerate().skip(1) {
        let tap = T::of(*tap);
        for ((o, a), b) in out.iter_mut().zip(line(-(k as isize))).zip(line(k as isize)) {
            *o = (*a + *b).mul_add::<FUSED>(tap, *o);
        }
    }
}
