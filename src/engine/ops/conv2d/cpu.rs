//! CPU kernels of the convolution: forward, input gradient, weight gradient.
//!
//! All three are implicit matrix products (see `toolkit::cpu::gemm`): forward `y[pixels, k] = im2col(x) * w^T`, input
//! gradient a convolution of `dy` per stride phase with the filters mirrored, weight gradient `dw[k, rsc] = dy^T *
//! im2col(x)`. For `f32` 3x3 filters with stride 1 Winograd's form (see `winograd`) replaces them where it pays.

use super::Conv2d;
use super::gather::Gather;
use super::winograd::{self, FilterBlock, TransformFilters, Winograd};
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::{
    COLUMNS_SCRATCH, OutGrid, ROWS_SCRATCH, RowsJob, multiply_columns, multiply_rows, pack_plain_row, pack_transposed,
    packed_len as panels_len,
};
use crate::engine::toolkit::cpu::isa::{Isa, vectorised};
use crate::engine::toolkit::cpu::microkernel::{BLOCK, Finish, PANEL, transpose_block};

/// Filters as stored, or packed in advance by [`pack`] (forward) or [`pack_bwd_input`].
#[derive(Clone, Copy)]
pub enum Filters<'a, T> {
    Krsc(&'a [T]),
    Packed(&'a [T]),
}

/// The sizes as `usize`.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub r: usize,
    pub s: usize,
    pub stride_h: usize,
    pub stride_w: usize,
    pub pad_h: usize,
    pub pad_w: usize,
    pub oh: usize,
    pub ow: usize,
}

impl Sizes {
    pub fn of(p: &Conv2d) -> Sizes {
        let u = |x: u32| x as usize;
        Sizes {
            n: u(p.n),
            h: u(p.h),
            w: u(p.w),
            c: u(p.c),
            k: u(p.k),
            r: u(p.r),
            s: u(p.s),
            stride_h: u(p.stride_h),
            stride_w: u(p.stride_w),
            pad_h: u(p.pad_h),
            pad_w: u(p.pad_w),
            oh: u(p.oh),
            ow: u(p.ow),
        }
    }

    /// The Winograd form of the forward pass, where it pays for this batch, or for [`STEADY_BATCH`].
    fn winograd<T: Real>(&self, steady: bool) -> Option<Winograd> {
        let Sizes { n, h, w, c, k, pad_h, pad_w, oh, ow, .. } = *self;
        let batch = if steady { STEADY_BATCH } else { n };
        self.winograd_fits::<T>(batch, (oh, ow)).then_some(Winograd { n, h, w, c, k, pad_h, pad_w, oh, ow })
    }

    /// The Winograd form of the input gradient: a convolution of `dy` with the filters mirrored.
    fn winograd_adjoint<T: Real>(&self) -> Option<Winograd> {
        let Sizes { n, h, w, c, k, pad_h, pad_w, oh, ow, .. } = *self;
        (self.winograd_fits::<T>(n, (h, w)) && pad_h <= 2 && pad_w <= 2).then(|| Winograd {
            n,
            h: oh,
            w: ow,
            c: k,
            k: c,
            pad_h: 2 - pad_h,
            pad_w: 2 - pad_w,
            oh: h,
            ow: w,
        })
    }

    /// Winograd needs whole panels of channels (rows and columns of its products), transformed filters that stay below
    /// 40 MiB, and enough tiles to make up for reading four times the weights: with about 32 products of `f32` per
    /// cycle and 5 bytes per cycle from memory on each core, measured, and the one while the other is under way, a direct
    /// convolution takes `c * k` times the larger of `9 / 32 * pixels` and `9 * 4 / 5` cycles, and Winograd's of
    /// `36 / 32 * tiles`, plus 1/7 for transforms, and `36 * 4 / 5`.
    fn winograd_fits<T: Real>(&self, n: usize, (oh, ow): (usize, usize)) -> bool {
        let direct = (9 * n * oh * ow / 32).max(9 * 4 / 5);
        let winograd = (41 * n * oh.div_ceil(4) * ow.div_ceil(4) / 32).max(36 * 4 / 5);
        size_of::<T>() == 4
            && (self.r, self.s, self.stride_h, self.stride_w) == (3, 3, 1, 1)
            && self.c.is_multiple_of(PANEL)
            && self.k.is_multiple_of(PANEL)
            && winograd::packed_len(self.c, self.k) <= 10 << 20
            && winograd < direct
    }

