//! CPU kernels of the convolution in bytes: an implicit matrix product with sums kept in registers, or Winograd's form with the same sums.

use super::Conv2dInt8;
use super::winograd::WholeWinograd;
use crate::engine::ops::conv2d::cpu::Sizes;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::OutGrid;
use crate::engine::toolkit::cpu::int8::gemm::{Job, multiply, pack, pack_by, packed_len as panels_len, scratch_each};
use crate::engine::toolkit::cpu::int8::microkernel::Dot;
use crate::engine::toolkit::cpu::int8::store::{Finish, Store};
use crate::engine::toolkit::cpu::microkernel::PANEL;
use rayon::prelude::*;

/// Words in front of packed filters, the first of which says how they are packed.
const HEAD: usize = 16;
const WINOGRAD: i32 = 1;
const DIRECT: i32 = 0;

/// How filters are packed: `[HEAD]`, then by [`WholeWinograd`]; or `[phase][column]` what is subtracted from sums because the bytes of 0
/// are not 0, and `[phase]` the filters' taps that reach it, as the product wants them.
struct Layout {
    p: Sizes,
    transposed: bool,
    winograd: Option<WholeWinograd>,
}

impl Layout {
    fn of(op: &Conv2dInt8) -> Self {
        let p = Sizes::of(&op.sizes);
        let winograd = if op.transposed { None } else { WholeWinograd::of(&p) };
        Layout { p, transposed: op.transposed, winograd }
    }

    fn grid(&self) -> OutGrid {
        let Sizes { n, oh, ow, k, .. } = self.p;
        if self.transposed { self.p.adjoint_grid() } else { OutGrid { n, h: oh, w: ow, c: k, step_h: 1, step_w: 1 } }
    }

    /// Bytes of depth of a phase's product.
    fn depth(&self, phase: (usize, usize)) -> usize {
        if self.transposed {
            let [h, w] = self.p.taps(phase);
            h.count * w.count * self.p.k
        } else {
            self.p.filter()
        }
    }

    /// All phases in order, each with its depth and where its filters start.
    fn phases(&self) -> impl Iterator<Item = ((usize, usize), usize, usize)> + '_ {
        let grid = self.grid();
        let mut at = self.excess_at((grid.step_h, 0));
        let phases = (0..grid.step_h).flat_map(move |a| (0..grid.step_w).map(move |b| (a, b)));
        phases.map(move |phase| {
            let (depth, start) = (self.depth(phase), at);
            at += panels_len(depth, grid.c);
            (phase, depth, start)
        })
    }

    fn excess_at(&self, (a, b): (usize, usize)) -> usize {
        let grid = self.grid();
        HEAD + (a * grid.step_w + b) * grid.c.next_multiple_of(PANEL)
    }

    fn packed_len(&self) -> usize {
        let direct = self.phases().last().map_or(HEAD, |(_, depth, start)| start + panels_len(depth, self.grid().c));
        direct.max(HEAD + self.winograd.map_or(0, |w| w.packed_len()))
    }

    fn scratch_each(&self) -> usize {
        let direct = self.phases().map(|(_, depth, _)| scratch_each(depth)).max().unwrap_or(0);
        direct.max(self.winograd.map_or(0, |w| w.scratch_each()))
    }

    fn pack(&self, filters: &[i8], zero: u8, packed: &mut [i32]) {
        // Groups of panels of equal length, but for the last.
        let groups = |panels: usize| panels.div_ceil(rayon::current_num_threads()).max(1);
        if let Some(winograd) = &self.winograd {
            let (panels, len) = (self.p.k / PANEL, winograd.packed_len());
            let each = groups(panels);
            let to = packed[HEAD..][..len].par_chunks_mut(each * (len / panels)).enumerate();
            let bounded = to.map(|(i, to)| winograd.pack(filters, i * each..((i + 1) * each).min(panels), to));
            if bounded.reduce(|| true, |all, bounded| all & bounded) {
                packed[0] = WINOGRAD;
                return;
            }
        }
        packed[0] = DIRECT;
        let cols = self.grid().c;
        for (phase, depth, start) in self.phases() {
            let element = |column: usize, p: usize| filters[self.place(phase, column, p)];
            let to = &mut packed[start..][..panels_len(depth, cols)];
            let panels = cols.div_ceil(PANEL);
            let panel_len = panels_len(depth, PANEL);
            let each = groups(panels);
            to.par_chunks_mut((each * panel_len).max(1)).enumerate().for_each(|(i, to)| {
                let panels = i * each..((i + 1) * each).min(panels);
                match self.transposed {
                    true => pack_by(depth, cols, panels, to, element),
                    false => pack(filters, depth, cols, panels, to),
                }
            });
            for (column, to) in packed[self.excess_at(phase)..][..cols].iter_mut().enumerate() {
                let sum = || (0..depth).map(|p| i32::from(element(column, p))).sum::<i32>();
                *to = if zero == 0 { 0 } else { i32::from(zero) * sum() };
            }
        }
    }

    /// Where the filters hold what column and depth of a phase's product take.
    fn place(&self, phase: (usize, usize), column: usize, p: usize) -> usize {
        if !self.transposed {
            return column * self.p.filter() + p;
        }
        let (tap, k) = (p / self.p.k, p % self.p.k);
        let width = self.p.taps(phase)[1].count;
        let (r, s) = self.p.adjoint_tap(phase, tap / width, tap % width);
        ((k * self.p.r + r) * self.p.s + s) * self.p.c + column
    }
}

/// Words of packed filters.
pub fn packed_len(op: &Conv2dInt8) -> usize {
    Layout::of(op).packed_len()
}

/// Words of scratch for so many threads, with place for filters that are packed at every run.
pub fn scratch(op: &Conv2dInt8, threads: usize) -> usize {
    let layout = Layout::of(op);
    threads * layout.scratch_each() + layout.packed_len()
}

/// Packs filters, in the order of the convolution that `op` is or is the adjoint of.
pub fn pack_filters(op: &Conv2dInt8, filters: &[i8], packed: &mut [i32]) {
    Layout::of(op).pack(filters, op.x.zero, packed);
}

/// `packed`: as [`pack_filters`] leaves them.
pub fn run<T: Real, S: Store<T>>(
    op: &Conv2dInt8,
    x: &[u8],
    packed: &[i32],
    finish: Finish<'_, T>,
    store: S,
    y: &mut [S::Kept],
    scratch: &mut [i32],
) {
    let (layout, dot, parts) = (Layout::of(op), Dot::detect(), rayon::current_num_threads());
    if let (Some(winograd), WINOGRAD) = (&layout.winograd, packed[0]) {
        return winograd.run(dot, parts, (x, op.x.zero), &packed[HEAD..], finish, store, y, scratch);
    }
    let (p, grid) = (&layout.p, layout.grid());
    let each = layout.scratch_each();
    let job = |a: usize, b: usize| {
        let phase = (a, b);
        let left = if layout.transposed { p.adjoint_im2col(x, op.x.zero, phase) } else { p.im2col(x, op.x.zero) };
        let before = layout.phases().take_while(|(of, ..)| *of != phase);
        let start = before.fold(layout.excess_at((grid.step_h, 0)), |at, (_, depth, _)| at + panels_len(depth, grid.c));
        let (depth, excess) = (layout.depth(phase), &packed[layout.excess_at(phase)..][..grid.c]);
        Job { left, depth, b: &packed[start..], excess }
    };
    multiply(dot, parts, grid, (scratch, each), &job, finish, store, y);
}
