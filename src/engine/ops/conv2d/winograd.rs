//! Winograd's convolution F(4x4, 3x3) for 3x3 filters with stride 1: every 4x4 output tile costs 36 multiplications per
//! channel pair instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).
//!
//! `y = A^T [(G w G^T) * (B^T x B)] A`, where the products over channels are 36 matrix products. A thread transforms a
//! block of input tiles, multiplies it with one panel of filters at a time and transforms that result back while it is
//! in cache.

use super::gather::clip;
use crate::engine::device::cpu::gemm::{for_windows, multiply_panel, split};
use crate::engine::device::cpu::microkernel::{
    DEPTH_BLOCK, Finish, Isa, Layout, PANEL, ROW_STRIDE, Vectorised, Window, vectorised,
};
use crate::engine::device::cpu::threads::{blocks, piece};
use crate::engine::real::Real;
use std::ops::Range;

/// Output pixels of a tile along one axis; the input tile has two more.
const TILE: usize = 4;
const SIDE: usize = TILE + 2;
/// Products per tile and channel pair.
const POINTS: usize = SIDE * SIDE;
/// Channels transformed together.
pub const LANES: usize = 16;
/// Tiles that one thread keeps transformed at a time.
const TILE_BLOCK: usize = 28;

type Lane<T> = [T; LANES];

/// Sizes of a stride-1 3x3 convolution; `c` and `k` are multiples of [`PANEL`].
#[derive(Clone, Copy)]
pub struct Winograd {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub pad_h: usize,
    pub pad_w: usize,
    pub oh: usize,
    pub ow: usize,
}

/// Elements of the transformed filters.
pub fn packed_len(c: usize, k: usize) -> usize {
    POINTS * c * k
}

#[inline(always)]
fn each<T: Real>(f: impl Fn(usize) -> T) -> Lane<T> {
    let mut out = [T::ZERO; LANES];
    for (l, out) in out.iter_mut().enumerate() {
        *out = f(l);
    }
    out
}

/// `B^T d`
#[inline(always)]
fn input_axis<T: Real>(d: [Lane<T>; SIDE]) -> [Lane<T>; SIDE] {
    let (two, four, five) = (T::of(2.0), T::of(4.0), T::of(5.0));
    let even = each(|l| d[4][l] - four * d[2][l]);
    let odd = each(|l| d[3][l] - four * d[1][l]);
    let even2 = each(|l| d[4][l] - d[2][l]);
    let odd2 = each(|l| two * (d[3][l] - d[1][l]));
    [
        each(|l| four * d[0][l] - five * d[2][l] + d[4][l]),
        each(|l| even[l] + odd[l]),
        each(|l| even[l] - odd[l]),
        each(|l| even2[l] + odd2[l]),
        each(|l| even2[l] - odd2[l]),
        each(|l| four * d[1][l] - five * d[3][l] + d[5][l]),
    ]
}

/// `A^T m`
#[inline(always)]
fn output_axis<T: Real>(m: [Lane<T>; SIDE]) -> [Lane<T>; TILE] {
    let (two, four, eight) = (T::of(2.0), T::of(4.0), T::of(8.0));
    let sum = each(|l| m[1][l] + m[2][l]);
    let difference = each(|l| m[1][l] - m[2][l]);
    let sum2 = each(|l| m[3][l] + m[4][l]);
    let difference2 = each(|l| m[3][l] - m[4][l]);
    [
        each(|l| m[0][l] + sum[l] + sum2[l]),
        each(|l| difference[l] + two * difference2[l]),
        each(|l| sum[l] + four * sum2[l]),
        each(|l| difference[l] + eight * difference2[l] + m[5][l]),
    ]
}

/// `G g`
#[inline(always)]
fn filter_axis<T: Real>(g: [Lane<T>; 3]) -> [Lane<T>; SIDE] {
    let sum = each(|l| T::of(-1.0 / 6.0) * (g[0][l] + g[2][l]));
    let sum2 = each(|l| T::of(1.0 / 24.0) * g[0][l] + T::of(1.0 / 6.0) * g[2][l]);
    [
        each(|l| T::of(0.25) * g[0][l]),
        each(|l| sum[l] - T::of(1.0 / 6.0) * g[1][l]),
        each(|l| sum[l] + T::of(1.0 / 6.0) * g[1][l]),
        each(|l| sum2[l] + T::of(1.0 / 12.0) * g[1][l]),
        each(|l| sum2[l] - T::of(1.0 / 12.0) * g[1][l]),
        g[2],
    ]
}