    /// Depth of a forward product.
    pub fn filter(&self) -> usize {
        self.r * self.s * self.c
    }

    /// The left operand of the forward product, `zero` for padding.
    pub fn im2col<'a, T>(&self, x: &'a [T], zero: T) -> Gather<'a, T> {
        Gather {
            from: x,
            zero,
            h: self.h,
            w: self.w,
            c: self.c,
            rows_h: self.oh,
            rows_w: self.ow,
            step_h: self.stride_h,
            step_w: self.stride_w,
            first_h: -(self.pad_h as isize),
            first_w: -(self.pad_w as isize),
            taps_h: self.r,
            taps_w: self.s,
        }
    }
}

/// The adjoint: every stride phase of its output is a convolution of its input.
impl Sizes {
    pub fn adjoint_grid(&self) -> OutGrid {
        OutGrid { n: self.n, h: self.h, w: self.w, c: self.c, step_h: self.stride_h, step_w: self.stride_w }
    }

    /// The taps of a phase along both axes.
    pub fn taps(&self, (a, b): (usize, usize)) -> [PhaseTaps; 2] {
        [phase_taps(a, self.r, self.stride_h, self.pad_h), phase_taps(b, self.s, self.stride_w, self.pad_w)]
    }

    /// The left operand of a phase's product, `zero` outside of `dy`.
    pub fn adjoint_im2col<'a, T>(&self, dy: &'a [T], zero: T, phase: (usize, usize)) -> Gather<'a, T> {
        let (rows_h, rows_w) = self.adjoint_grid().phase(phase.0, phase.1);
        let [th, tw] = self.taps(phase);
        Gather {
            from: dy,
            zero,
            h: self.oh,
            w: self.ow,
            c: self.k,
            rows_h,
            rows_w,
            step_h: 1,
            step_w: 1,
            first_h: th.start,
            first_w: tw.start,
            taps_h: th.count,
            taps_w: tw.count,
        }
    }

    /// Filter row and column of a phase's taps `u` and `v`, counted from the one that reaches furthest back.
    pub fn adjoint_tap(&self, phase: (usize, usize), u: usize, v: usize) -> (usize, usize) {
        let [th, tw] = self.taps(phase);
        (th.first + (th.count - 1 - u) * self.stride_h, tw.first + (tw.count - 1 - v) * self.stride_w)
    }
}

/// Pictures for which a steady convolution chooses its method (see `Options::steady`). A batch of one loses 3 % by it where
/// the choice differs (256 channels at 8x8: 187 instead of 181 microseconds).
const STEADY_BATCH: usize = 2;

/// Scratch of [`forward`], in elements of `T`.
pub fn forward_scratch<T: Real>(p: &Conv2d, steady: bool, threads: usize) -> usize {
    threads * scratch_each(Sizes::of(p).winograd::<T>(steady)) + packed_len::<T>(p, steady)
}

fn scratch_each(winograd: Option<Winograd>) -> usize {
    winograd.map_or(ROWS_SCRATCH, |w| winograd::scratch_each(w.c))
}

/// Scratch of [`bwd_input`], in elements of `T`.
pub fn bwd_input_scratch<T: Real>(p: &Conv2d, threads: usize) -> usize {
    threads * scratch_each(Sizes::of(p).winograd_adjoint::<T>()) + bwd_input_packed_len::<T>(p)
}

/// Scratch of [`bwd_weight`], in elements of `T`.
pub fn bwd_weight_scratch<T: Real>(p: &Conv2d, threads: usize) -> usize {
    Sizes::of(p).winograd::<T>(false).map_or(threads * COLUMNS_SCRATCH, |w| w.bwd_weight_scratch(threads))
}

/// Elements of filters packed for [`forward`].
pub fn packed_len<T: Real>(p: &Conv2d, steady: bool) -> usize {
    let p = Sizes::of(p);
    p.winograd::<T>(steady).map_or(panels_len(p.filter(), p.k), |w| winograd::packed_len(w.c, w.k))
}

/// Packs filters for [`forward`].
pub fn pack<T: Real>(p: &Conv2d, steady: bool, w: &[T], packed: &mut [T]) {
    let packed = &mut packed[..packed_len::<T>(p, steady)];
    let p = Sizes::of(p);
    if p.winograd::<T>(steady).is_some() {
        return pack_winograd(p.c, p.k, packed, &|isa, c, panel, to| {
            for (tap, to) in to.iter_mut().enumerate() {
                for half in (0..PANEL).step_by(BLOCK) {
                    let from = &w[((panel * PANEL + half) * 9 + tap) * p.c + c..];
                    transpose_block(isa, from, 9 * p.c, &mut to.as_flattened_mut()[half..], PANEL);
                }
            }
        });
    }
    pack_panels(p.k.div_ceil(PANEL), p.filter() * PANEL, packed, &|panels, to| {
        pack_transposed(Isa::detect(), w, p.filter(), p.k, panels, to);
    });
}

