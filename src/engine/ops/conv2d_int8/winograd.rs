//! Winograd's F(4x4, 3x3) in whole numbers, with exactly the direct convolution's sums: 36 multiplications instead of 144 for each
//! channel pair, by the 16-bit instruction, which does half as many as the one for bytes. Twice as fast but for the transforms.
//!
//! The input's transform has whole coefficients: bytes become numbers of 16 bits, none above 17,340. The filters' transform is
//! `G` with every row times its denominator, and some more, so that the transform of the products is simple: (24, 24, 24, 24, 24,
//! 8) times the usual; of 8-bit filters none is above 18,432. With that the products' transform gives 24 times the sums along each axis, 576 of
//! both. All of it is taken modulo 2^32, where intermediate sums may leave 32 bits without harm: 576 is 9 * 64, 9 has an inverse there,
//! and 64 times a sum that stays below 2^25 is a whole number of 32 bits. Filters whose sums could be larger are refused.

// Tiles are small matrices: rows and columns are their notation.
#![allow(clippy::needless_range_loop)]

use crate::engine::ops::conv2d::cpu::Sizes;
use crate::engine::ops::conv2d::gather::clip;
use crate::engine::ops::conv2d::winograd::{
    FILTER, LANES, POINTS, Ring, SIDE, Speed, TILE, Winograd, axis, both_axes, input_axis, lane,
};
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::int8::microkernel::{Dot, Tile, Words};
use crate::engine::toolkit::cpu::int8::store::{Finish, Store};
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::microkernel::{DEPTH_BLOCK, PANEL, ROW_STRIDE, TILE_ROWS, Window};
use crate::engine::toolkit::cpu::threads::{blocks, piece};
use std::num::Wrapping;
use std::ops::Range;

/// Of halves.
const SPEED: Speed = Speed { products: 32, filters: 3.5 };
const HALVES: usize = Words::Halves.numbers();
/// Of whole numbers modulo 2^32: 9 times it is 1.
const NINTH: Wrapping<i32> = Wrapping(0x38e3_8e39);
/// Sums stay below this.
const LIMIT: u64 = 1 << 25;

macro_rules! ring {
    ($($t:ty)*) => {
        $(impl Ring for Wrapping<$t> {
            const ZERO: Self = Wrapping(0);

            #[inline(always)]
            fn of(x: f64) -> Self {
                Wrapping(x as $t)
            }
        })*
    };
}
ring!(i16 i32);

axis! {
    /// 24 times `A^T m`, of products with filters of [`filter_axis`].
    output_axis SIDE -> TILE, T, |m| {
        let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
        let (sum2, difference2) = (m[3] + m[4], m[3] - m[4]);
        [
            m[0] + sum + sum2,
            difference + T::of(2.0) * difference2,
            sum + T::of(4.0) * sum2,
            difference + T::of(8.0) * difference2 + T::of(3.0) * m[5],
        ]
    }
}

axis! {
    /// `G g` times (24, 24, 24, 24, 24, 8), by rows.
    filter_axis FILTER -> SIDE, T, |g| {
        let outer = T::of(-4.0) * (g[0] + g[2]);
        let outer2 = g[0] + T::of(4.0) * g[2];
        [
            T::of(6.0) * g[0],
            outer - T::of(4.0) * g[1],
            outer + T::of(4.0) * g[1],
            outer2 + T::of(2.0) * g[1],
            outer2 - T::of(2.0) * g[1],
            T::of(8.0) * g[2],
        ]
    }
}

/// A convolution that can be taken this way.
#[derive(Clone, Copy)]
pub struct WholeWinograd(Winograd);

impl WholeWinograd {
    /// Of 3x3 filters with stride 1 and whole panels of channels, where it pays.
    pub fn of(p: &Sizes) -> Option<WholeWinograd> {
        let Sizes { n, h, w, c, k, pad_h, pad_w, oh, ow, .. } = *p;
        let fits = (p.r, p.s, p.stride_h, p.stride_w) == (FILTER, FILTER, 1, 1)
            && c.is_multiple_of(LANES)
            && k.is_multiple_of(PANEL);
        let sizes = Winograd { n, h, w, c, k, pad_h, pad_w, oh, ow };
        (fits && pays(&sizes)).then_some(WholeWinograd(sizes))
    }

    /// Words of the transformed filters, `[panel][point][c / 2 + 1][PANEL]`; one unused row, as in the form for real numbers.
    pub fn packed_len(&self) -> usize {
        self.panel_len() * self.0.k / PANEL
    }

    fn point_len(&self) -> usize {
        (self.0.c / HALVES + 1) * PANEL
    }

    fn panel_len(&self) -> usize {
        POINTS * self.point_len()
    }