#[inline(always)]
fn lane<T: Real>(from: &[T]) -> Lane<T> {
    let mut out = [T::ZERO; LANES];
    out.copy_from_slice(&from[..LANES]);
    out
}

/// Transforms filters: `filter(row, column, depth, to)` copies the weights of `LANES` outputs from `column` (of the
/// result) on for one depth and filter position.
pub struct TransformFilters<'a, T, F> {
    pub depth: usize,
    pub panels: Range<usize>,
    /// `[panel][point][depth][PANEL]` for these panels.
    pub to: &'a mut [T],
    pub filter: F,
}

impl<T: Real, F: Fn(usize, usize, usize, usize) -> Lane<T>> Vectorised for TransformFilters<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (panel, to) in self.panels.zip(self.to.chunks_exact_mut(POINTS * self.depth * PANEL)) {
            for p in 0..self.depth {
                for half in (0..PANEL).step_by(LANES) {
                    let column = panel * PANEL + half;
                    let mut rows = [[[T::ZERO; LANES]; 3]; SIDE];
                    for v in 0..3 {
                        let g = [0, 1, 2].map(|u| (self.filter)(u, v, p, column));
                        for (row, value) in rows.iter_mut().zip(filter_axis(g)) {
                            row[v] = value;
                        }
                    }
                    for (y, row) in rows.into_iter().enumerate() {
                        for (x, value) in filter_axis(row).into_iter().enumerate() {
                            let at = ((y * SIDE + x) * self.depth + p) * PANEL + half;
                            to[at..at + LANES].copy_from_slice(&value);
                        }
                    }
                }
            }
        }
    }
}

/// Elements of scratch per thread: transformed inputs of a block of tiles, and its products with one panel.
pub fn scratch_each(c: usize) -> usize {
    POINTS * TILE_BLOCK * (c.div_ceil(DEPTH_BLOCK) * ROW_STRIDE + PANEL)
}

impl Winograd {
    fn tiles(&self) -> (usize, usize) {
        (self.oh.div_ceil(TILE), self.ow.div_ceil(TILE))
    }

    /// `y = finish(conv(x, filters))`; `u` as [`TransformFilters`] packs them.
    pub fn run<T: Real>(
        &self,
        isa: Isa,
        parts: usize,
        x: &[T],
        u: &[T],
        finish: Finish<'_, T>,
        y: &mut [T],
        scratch: &mut [T],
    ) {
        let (tiles_h, tiles_w) = self.tiles();
        let bands = self.n * tiles_h;
        let (by_rows, by_cols) = split(parts, bands * tiles_w, self.k);
        // A thread's tiles are whole bands of tiles, so that its output rows are contiguous.
        let by_rows = by_rows.min(bands);
        let first_pixel = |band: usize| (band / tiles_h * self.oh + band % tiles_h * TILE) * self.ow;
        let panels = |part| piece(self.k / PANEL, part, by_cols);
        let rows = |part| {
            let bands = piece(bands, part, by_rows);
            first_pixel(bands.start)..first_pixel(bands.end)
        };
        let columns = |part| panels(part).start * PANEL..panels(part).end * PANEL;
        let scratch = (scratch, scratch_each(self.c));
        for_windows(y, self.k, (by_rows, &rows), (by_cols, &columns), scratch, &|(i, j), mut y, scratch| {
            let bands = piece(bands, i, by_rows);
            for tiles in blocks(bands.start * tiles_w..bands.end * tiles_w, TILE_BLOCK) {
                let (v, m) = scratch.split_at_mut(POINTS * TILE_BLOCK * self.c.div_ceil(DEPTH_BLOCK) * ROW_STRIDE);
                vectorised(isa, TransformInput { sizes: self, x, tiles: tiles.clone(), to: v });
                for panel in panels(j) {
                    let u = &u[panel * POINTS * self.c * PANEL..][..POINTS * self.c * PANEL];
                    for (point, m) in m.chunks_exact_mut(TILE_BLOCK * PANEL).enumerate() {
                        for (block, depths) in blocks(0..self.c, DEPTH_BLOCK).enumerate() {
                            let a = &v[(block * POINTS + point) * TILE_BLOCK * ROW_STRIDE..];
                            let b = &u[(point * self.c + depths.start) * PANEL..][..depths.len() * PANEL];
                            let out = &mut m[..tiles.len() * PANEL];
                            multiply_panel(isa, Layout::Rows, depths.len(), a, b, depths.start > 0, out);
                        }
                    }
                    let column = panel * PANEL;
                    let tiles = tiles.clone();
                    vectorised(isa, TransformOutput { sizes: self, m, tiles, column, finish, y: &mut y });
                }
            }
        });
    }
}