/// Transforms `depth x cols` filters; `filter(isa, first depth, panel, to)` fetches a block of them.
fn pack_winograd<T: Real>(
    depth: usize,
    cols: usize,
    packed: &mut [T],
    filter: &(impl Fn(Isa, usize, usize, &mut FilterBlock<T>) + Sync),
) {
    let isa = Isa::detect();
    let panel_len = winograd::packed_len(depth, PANEL);
    pack_panels(cols / PANEL, panel_len, packed, &|panels, to| {
        let filter = |p: usize, panel: usize, to: &mut FilterBlock<T>| filter(isa, p, panel, to);
        vectorised(isa, TransformFilters { depth, panels, to, filter });
    });
}

/// Runs `pack(panels, their part of packed)` on every thread.
fn pack_panels<T: Real>(
    panels: usize,
    panel_len: usize,
    packed: &mut [T],
    pack: &(impl Fn(std::ops::Range<usize>, &mut [T]) + Sync),
) {
    let parts = rayon::current_num_threads().min(panels);
    let each = panels.div_ceil(parts.max(1));
    let parts = panels.div_ceil(each.max(1));
    fn go<T: Real>(
        panels: std::ops::Range<usize>,
        each: usize,
        panel_len: usize,
        to: &mut [T],
        pack: &(impl Fn(std::ops::Range<usize>, &mut [T]) + Sync),
    ) {
        let parts = panels.len().div_ceil(each);
        if parts <= 1 {
            return pack(panels, to);
        }
        let middle = panels.start + parts / 2 * each;
        let (left, right) = to.split_at_mut((middle - panels.start) * panel_len);
        rayon::join(
            || go(panels.start..middle, each, panel_len, left, pack),
            || go(middle..panels.end, each, panel_len, right, pack),
        );
    }
    if parts > 0 {
        go(0..panels, each, panel_len, packed, pack);
    }
}

/// `y = act(conv(x, w) + bias + residual)`; of `finish`, `bias` has `k` values, `residual` the shape of `y`. `scratch`: [`forward_scratch`] for rayon's current number of threads.
/// `steady`: as in `Options`, the same here as in [`pack`].
pub fn forward<T: Real>(
    p: &Conv2d,
    steady: bool,
    x: &[T],
    w: Filters<'_, T>,
    finish: Finish<'_, T>,
    y: &mut [T],
    scratch: &mut [T],
) {
    let isa = Isa::detect();
    let parts = rayon::current_num_threads();
    let winograd = Sizes::of(p).winograd::<T>(steady);
    let (scratch, packed) = scratch.split_at_mut(parts * scratch_each(winograd));
    let b = match w {
        Filters::Packed(b) => b,
        Filters::Krsc(w) => {
            pack(p, steady, w, packed);
            packed
        }
    };
    if let Some(winograd) = winograd {
        return winograd.run(isa, parts, x, b, finish, y, scratch);
    }
    let p = Sizes::of(p);
    let left = p.im2col(x, T::ZERO);
    let grid = OutGrid { n: p.n, h: p.oh, w: p.ow, c: p.k, step_h: 1, step_w: 1 };
    multiply_rows(isa, parts, grid, &|_, _| RowsJob { left, depth: left.depth(), b }, finish, y, scratch);
}

/// Filter rows (or columns) that reach input phase `phase` (input coordinates congruent to it modulo `stride`).
#[derive(Clone, Copy)]
pub struct PhaseTaps {
    /// How many there are.
    pub count: usize,
    /// The first of them; the others follow in steps of the stride.
    first: usize,
    /// Output coordinate, for the phase's first input coordinate, of the last tap, the one reaching furthest back.
    start: isize,
}

fn phase_taps(phase: usize, kernel: usize, stride: usize, pad: usize) -> PhaseTaps {
    let first = (phase + pad) % stride;
    let count = kernel.saturating_sub(first).div_ceil(stride);
    let start = ((phase + pad - first) / stride) as isize - count as isize + 1;
    PhaseTaps { count, first, start }
}