    /// Transforms filters (k, 3, 3, c) of some panels into their part of the packed ones. False if sums of these filters could be too large;
    /// what was packed is of no use then.
    pub fn pack(&self, filters: &[i8], panels: Range<usize>, to: &mut [i32]) -> bool {
        let c = self.0.c;
        let mut bounded = true;
        for (panel, to) in panels.zip(to.chunks_exact_mut(self.panel_len())) {
            let filters = &filters[panel * PANEL * 9 * c..][..PANEL * 9 * c];
            bounded &= filters.chunks_exact(9 * c).all(|filter| largest_sum(filter) < LIMIT);
            wide!(self.pack_panel(filters, to));
        }
        bounded
    }

    #[inline(always)]
    fn pack_panel(&self, filters: &[i8], to: &mut [i32]) {
        type T = Wrapping<i16>;
        let c = self.0.c;
        for pair in 0..c / HALVES {
            let mut halves = [[[T::ZERO; LANES]; POINTS]; HALVES];
            for (half, out) in halves.iter_mut().enumerate() {
                let mut g = [[[0i8; LANES]; FILTER]; FILTER];
                for lane in 0..LANES {
                    let filter = &filters[lane * 9 * c + pair * HALVES + half..];
                    for x in 0..FILTER {
                        for y in 0..FILTER {
                            g[x][y][lane] = filter[(y * FILTER + x) * c];
                        }
                    }
                }
                both_axes!(T: g, |v| Wrapping(v.into()), filter_axis FILTER -> SIDE, |y, row| {
                    out[y * SIDE..][..SIDE].copy_from_slice(&row);
                });
            }
            for point in 0..POINTS {
                let to = &mut to[point * self.point_len() + pair * PANEL..][..PANEL];
                for lane in 0..LANES {
                    to[lane] = bytemuck::cast([halves[0][point][lane].0, halves[1][point][lane].0]);
                }
            }
        }
    }

    fn tile_block(&self) -> usize {
        // What a thread keeps transformed is to stay in L2.
        if self.0.c <= DEPTH_BLOCK { 2 * TILE_ROWS } else { TILE_ROWS }
    }

    /// How many points of a tile share a row of [`ROW_STRIDE`] words, so that what belongs together lies together.
    fn points_per_row(&self) -> usize {
        (DEPTH_BLOCK * HALVES / self.0.c).clamp(1, POINTS)
    }

    /// Where the words of each point's first tile are, in those of a block of channels.
    fn points(&self) -> [usize; POINTS] {
        let per = self.points_per_row();
        std::array::from_fn(|point| point / per * self.tile_block() * ROW_STRIDE + point % per * (self.0.c / HALVES))
    }

    /// Words of the transformed inputs of a block of tiles and of [`DEPTH_BLOCK`] words of channels.
    fn block_len(&self) -> usize {
        POINTS.div_ceil(self.points_per_row()) * self.tile_block() * ROW_STRIDE
    }

    /// Words of scratch per thread: transformed inputs of a block of tiles, and its products with one panel.
    pub fn scratch_each(&self) -> usize {
        self.0.c.div_ceil(DEPTH_BLOCK * HALVES) * self.block_len() + POINTS * self.tile_block() * PANEL
    }

    /// `y = finish(conv(x - zero, filters))`; `u` as [`WholeWinograd::pack`] packs them.
    #[allow(clippy::too_many_arguments)]
    pub fn run<T: Real, S: Store<T>>(
        &self,
        dot: Dot,
        parts: usize,
        (x, zero): (&[u8], u8),
        u: &[i32],
        finish: Finish<'_, T>,
        store: S,
        y: &mut [S::Kept],
        scratch: &mut [i32],
    ) {
        self.0.for_parts((parts, SPEED), y, (scratch, self.scratch_each()), &|tiles, panels, mut y, scratch| {
            let tile_block = self.tile_block();
            let (v, m) = scratch.split_at_mut(scratch.len() - POINTS * tile_block * PANEL);
            let points = self.points();
            for tiles in blocks(tiles, tile_block) {
                self.transform_input(x, zero, tiles.clone(), &points, v);
                for panel in panels.clone() {
                    self.multiply(dot, &u[panel * self.panel_len()..][..self.panel_len()], tiles.len(), &points, v, m);
                    self.transform_output(m, tiles.clone(), panel * PANEL, finish, store, &mut y);
                }
            }
        });
    }

