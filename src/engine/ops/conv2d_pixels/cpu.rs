//! CPU kernel of the convolution of pixels. Lines of the picture become numbers of 16 bits, with padding; the product's rows are windows
//! of them as they lie, which overlap: nothing is packed.

use super::{CHANNELS, Conv2dPixels, STRIDE};
use crate::engine::ops::conv2d::cpu::Sizes;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::int8::microkernel::{Dot, Tile, Words};
use crate::engine::toolkit::cpu::int8::store::{Finish, Store};
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::microkernel::{PANEL, TILE_ROWS};
use crate::engine::toolkit::cpu::threads::blocks;
use rayon::prelude::*;

const HALVES: usize = Words::Halves.numbers();
/// Words from one window to the next.
const STEP: usize = STRIDE * CHANNELS / HALVES;
/// Lines of the result that are computed of the same lines of numbers, which stay in L1 or L2.
const LINES: usize = 8;

struct Layout(Sizes);

impl Layout {
    fn of(op: &Conv2dPixels) -> Self {
        Layout(Sizes::of(&op.sizes))
    }

    /// Words of one line of a filter; the last may be half used.
    fn run(&self) -> usize {
        (self.0.s * CHANNELS).div_ceil(HALVES)
    }

    /// Words of one line of a picture with its padding.
    fn pitch(&self) -> usize {
        let p = &self.0;
        ((p.w + 2 * p.pad_w) * CHANNELS).div_ceil(HALVES).max((p.ow - 1) * STEP + self.run())
    }

    /// Lines of a picture that so many of the result are computed of.
    fn lines(&self, of: usize) -> usize {
        (of - 1) * self.0.stride_h + self.0.r
    }

    /// Words of scratch per thread: the mean of every number of a line, and the lines.
    fn scratch_each(&self) -> usize {
        (1 + self.lines(LINES)) * self.pitch()
    }

    fn depth(&self) -> usize {
        self.0.r * self.run()
    }

    /// Writes `x - mean` of lines of a picture from `first` on, which may be in the padding: one to every `pitch` words.
    fn fill(&self, x: &[u8], first: isize, mean: &[i16], to: &mut [i32]) {
        let p = &self.0;
        let (start, len) = (p.pad_w * CHANNELS, p.w * CHANNELS);
        for (i, to) in to.chunks_exact_mut(self.pitch()).enumerate() {
            let to: &mut [i16] = bytemuck::cast_slice_mut(to);
            let line = usize::try_from(first + i as isize).ok().filter(|line| *line < p.h);
            let Some(line) = line else {
                to.fill(0);
                continue;
            };
            to[..start].fill(0);
            to[start + len..].fill(0);
            for ((to, x), mean) in to[start..][..len].iter_mut().zip(&x[line * len..][..len]).zip(&mean[..len]) {
                *to = i16::from(*x) - mean;
            }
        }
    }
}

/// Words of packed filters, `[panel][line][run][PANEL]`.
pub fn packed_len(op: &Conv2dPixels) -> usize {
    let layout = Layout::of(op);
    layout.depth() * layout.0.k.next_multiple_of(PANEL)
}

/// Words of scratch for so many threads, with place for filters that are packed at every run.
pub fn scratch(op: &Conv2dPixels, threads: usize) -> usize {
    threads * Layout::of(op).scratch_each() + packed_len(op)
}

pub fn pack(op: &Conv2dPixels, filters: &[i16], packed: &mut [i32]) {
    let layout = Layout::of(op);
    let (run, line) = (layout.run(), layout.0.s * CHANNELS);
    let element = |k: usize, r: usize, i: usize| {
        if k < layout.0.k && i < line { filters[(k * layout.0.r + r) * line + i] } else { 0 }
    };
    for (i, to) in packed[..packed_len(op)].iter_mut().enumerate() {
        let (step, k) = (i / PANEL % layout.depth(), i / PANEL / layout.depth() * PANEL + i % PANEL);
        let (r, word) = (step / run, step % run);
        *to = bytemuck::cast(std::array::from_fn::<i16, HALVES, _>(|half| element(k, r, word * HALVES + half)));
    }
}

/// `packed`: as [`pack`] leaves them.
pub fn run<T: Real, S: Store<T>>(
    op: &Conv2dPixels,
    x: &[u8],
    packed: &[i32],
    finish: Finish<'_, T>,
    store: S,
    y: &mut [S::Kept],
    scratch: &mut [i32],
) {
    let (layout, dot, zero) = (Layout::of(op), Dot::detect(), op.zero());
    let Sizes { n, oh, ow, k, .. } = layout.0;
    let (lines, of_line) = ((n * oh).div_ceil(rayon::current_num_threads()), ow * k);
    let parts = y.par_chunks_mut(lines * of_line).zip(scratch.par_chunks_mut(layout.scratch_each()));
    parts.enumerate().for_each(|(part, (y, scratch))| {
        let mut first = part * lines;
        let mut y = y;
        let (mean, scratch) = scratch.split_at_mut(layout.pitch());
        let mean: &mut [i16] = bytemuck::cast_slice_mut(mean);
        mean.iter_mut().enumerate().for_each(|(i, to)| *to = zero[i % CHANNELS].into());
        while !y.is_empty() {
            // Lines of one picture.
            let (image, line) = (first / oh, first % oh);
            let count = LINES.min(oh - line).min(y.len() / of_line);
            let (now, later) = y.split_at_mut(count * of_line);
            wide!(layout.compute(dot, x, packed, (image, line), mean, finish, store, now, scratch));
            (y, first) = (later, first + count);
        }
    });
}

impl Layout {
    /// Some lines of a result, from `line` of `image` on.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn compute<T: Real, S: Store<T>>(
        &self,
        dot: Dot,
        x: &[u8],
        packed: &[i32],
        (image, line): (usize, usize),
        mean: &[i16],
        finish: Finish<'_, T>,
        store: S,
        y: &mut [S::Kept],
        scratch: &mut [i32],
    ) {
        let p = &self.0;
        let (of_line, pitch, depth) = (p.ow * p.k, self.pitch(), self.depth());
        let picture = p.h * p.w * CHANNELS;
        let lines = &mut scratch[..self.lines(y.len() / of_line) * pitch];
        let first = (line * p.stride_h) as isize - p.pad_h as isize;
        self.fill(&x[image * picture..][..picture], first, mean, lines);
        let mut sums = [[0; PANEL]; TILE_ROWS];
        for column in (0..p.k).step_by(PANEL) {
            let (panel, cols) = (finish.panel(column, None), (p.k - column).min(PANEL));
            let b = &packed[column * depth..][..PANEL * depth];
            for (i, y) in y.chunks_exact_mut(of_line).enumerate() {
                for windows in blocks(0..p.ow, TILE_ROWS) {
                    let t = Tile::<STEP> {
                        words: Words::Halves,
                        rows: windows.len(),
                        depth,
                        a: &lines[i * p.stride_h * pitch + windows.start * STEP..],
                        run: self.run(),
                        block: pitch,
                        b,
                        ahead: &[],
                    };
                    t.sum(dot, &mut sums);
                    for (window, sums) in windows.zip(&sums) {
                        // Without a residual no place in the output matters.
                        finish.row(&panel, sums, 0, store, &mut y[window * p.k + column..][..cols]);
                    }
                }
            }
        }
    }
}
