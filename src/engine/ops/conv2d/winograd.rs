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
fn input_axis<T: Real>(d: &[Lane<T>; SIDE]) -> [Lane<T>; SIDE] {
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
fn output_axis<T: Real>(m: &[Lane<T>; SIDE]) -> [Lane<T>; TILE] {
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
fn filter_axis<T: Real>(g: &[Lane<T>; 3]) -> [Lane<T>; SIDE] {
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
pub fn lane<T: Real>(from: &[T]) -> Lane<T> {
    let mut out = [T::ZERO; LANES];
    out.copy_from_slice(&from[..LANES]);
    out
}

/// Transforms both axes of a tile: `$axis` maps `$from` lanes to the listed ones. Written out: lanes that are indexed by
/// a loop variable would live in memory instead of registers.
macro_rules! both_axes {
    ($tile:expr, $axis:ident, $from:literal, [$($o:literal $name:ident)*], |$y:ident, $row:ident| $store:block) => {{
        let mut half = [[[T::ZERO; LANES]; $from]; [$($o),*].len()];
        for x in 0..$from {
            let [$($name),*] = $axis(&$tile[x]);
            $(half[$o][x] = $name;)*
        }
        for $y in 0..half.len() {
            let $row = $axis(&half[$y]);
            $store
        }
    }};
}
pub(super) use both_axes;

/// Transforms filters, `depth` of them per output, a multiple of [`LANES`].
pub struct TransformFilters<'a, T, F> {
    pub depth: usize,
    pub panels: Range<usize>,
    /// `[panel][point][depth][PANEL]` for these panels.
    pub to: &'a mut [T],
    /// `filter(first depth, first output, to)` copies `[3 * 3][LANES depths]` lanes of outputs.
    pub filter: F,
}

/// `[row * 3 + column][depth]` lanes of outputs.
pub type FilterBlock<T> = [[Lane<T>; LANES]; 9];

impl<T: Real, F: Fn(usize, usize, &mut FilterBlock<T>)> Vectorised for TransformFilters<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut g = [[[T::ZERO; LANES]; LANES]; 9];
        for (panel, to) in self.panels.zip(self.to.chunks_exact_mut(POINTS * self.depth * PANEL)) {
            for p0 in (0..self.depth).step_by(LANES) {
                for half in (0..PANEL).step_by(LANES) {
                    (self.filter)(p0, panel * PANEL + half, &mut g);
                    for p in 0..LANES {
                        let tile =
                            [[g[0][p], g[3][p], g[6][p]], [g[1][p], g[4][p], g[7][p]], [g[2][p], g[5][p], g[8][p]]];
                        both_axes!(tile, filter_axis, 3, [0 a 1 b 2 c 3 d 4 e 5 f], |y, row| {
                            for (x, value) in row.iter().enumerate() {
                                let at = ((y * SIDE + x) * self.depth + p0 + p) * PANEL + half;
                                to[at..at + LANES].copy_from_slice(value);
                            }
                        });
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
    /// Rows and columns of tiles per image.
    pub fn tiles(&self) -> (usize, usize) {
        (self.oh.div_ceil(TILE), self.ow.div_ceil(TILE))
    }

    /// Image, row and column of a tile's first output pixel.
    #[inline(always)]
    pub fn tile_at(&self, tile: usize) -> (usize, usize, usize) {
        let (tiles_h, tiles_w) = self.tiles();
        let band = tile / tiles_w;
        (band / tiles_h, band % tiles_h * TILE, tile % tiles_w * TILE)
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
                let place =
                    |t: usize, c: usize| (c / DEPTH_BLOCK * POINTS * TILE_BLOCK + t) * ROW_STRIDE + c % DEPTH_BLOCK;
                let point = TILE_BLOCK * ROW_STRIDE;
                let (tiles_now, channels) = (tiles.clone(), 0..self.c);
                vectorised(isa, TransformInput { sizes: self, x, tiles: tiles_now, channels, place, point, to: v });
                for panel in panels(j) {
                    let u = &u[panel * POINTS * self.c * PANEL..][..POINTS * self.c * PANEL];
                    for (point, m) in m.chunks_exact_mut(TILE_BLOCK * PANEL).enumerate() {
                        for (block, start) in (0..self.c).step_by(DEPTH_BLOCK).enumerate() {
                            let depths = start..(start + DEPTH_BLOCK).min(self.c);
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

/// `B^T x B` of some tiles and channels. Point `i` of tile `t` (counted from the first) goes to
/// `place(t, channel) + i * point`.
pub struct TransformInput<'a, T, P> {
    pub sizes: &'a Winograd,
    pub x: &'a [T],
    pub tiles: Range<usize>,
    pub channels: Range<usize>,
    pub place: P,
    pub point: usize,
    pub to: &'a mut [T],
}

impl<T: Real, P: Fn(usize, usize) -> usize> Vectorised for TransformInput<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let s = self.sizes;
        for (t, tile) in self.tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let (ys, y0) = clip(i, s.pad_h, SIDE, s.h);
            let (xs, x0) = clip(j, s.pad_w, SIDE, s.w);
            let mut d = [[[T::ZERO; LANES]; SIDE]; SIDE];
            for c in self.channels.clone().step_by(LANES) {
                for y in ys.clone() {
                    let start = ((image * s.h + y0 + y - ys.start) * s.w + x0) * s.c + c;
                    for x in xs.clone() {
                        d[x][y] = lane(&self.x[start + (x - xs.start) * s.c..]);
                    }
                }
                let to = &mut self.to[(self.place)(t, c)..][..(POINTS - 1) * self.point + LANES];
                both_axes!(d, input_axis, 6, [0 a 1 b 2 c 3 d 4 e 5 f], |y, row| {
                    for (x, value) in row.iter().enumerate() {
                        to[(y * SIDE + x) * self.point..][..LANES].copy_from_slice(value);
                    }
                });
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
        let f = self.finish;
        let mut d = [[[T::ZERO; LANES]; SIDE]; SIDE];
        for (t, tile) in self.tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            for half in (0..PANEL).step_by(LANES) {
                let column = self.column + half;
                let bias = f.bias.map_or([T::ZERO; LANES], |b| lane(&b[column..]));
                let m = &self.m[t * PANEL + half..][..(POINTS - 1) * TILE_BLOCK * PANEL + LANES];
                for y in 0..SIDE {
                    for x in 0..SIDE {
                        d[x][y] = lane(&m[(y * SIDE + x) * TILE_BLOCK * PANEL..]);
                    }
                }
                both_axes!(d, output_axis, 6, [0 a 1 b 2 c 3 d], |y, row| {
                    if i + y < s.oh {
                        let line = (image * s.oh + i + y) * s.ow + j;
                        for (x, value) in row.iter().enumerate().take(s.ow - j) {
                            let mut value = each(|l| value[l] + bias[l]);
                            if let Some(residual) = f.residual {
                                let residual = lane(&residual[(line + x) * s.k + column..]);
                                value = each(|l| value[l] + residual[l]);
                            }
                            if let Some(slope) = f.slope {
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
                });
            }
        }
    }
}