    /// `B^T x B` of some tiles: point `i` of tile `t` (counted from the first) and channel `c` at `c / 512 * block_len + points[i] +
    /// t * ROW_STRIDE` words and `c % 512` halves.
    #[inline(always)]
    fn transform_input(&self, x: &[u8], zero: u8, tiles: Range<usize>, points: &[usize; POINTS], to: &mut [i32]) {
        type T = Wrapping<i16>;
        let s = &self.0;
        let (block_len, to): (usize, &mut [i16]) = (self.block_len(), bytemuck::cast_slice_mut(to));
        let zeros = [zero; LANES];
        for (t, tile) in tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let (ys, y0) = clip(i, s.pad_h, SIDE, s.h);
            let (xs, x0) = clip(j, s.pad_w, SIDE, s.w);
            let mut d = [[&zeros; SIDE]; SIDE];
            for c in (0..s.c).step_by(LANES) {
                for y in ys.clone() {
                    let start = ((image * s.h + y0 + y - ys.start) * s.w + x0) * s.c + c;
                    for x_ in xs.clone() {
                        d[x_][y] = lane(&x[start + (x_ - xs.start) * s.c..]);
                    }
                }
                let (block, within) = (c / (DEPTH_BLOCK * HALVES), c % (DEPTH_BLOCK * HALVES));
                let first = block * block_len + t * ROW_STRIDE;
                both_axes!(T: d, |v| Wrapping(i16::from(v) - i16::from(zero)), input_axis SIDE -> SIDE, |y, values| {
                    for (x, value) in values.iter().enumerate() {
                        let words = first + points[y * SIDE + x];
                        let to = &mut to[words * HALVES + within..][..LANES];
                        for lane in 0..LANES {
                            to[lane] = value[lane].0;
                        }
                    }
                });
            }
        }
    }

    /// The products of every point with one panel of filters, to `[point][tile_block][PANEL]`.
    #[inline(always)]
    fn multiply(&self, dot: Dot, u: &[i32], tiles: usize, points: &[usize; POINTS], v: &[i32], m: &mut [i32]) {
        let tile_block = self.tile_block();
        let depth = self.0.c / HALVES;
        let (m, _) = m.as_chunks_mut::<PANEL>();
        for (point, m) in m.chunks_exact_mut(tile_block).enumerate() {
            let b = &u[point * self.point_len()..][..depth * PANEL];
            let ahead = u.get((point + 1) * self.point_len()..).map_or(&[][..], |u| &u[..u.len().min(b.len())]);
            let count = tiles.div_ceil(TILE_ROWS);
            for (i, rows) in blocks(0..tiles, TILE_ROWS).enumerate() {
                let t = Tile::<ROW_STRIDE> {
                    words: Words::Halves,
                    rows: rows.len(),
                    depth,
                    a: &v[points[point] + rows.start * ROW_STRIDE..],
                    run: DEPTH_BLOCK,
                    block: self.block_len(),
                    b,
                    ahead: &ahead[piece(ahead.len(), i, count)],
                };
                t.sum(dot, &mut m[rows]);
            }
        }
    }

    /// Sums of some tiles for one panel of outputs, finished and stored.
    #[inline(always)]
    fn transform_output<T: Real, S: Store<T>>(
        &self,
        m: &[i32],
        tiles: Range<usize>,
        column: usize,
        finish: Finish<'_, T>,
        store: S,
        y: &mut Window<'_, '_, S::Kept>,
    ) {
        type N = Wrapping<i32>;
        let s = &self.0;
        let panel = finish.panel(column, None);
        let point = self.tile_block() * PANEL;
        for (t, tile) in tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let m = &m[t * PANEL..][..(POINTS - 1) * point + LANES];
            let mut d = [[lane(m); SIDE]; SIDE];
            for y in 0..SIDE {
                for x in 0..SIDE {
                    d[x][y] = lane(&m[(y * SIDE + x) * point..]);
                }
            }
            both_axes!(N: d, |v| Wrapping(v), output_axis SIDE -> TILE, |dy, products| {
                if i + dy < s.oh {
                    let row = (image * s.oh + i + dy) * s.ow + j;
                    for (dx, products) in products.iter().enumerate().take(s.ow - j) {
                        let mut sums = [0; LANES];
                        for lane in 0..LANES {
                            // Exact: it is 576 times the sum, over 9, over 64.
                            sums[lane] = (products[lane] * NINTH).0 >> 6;
                        }
                        let to = y.part(row + dx, column, PANEL);
                        finish.row(&panel, &sums, (row + dx) * s.k + column, store, to);
                    }
                }
            });
        }
    }
}

/// The largest magnitude of a filter's sum over any bytes, and over any bytes less 128.
fn largest_sum(filter: &[i8]) -> u64 {
    let (mut negative, mut positive) = (0u64, 0u64);
    for w in filter {
        negative += u64::from(w.min(&0).unsigned_abs());
        positive += u64::from(w.max(&0).unsigned_abs());
    }
    255 * negative.max(positive)
}

/// Whether this form takes fewer cycles than the direct one, which does twice as many products in each, or waits for filters half as long.
fn pays(s: &Winograd) -> bool {
    let (tiles_h, tiles_w) = s.tiles();
    let (pixels, filters) = (s.n * s.oh * s.ow, FILTER * FILTER * s.c * s.k);
    let direct = (pixels * filters / (2 * SPEED.products)).max((filters as f64 / (2.0 * SPEED.filters)) as usize);
    s.cycles(SPEED, s.n * tiles_h * tiles_w, s.k / PANEL) < direct
}
