//! Weight gradient of stride-1 3x3 convolutions in Winograd's F(4x4, 3x3) domain: `dw = G^T [sum over tiles of (A dy A^T)
//! * (B^T x B)] G`, the sums being 36 matrix products whose depth is the tiles (the adjoint of `winograd`).

// Tiles are small matrices: rows and columns are their notation.
#![allow(clippy::needless_range_loop)]

use super::winograd::{FILTER, LANES, POINTS, SIDE, TILE, TransformInput, Winograd, axis, both_axes, lane};
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::multiply_panel;
use crate::engine::toolkit::cpu::isa::{Isa, Vectorised, vectorised};
use crate::engine::toolkit::cpu::microkernel::{COLUMN_STRIDE, PANEL, Packing};
use crate::engine::toolkit::cpu::threads::blocks;
use rayon::prelude::*;
use std::ops::Range;

/// Filters (rows of `dw`) that lie together in the left operand.
const UNIT: usize = COLUMN_STRIDE;
/// Units whose sums with one panel of channels stay in L2 together.
const UNITS: usize = 4;
/// Most tiles transformed at a time: one point of a panel of them fills L1.
const TILE_BLOCK: usize = 256;
/// Most elements of transformed images (those tiles times all channels).
const TRANSFORMED: usize = 10 << 20;

axis! {
    /// `A d`
    gradient_axis TILE -> SIDE, T, |d| {
        let (two, four, eight) = (T::of(2.0), T::of(4.0), T::of(8.0));
        let (even, odd) = (d[0] + d[2], d[1] + d[3]);
        let (even2, odd2) = (d[0] + four * d[2], two * d[1] + eight * d[3]);
        [d[0], even + odd, even - odd, even2 + odd2, even2 - odd2, d[3]]
    }
}

axis! {
    /// `G^T m`
    back_axis SIDE -> FILTER, T, |m| {
        let (sixth, twelfth) = (T::of(1.0 / 6.0), T::of(1.0 / 12.0));
        let (sum, sum2) = (m[1] + m[2], m[3] + m[4]);
        [
            T::of(0.25) * m[0] - sixth * sum + T::of(1.0 / 24.0) * sum2,
            sixth * (m[2] - m[1]) + twelfth * (m[3] - m[4]),
            sixth * (sum2 - sum) + m[5],
        ]
    }
}

/// How the work is cut.
struct Plan {
    tiles: usize,
    /// Most tiles transformed at a time.
    block: usize,
    /// Rows of `dw` per thread.
    rows: usize,
    /// Elements of sums per thread: all of its sums if they must last over several tile blocks.
    sums: usize,
}

impl Plan {
    fn of(p: &Winograd, threads: usize) -> Plan {
        let (tiles_h, tiles_w) = p.tiles();
        let tiles = p.n * tiles_h * tiles_w;
        let most = (TRANSFORMED / (POINTS * (p.c + p.k))).clamp(1, TILE_BLOCK);
        let block = tiles.div_ceil(tiles.div_ceil(most));
        let rows = (p.k / UNIT).div_ceil(threads.max(1)) * UNIT;
        let sums = POINTS * if tiles > block { rows * p.c } else { rows.min(UNITS * UNIT) * PANEL };
        Plan { tiles, block, rows, sums }
    }
}

impl Winograd {
    /// Scratch elements of [`Winograd::bwd_weight`].
    pub fn bwd_weight_scratch(&self, threads: usize) -> usize {
        let plan = Plan::of(self, threads);
        POINTS * (plan.block + 1) * (self.c + self.k) + self.k.div_ceil(plan.rows) * plan.sums
    }

    /// `dw` (KRSC) of the convolution of `x` whose output has gradient `dy`.
    pub fn bwd_weight<T: Real>(&self, isa: Isa, x: &[T], dy: &[T], dw: &mut [T], scratch: &mut [T]) {
        let plan = Plan::of(self, rayon::current_num_threads());
        let (v, rest) = scratch.split_at_mut(POINTS * (plan.block + 1) * self.c);
        let (z, sums) = rest.split_at_mut(POINTS * (plan.block + 1) * self.k);
        for tiles in blocks(0..plan.tiles, plan.block) {
            // Both are [panel of channels][...], so that threads fill contiguous pieces. One unused tile keeps the points,
            // which are written at once, off the same cache sets.
            let panel_len = POINTS * (tiles.len() + 1) * PANEL;
            v.par_chunks_exact_mut(panel_len).enumerate().take(self.c / PANEL).for_each(|(panel, to)| {
                let (point, first) = ((tiles.len() + 1) * PANEL, panel * PANEL);
                let place = |t: usize, _: usize, i: usize| i * point + t * PANEL;
                let (tiles, channels) = (tiles.clone(), first..first + PANEL);
                vectorised(isa, TransformInput { sizes: self, x, tiles, channels, place, to });
            });
            z.par_chunks_exact_mut(panel_len).enumerate().take(self.k / PANEL).for_each(|(panel, to)| {
                vectorised(isa, TransformGradient { sizes: self, dy, tiles: tiles.clone(), column: panel * PANEL, to });
            });
            let (v, z) = (&*v, &*z);
            let row_len = 9 * self.c;
            dw.par_chunks_mut(plan.rows * row_len).zip(sums.par_chunks_exact_mut(plan.sums)).enumerate().for_each(
                |(part, (dw, sums))| self.rows_part(isa, &plan, tiles.clone(), part * plan.rows, v, z, sums, dw),
            );
        }
    }