/// `B^T x B` of some tiles, `[depth block][point][tile][ROW_STRIDE]`.
struct TransformInput<'a, T> {
    sizes: &'a Winograd,
    x: &'a [T],
    tiles: Range<usize>,
    to: &'a mut [T],
}

impl<T: Real> Vectorised for TransformInput<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let s = self.sizes;
        let (tiles_h, tiles_w) = s.tiles();
        for (t, tile) in self.tiles.enumerate() {
            let (band, j) = (tile / tiles_w, tile % tiles_w);
            let (image, i) = (band / tiles_h, band % tiles_h);
            let (ys, y0) = clip(i * TILE, s.pad_h, SIDE, s.h);
            let (xs, x0) = clip(j * TILE, s.pad_w, SIDE, s.w);
            for (block, depths) in blocks(0..s.c, DEPTH_BLOCK).enumerate() {
                for c in depths.clone().step_by(LANES) {
                    let mut d = [[[T::ZERO; LANES]; SIDE]; SIDE];
                    for y in ys.clone() {
                        let line = (image * s.h + y0 + y - ys.start) * s.w + x0;
                        for x in xs.clone() {
                            d[x][y] = lane(&self.x[(line + x - xs.start) * s.c + c..]);
                        }
                    }
                    let columns = d.map(input_axis);
                    for y in 0..SIDE {
                        let row = input_axis(std::array::from_fn(|x| columns[x][y]));
                        for (x, value) in row.into_iter().enumerate() {
                            let at = ((block * POINTS + y * SIDE + x) * TILE_BLOCK + t) * ROW_STRIDE + c - depths.start;
                            self.to[at..at + LANES].copy_from_slice(&value);
                        }
                    }
                }
            }
        }
    }
}

/// `A^T m A` of some tiles for one panel of outputs, finished and stored.
struct TransformOutput<'a, 'b, 'c, T> {
    sizes: &'a Winograd,
    /// `[point][TILE_BLOCK][PANEL]`
    m: &'a [T],
    tiles: Range<usize>,
    column: usize,
    finish: Finish<'a, T>,
    y: &'a mut Window<'b, 'c, T>,
}

impl<T: Real> Vectorised for TransformOutput<'_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let s = self.sizes;
        let (tiles_h, tiles_w) = s.tiles();
        for (t, tile) in self.tiles.enumerate() {
            let (band, j) = (tile / tiles_w, tile % tiles_w);
            let (image, i) = (band / tiles_h, band % tiles_h);
            for half in (0..PANEL).step_by(LANES) {
                let column = self.column + half;
                let bias = self.finish.bias.map_or([T::ZERO; LANES], |b| lane(&b[column..]));
                let columns: [[Lane<T>; TILE]; SIDE] = std::array::from_fn(|x| {
                    output_axis(std::array::from_fn(|y| {
                        lane(&self.m[((y * SIDE + x) * TILE_BLOCK + t) * PANEL + half..])
                    }))
                });
                for y in 0..TILE.min(s.oh - i * TILE) {
                    let row = output_axis(std::array::from_fn(|x| columns[x][y]));
                    let line = (image * s.oh + i * TILE + y) * s.ow + j * TILE;
                    for (x, value) in row.into_iter().enumerate().take(s.ow - j * TILE) {
                        let mut value = each(|l| value[l] + bias[l]);
                        if let Some(residual) = self.finish.residual {
                            let residual = lane(&residual[(line + x) * s.k + column..]);
                            value = each(|l| value[l] + residual[l]);
                        }
                        if let Some(slope) = self.finish.slope {
                            // Not a product for ReLU: 0 * -inf is NaN.
                            value = if slope == T::ZERO {
                                each(|l| if value[l] < T::ZERO { T::ZERO } else { value[l] })
                            } else {
                                each(|l| if value[l] < T::ZERO { value[l] * slope } else { value[l] })
                            };
                        }
                        self.y.part(line + x, column, LANES).copy_from_slice(&value);
                    }
                }
            }
        }
    }
}