/// Elements of filters packed for [`bwd_input`]: each tap belongs to exactly one stride phase.
pub fn bwd_input_packed_len<T: Real>(p: &Conv2d) -> usize {
    let p = Sizes::of(p);
    p.winograd_adjoint::<T>().map_or(panels_len(p.r * p.s * p.k, p.c), |w| winograd::packed_len(w.c, w.k))
}

/// The stride phases' filters lie one after the other: where phase `(a, b)` starts.
fn phase_start(p: &Sizes, a: usize, b: usize) -> usize {
    let taps_h = |a| phase_taps(a, p.r, p.stride_h, p.pad_h).count;
    let taps_w = |b| phase_taps(b, p.s, p.stride_w, p.pad_w).count;
    let before: usize = (0..a).map(taps_h).sum::<usize>() * p.s + taps_h(a) * (0..b).map(taps_w).sum::<usize>();
    panels_len(before * p.k, p.c)
}

/// Packs filters for [`bwd_input`]: per stride phase, depth = (row, column, k) with rows and columns mirrored.
pub fn pack_bwd_input<T: Real>(p: &Conv2d, w: &[T], packed: &mut [T]) {
    let packed = &mut packed[..bwd_input_packed_len::<T>(p)];
    let p = Sizes::of(p);
    if p.winograd_adjoint::<T>().is_some() {
        return pack_winograd(p.k, p.c, packed, &|_, k, panel, to| {
            for (tap, to) in to.iter_mut().enumerate() {
                for (k, to) in (k..).zip(to) {
                    *to = *winograd::lane(&w[(k * 9 + 8 - tap) * p.c + panel * PANEL..]);
                }
            }
        });
    }
    for a in 0..p.stride_h {
        for b in 0..p.stride_w {
            let [th, tw] = p.taps((a, b));
            let depth = th.count * tw.count * p.k;
            if depth == 0 {
                continue;
            }
            let packed = &mut packed[phase_start(&p, a, b)..][..panels_len(depth, p.c)];
            pack_panels(p.c.div_ceil(PANEL), depth * PANEL, packed, &|panels, to| {
                for k in 0..p.k {
                    for u in 0..th.count {
                        for v in 0..tw.count {
                            let (r, s) = p.adjoint_tap((a, b), u, v);
                            let row = &w[((k * p.r + r) * p.s + s) * p.c..][..p.c];
                            pack_plain_row(row, depth, (u * tw.count + v) * p.k + k, panels.start, to);
                        }
                    }
                }
            });
        }
    }
}

/// `dx = conv's adjoint(dy, w) + residual`. `scratch`: [`bwd_input_scratch`] for rayon's current number of threads.
pub fn bwd_input<T: Real>(
    p: &Conv2d,
    dy: &[T],
    w: Filters<'_, T>,
    residual: Option<&[T]>,
    dx: &mut [T],
    scratch: &mut [T],
) {
    let isa = Isa::detect();
    let parts = rayon::current_num_threads();
    let winograd = Sizes::of(p).winograd_adjoint::<T>();
    let (scratch, packed) = scratch.split_at_mut(parts * scratch_each(winograd));
    let packed = match w {
        Filters::Packed(b) => b,
        Filters::Krsc(w) => {
            pack_bwd_input(p, w, packed);
            packed
        }
    };
    let finish = Finish { residual, ..Finish::NONE };
    if let Some(winograd) = winograd {
        return winograd.run(isa, parts, dy, packed, finish, dx, scratch);
    }
    let p = Sizes::of(p);
    let grid = p.adjoint_grid();
    let job = |a, b| {
        let left = p.adjoint_im2col(dy, T::ZERO, (a, b));
        RowsJob { left, depth: left.depth(), b: &packed[phase_start(&p, a, b)..] }
    };
    multiply_rows(isa, parts, grid, &job, finish, dx, scratch);
}

/// `dw[k, r, s, c]`, the sum over images and output pixels of `dy * x`. `scratch`: [`bwd_weight_scratch`] for rayon's
/// current number of threads.
pub fn bwd_weight<T: Real>(p: &Conv2d, x: &[T], dy: &[T], dw: &mut [T], scratch: &mut [T]) {
    let p = Sizes::of(p);
    if let Some(winograd) = p.winograd::<T>(false) {
        return winograd.bwd_weight(Isa::detect(), x, dy, dw, scratch);
    }
    let sizes = (p.n * p.oh * p.ow, p.k, p.filter());
    multiply_columns(Isa::detect(), rayon::current_num_threads(), sizes, dy, &p.im2col(x, T::ZERO), dw, scratch);
}