    /// Adds one block of tiles to the sums of the rows of `dw` from `first_row` on, and finishes these rows after the
    /// last block.
    #[allow(clippy::too_many_arguments)]
    fn rows_part<T: Real>(
        &self,
        isa: Isa,
        plan: &Plan,
        tiles: Range<usize>,
        first_row: usize,
        v: &[T],
        z: &[T],
        sums: &mut [T],
        dw: &mut [T],
    ) {
        let (row_len, depth) = (9 * self.c, tiles.len());
        let (first, last) = (tiles.start == 0, tiles.end == plan.tiles);
        let mut kept = 0;
        for panel in 0..self.c / PANEL {
            for (i, dw) in dw.chunks_mut(UNITS * UNIT * row_len).enumerate() {
                let rows = dw.len() / row_len;
                let len = POINTS * rows * PANEL;
                let sums = &mut sums[kept..kept + len];
                kept += if plan.tiles > plan.block { len } else { 0 };
                for (point, sums) in sums.chunks_exact_mut(rows * PANEL).enumerate() {
                    let b = &v[(panel * POINTS + point) * (depth + 1) * PANEL..][..depth * PANEL];
                    for (unit, sums) in sums.chunks_exact_mut(UNIT * PANEL).enumerate() {
                        let unit = first_row / UNIT + i * UNITS + unit;
                        let a = &z[(unit * POINTS + point) * (depth + 1) * UNIT..];
                        multiply_panel(isa, Packing::Columns, depth, a, b, &[], !first, sums);
                    }
                }
                if last {
                    vectorised(isa, TransformBack { sums, rows, row_len, column: panel * PANEL, dw });
                }
            }
        }
    }
}

/// `A dy A^T` of some tiles for the panel of channels from `column` on, `[unit][point][tiles + 1][UNIT]`.
struct TransformGradient<'a, T> {
    sizes: &'a Winograd,
    dy: &'a [T],
    tiles: Range<usize>,
    column: usize,
    to: &'a mut [T],
}

impl<T: Real> Vectorised for TransformGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let s = self.sizes;
        let point = (self.tiles.len() + 1) * UNIT;
        let (low, high) = self.to.split_at_mut(POINTS * point);
        let zeros = [T::ZERO; LANES];
        for (t, tile) in self.tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let mut d = [[&zeros; TILE]; TILE];
            for y in 0..TILE.min(s.oh - i) {
                let start = ((image * s.oh + i + y) * s.ow + j) * s.k + self.column;
                for x in 0..TILE.min(s.ow - j) {
                    d[x][y] = lane(&self.dy[start + x * s.k..]);
                }
            }
            both_axes!(T: d, |v| v, gradient_axis TILE -> SIDE, |y, row| {
                for (x, value) in row.iter().enumerate() {
                    let at = (y * SIDE + x) * point + t * UNIT;
                    low[at..at + UNIT].copy_from_slice(&value[..UNIT]);
                    high[at..at + UNIT].copy_from_slice(&value[UNIT..]);
                }
            });
        }
    }
}

/// `dw = G^T sums G` for some rows and the panel of channels from `column` on.
struct TransformBack<'a, T> {
    /// `[point][row][PANEL]`
    sums: &'a [T],
    rows: usize,
    row_len: usize,
    column: usize,
    dw: &'a mut [T],
}

impl<T: Real> Vectorised for TransformBack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let c = self.row_len / 9;
        for (row, dw) in self.dw.chunks_exact_mut(self.row_len).enumerate() {
            let mut d = [[lane(self.sums); SIDE]; SIDE];
            for y in 0..SIDE {
                for x in 0..SIDE {
                    d[x][y] = lane(&self.sums[((y * SIDE + x) * self.rows + row) * PANEL..]);
                }
            }
            both_axes!(T: d, |v| v, back_axis SIDE -> FILTER, |y, taps| {
                for (x, value) in taps.iter().enumerate() {
                    dw[(y * FILTER + x) * c + self.column..][..LANES].copy_from_slice(value);
                }
            });
        }
    }
}
