//! Pooling on the CPU. Lines of the result, or of the gradient, are divided among threads; a position of the gradient gathers from
//! the windows that cover it, in their order, so that no two threads add to the same place.

use super::Pool;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;
use std::ops::Range;

impl Pool {
    fn sizes(&self) -> [usize; 5] {
        [self.h, self.w, self.c, self.oh, self.ow].map(|v| v as usize)
    }

    fn window(&self) -> [usize; 3] {
        [self.kernel, self.stride, self.pad].map(|v| v as usize)
    }

    /// The input coordinates of window `o` that fall inside the input.
    fn covered(&self, o: usize, size: usize) -> Range<usize> {
        let [kernel, stride, pad] = self.window();
        (o * stride).saturating_sub(pad)..(o * stride + kernel - pad).min(size)
    }

    /// The windows, of `out`, that cover input coordinate `i`.
    fn covering(&self, i: usize, out: usize) -> Range<usize> {
        let [kernel, stride, pad] = self.window();
        (i + pad + 1).saturating_sub(kernel).div_ceil(stride)..((i + pad) / stride + 1).min(out)
    }

    /// Where in window (oy, ox) the input's (iy, ix) is, counted row by row.
    #[inline(always)]
    fn tap(&self, [iy, ix]: [usize; 2], [oy, ox]: [usize; 2]) -> usize {
        let [kernel, stride, pad] = self.window();
        (iy + pad - oy * stride) * kernel + (ix + pad - ox * stride)
    }

    /// `y = finish(all of a window, taken into `start` one by one)`
    pub fn run<T: Copy + Send + Sync>(
        &self,
        y: &mut [T],
        x: &[T],
        start: T,
        take: impl Fn(T, T) -> T + Sync,
        finish: impl Fn(T) -> T + Sync,
    ) {
        let [h, w, c, oh, ow] = self.sizes();
        y.par_chunks_exact_mut(ow * c).enumerate().for_each(|(line, y)| {
            let (n, oy) = (line / oh, line % oh);
            wide!({
                for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                    y.fill(start);
                    for iy in self.covered(oy, h) {
                        for ix in self.covered(ox, w) {
                            let x = &x[((n * h + iy) * w + ix) * c..][..c];
                            y.iter_mut().zip(x).for_each(|(y, x)| *y = take(*y, *x));
                        }
                    }
                    y.iter_mut().for_each(|y| *y = finish(*y));
                }
            })
        });
    }

    /// The largest of every window, and `at`, which tap of it that is.
    pub fn run_indexed<T: Real>(&self, y: &mut [T], at: &mut [u8], x: &[T]) {
        let [h, w, c, oh, ow] = self.sizes();
        let lines = y.par_chunks_exact_mut(ow * c).zip(at.par_chunks_exact_mut(ow * c));
        lines.enumerate().for_each(|(line, (y, at))| {
            let (n, oy) = (line / oh, line % oh);
            wide!({
                for (ox, (y, at)) in y.chunks_exact_mut(c).zip(at.chunks_exact_mut(c)).enumerate() {
                    let (rows, columns) = (self.covered(oy, h), self.covered(ox, w));
                    y.fill(T::NEG_INFINITY);
                    at.fill(self.tap([rows.start, columns.start], [oy, ox]) as u8);
                    for iy in rows {
                        for ix in columns.clone() {
                            let tap = self.tap([iy, ix], [oy, ox]) as u8;
                            let x = &x[((n * h + iy) * w + ix) * c..][..c];
                            for ((y, at), x) in y.iter_mut().zip(&mut *at).zip(x) {
                                // Without a jump between the two, which would keep the loop from being vectorised.
                                let larger = (*x > *y) | x.is_nan();
                                *y = if larger { *x } else { *y };
                                *at = if larger { tap } else { *at };
                            }
                        }
                    }
                }
            })
        });
    }

    /// `dx = finish(what `add` adds of all windows that cover a position)`: `add(dx, begin, tap)` is given the channels of a position,
    /// where the window's begin, and which of its taps the position is.
    pub fn gather<T: Real>(
        &self,
        dx: &mut [T],
        add: impl Fn(&mut [T], usize, usize) + Sync,
        finish: impl Fn(T) -> T + Sync,
    ) {
        let [h, w, c, oh, ow] = self.sizes();
        dx.par_chunks_exact_mut(w * c).enumerate().for_each(|(line, dx)| {
            let (n, iy) = (line / h, line % h);
            wide!({
                for (ix, dx) in dx.chunks_exact_mut(c).enumerate() {
                    dx.fill(T::ZERO);
                    for oy in self.covering(iy, oh) {
                        for ox in self.covering(ix, ow) {
                            add(&mut *dx, ((n * oh + oy) * ow + ox) * c, self.tap([iy, ix], [oy, ox]));
                        }
                    }
                    dx.iter_mut().for_each(|dx| *dx = finish(*dx));
                }
            })
        });
    }
}
