//! Winograd's convolution F(4x4, 3x3) for 3x3 filters with stride 1: every 4x4 output tile costs 36 multiplications per
//! channel pair instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).
//!
//! `y = A^T [(G w G^T) * (B^T x B)] A`, where the products over channels are 36 matrix products. A thread transforms a
//! block of input tiles, multiplies it with one panel of filters at a time and transforms that result back while it is
//! in cache.

// Tiles are small matrices: rows and columns are their notation.
#![allow(clippy::needless_range_loop)]

use super::gather::clip;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::{for_windows, multiply_panel};
use crate::engine::toolkit::cpu::isa::{Isa, Vectorised, vectorised};
use crate::engine::toolkit::cpu::microkernel::{BLOCK, DEPTH_BLOCK, Finish, PANEL, Packing, ROW_STRIDE, Window};
use crate::engine::toolkit::cpu::threads::{blocks, piece};
use std::ops::{Add, Mul, Range, Sub};

/// Output pixels of a tile along one axis; the input tile has two more.
pub const TILE: usize = 4;
pub const SIDE: usize = TILE + FILTER - 1;
/// Filter taps along one axis.
pub const FILTER: usize = 3;
/// Products per tile and channel pair.
pub const POINTS: usize = SIDE * SIDE;
/// Channels transformed together.
pub const LANES: usize = PANEL;
/// Tiles that one thread keeps transformed at a time.
const TILE_BLOCK: usize = 28;

pub type Lane<T> = [T; LANES];

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

/// What a thread does with transformed numbers in one cycle.
#[derive(Clone, Copy)]
pub struct Speed {
    /// Products with AVX-512; others are slower in everything.
    pub products: usize,
    /// Numbers of the filters that it can read meanwhile: of some 7 bytes, measured, from whichever cache or memory they are in.
    pub filters: f64,
}

/// Elements of the transformed filters, `[panel][point][c + 1][PANEL]`: one unused row, since transforms write all
/// points at once and a distance of a power of two would send them all to the same cache set.
pub fn packed_len(c: usize, k: usize) -> usize {
    POINTS * (c + 1) * k
}

/// Numbers that tiles are transformed in.
pub trait Ring: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    const ZERO: Self;
    /// A constant of the transforms; in integers a whole number.
    fn of(x: f64) -> Self;
}

impl<T: Real> Ring for T {
    const ZERO: T = T::ZERO;

    #[inline(always)]
    fn of(x: f64) -> T {
        T::of(x)
    }
}

/// Defines `fn $name(input) -> output` of one axis of a tile.
macro_rules! axis {
    ($(#[$doc:meta])* $name:ident $from:ident -> $to:ident, $t:ident, |$d:ident| $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<$t: $crate::engine::ops::conv2d::winograd::Ring>($d: [$t; $from]) -> [$t; $to] $body
    };
}
pub(in crate::engine::ops) use axis;

axis! {
    /// `B^T d`
    input_axis SIDE -> SIDE, T, |d| {
        let (two, four, five) = (T::of(2.0), T::of(4.0), T::of(5.0));
        let (even, odd) = (d[4] - four * d[2], d[3] - four * d[1]);
        let (even2, odd2) = (d[4] - d[2], two * (d[3] - d[1]));
        [
            four * d[0] - five * d[2] + d[4],
            even + odd,
            even - odd,
            even2 + odd2,
            even2 - odd2,
            four * d[1] - five * d[3] + d[5],
        ]
    }
}

axis! {
    /// `A^T m`
    output_axis SIDE -> TILE, T, |m| {
        let (two, four, eight) = (T::of(2.0), T::of(4.0), T::of(8.0));
        let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
        let (sum2, difference2) = (m[3] + m[4], m[3] - m[4]);
        [
            m[0] + sum + sum2,
            difference + two * difference2,
            sum + four * sum2,
            difference + eight * difference2 + m[5],
        ]
    }
}

axis! {
    /// `G g`
    filter_axis FILTER -> SIDE, T, |g| {
        let (sixth, twelfth) = (T::of(1.0 / 6.0), T::of(1.0 / 12.0));
        let outer = T::of(-1.0 / 6.0) * (g[0] + g[2]);
        let outer2 = T::of(1.0 / 24.0) * g[0] + sixth * g[2];
        [
            T::of(0.25) * g[0],
            outer - sixth * g[1],
            outer + sixth * g[1],
            outer2 + twelfth * g[1],
            outer2 - twelfth * g[1],
            g[2],
        ]
    }
}

/// The first lanes of a slice.
#[inline(always)]
pub fn lane<T>(from: &[T]) -> &Lane<T> {
    &from.as_chunks().0[0]
}

/// Transforms both axes of a tile, of which `$tile[column][row]` are references to lanes, and hands over the result row by row; `$number`
/// is what is made of an element first. Each axis is one loop over lanes, long enough that the compiler vectorises it instead of
/// unrolling it, and nothing is copied on the way: with lanes returned by value, transforms take three to five times as long.
macro_rules! both_axes {
    ($t:ty: $tile:expr, |$v:ident| $number:expr, $axis:ident $from:ident -> $to:ident, |$y:ident, $row:ident| $store:block) => {{
        let tile = &$tile;
        let mut half = [[[<$t>::ZERO; LANES]; $from]; $to];
        for x in 0..$from {
            let column = &tile[x];
            for lane in 0..LANES {
                let mut d = [<$t>::ZERO; $from];
                for y in 0..$from {
                    let $v = column[y][lane];
                    d[y] = $number;
                }
                let value = $axis(d);
                for y in 0..$to {
                    half[y][x][lane] = value[y];
                }
            }
        }
        for $y in 0..$to {
            let from = &half[$y];
            let mut $row = [[<$t>::ZERO; LANES]; $to];
            for lane in 0..LANES {
                let mut d = [<$t>::ZERO; $from];
                for x in 0..$from {
                    d[x] = from[x][lane];
                }
                let value = $axis(d);
                for x in 0..$to {
                    $row[x][lane] = value[x];
                }
            }
            $store
        }
    }};
}
pub(in crate::engine::ops) use both_axes;

/// Transforms filters, `depth` of them per output, a multiple of [`LANES`].
pub struct TransformFilters<'a, T, F> {
    pub depth: usize,
    pub panels: Range<usize>,
    /// `[panel][point][depth + 1][PANEL]` for these panels.
    pub to: &'a mut [T],
    /// `filter(first depth, panel, to)` copies the filters of `DEPTHS` depths.
    pub filter: F,
}

/// `[row * 3 + column][depth]` lanes of outputs.
pub type FilterBlock<T> = [[Lane<T>; DEPTHS]; 9];
/// Depths of filters transformed together.
pub const DEPTHS: usize = BLOCK;

impl<T: Real, F: Fn(usize, usize, &mut FilterBlock<T>)> Vectorised for TransformFilters<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let mut g = [[[T::ZERO; LANES]; DEPTHS]; 9];
        for (panel, to) in self.panels.zip(self.to.chunks_exact_mut(packed_len(self.depth, PANEL))) {
            for p0 in (0..self.depth).step_by(DEPTHS) {
                (self.filter)(p0, panel, &mut g);
                for p in 0..DEPTHS {
                    let column = |x: usize| [&g[x][p], &g[3 + x][p], &g[6 + x][p]];
                    let tile = [column(0), column(1), column(2)];
                    both_axes!(T: tile, |v| v, filter_axis FILTER -> SIDE, |y, row| {
                        for (x, value) in row.iter().enumerate() {
                            let at = ((y * SIDE + x) * (self.depth + 1) + p0 + p) * PANEL;
                            to[at..at + LANES].copy_from_slice(value);
                        }
                    });
                }
            }
        }
    }
}

/// Elements of scratch per thread: transformed inputs of a block of tiles, and its products with one panel.
pub fn scratch_each(c: usize) -> usize {
    c.div_ceil(DEPTH_BLOCK) * Transformed::of(c).block + POINTS * TILE_BLOCK * PANEL
}

/// Where transformed inputs of a block of tiles are kept: of every [`DEPTH_BLOCK`] channels, rows of [`ROW_STRIDE`] elements, a row for
/// each tile, which as many points share as it has room for, so that what belongs together lies together.
#[derive(Clone, Copy)]
struct Transformed {
    channels: usize,
    points_per_row: usize,
    /// Elements of one block of channels.
    block: usize,
}

impl Transformed {
    fn of(channels: usize) -> Self {
        let points_per_row = (DEPTH_BLOCK / channels).clamp(1, POINTS);
        let block = POINTS.div_ceil(points_per_row) * TILE_BLOCK * ROW_STRIDE;
        Transformed { channels, points_per_row, block }
    }

    /// Of the first tile.
    fn point(&self, point: usize) -> usize {
        point / self.points_per_row * TILE_BLOCK * ROW_STRIDE + point % self.points_per_row * self.channels
    }
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

    /// Cycles that so many tiles and panels of outputs take a thread: products, or reading the filters if that takes longer, and the
    /// transforms, which were measured.
    pub fn cycles(&self, speed: Speed, tiles: usize, panels: usize) -> usize {
        let (k, filters) = (panels * PANEL, POINTS * self.c * panels * PANEL);
        let products = filters * tiles / speed.products;
        products.max((filters as f64 / speed.filters) as usize) + tiles * (8 * self.c + 18 * k)
    }

    /// How many ways `parts` threads split the bands of tiles, and the outputs: where the busiest is done first.
    fn split(&self, speed: Speed, parts: usize) -> (usize, usize) {
        let (tiles_h, tiles_w) = self.tiles();
        let (bands, panels) = (self.n * tiles_h, self.k / PANEL);
        let cycles =
            |by_rows: usize| self.cycles(speed, bands.div_ceil(by_rows) * tiles_w, panels.div_ceil(parts / by_rows));
        let by_rows = (1..=parts.min(bands)).min_by_key(|r| cycles(*r)).unwrap_or(1);
        (by_rows, parts / by_rows)
    }

    /// Calls `job(tiles, panels, their part of y, its scratch)` for every one of `parts` threads, each with its own elements of scratch.
    pub fn for_parts<E: Send, S: Send>(
        &self,
        (parts, speed): (usize, Speed),
        y: &mut [E],
        scratch: (&mut [S], usize),
        job: &(impl Fn(Range<usize>, Range<usize>, Window<'_, '_, E>, &mut [S]) + Sync),
    ) {
        let (tiles_h, tiles_w) = self.tiles();
        let bands = self.n * tiles_h;
        // A thread's tiles are whole bands of tiles, so that its output rows are contiguous.
        let (by_rows, by_cols) = self.split(speed, parts);
        let first_pixel = |band: usize| (band / tiles_h * self.oh + band % tiles_h * TILE) * self.ow;
        let panels = |part| piece(self.k / PANEL, part, by_cols);
        let rows = |part| {
            let bands = piece(bands, part, by_rows);
            first_pixel(bands.start)..first_pixel(bands.end)
        };
        let columns = |part| panels(part).start * PANEL..panels(part).end * PANEL;
        for_windows(y, self.k, (by_rows, &rows), (by_cols, &columns), scratch, &|(i, j), y, scratch| {
            let bands = piece(bands, i, by_rows);
            job(bands.start * tiles_w..bands.end * tiles_w, panels(j), y, scratch);
        });
    }

    /// `y = finish(conv(x, filters))`; `u` as [`TransformFilters`] packs them.
    #[allow(clippy::too_many_arguments)]
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
        let speed = Speed { products: 64 / size_of::<T>(), filters: 7.0 / size_of::<T>() as f64 };
        self.for_parts((parts, speed), y, (scratch, scratch_each(self.c)), &|tiles, panels, mut y, scratch| {
            for tiles in blocks(tiles, TILE_BLOCK) {
                let lies = Transformed::of(self.c);
                let (v, m) = scratch.split_at_mut(self.c.div_ceil(DEPTH_BLOCK) * lies.block);
                let points: [usize; POINTS] = std::array::from_fn(|point| lies.point(point));
                let place = |tile: usize, channel: usize, point: usize| {
                    channel / DEPTH_BLOCK * lies.block + points[point] + tile * ROW_STRIDE + channel % DEPTH_BLOCK
                };
                let (tiles_now, channels) = (tiles.clone(), 0..self.c);
                vectorised(isa, TransformInput { sizes: self, x, tiles: tiles_now, channels, place, to: v });
                for panel in panels.clone() {
                    let u = &u[panel * packed_len(self.c, PANEL)..][..packed_len(self.c, PANEL)];
                    for (point, m) in m.chunks_exact_mut(TILE_BLOCK * PANEL).enumerate() {
                        for (block, start) in (0..self.c).step_by(DEPTH_BLOCK).enumerate() {
                            let depths = start..(start + DEPTH_BLOCK).min(self.c);
                            let a = &v[block * lies.block + points[point]..];
                            let at = (point * (self.c + 1) + depths.start) * PANEL;
                            let b = &u[at..][..depths.len() * PANEL];
                            let out = &mut m[..tiles.len() * PANEL];
                            let ahead = u.get(at + b.len()..).map_or(&[][..], |u| &u[..u.len().min(b.len())]);
                            multiply_panel(isa, Packing::Rows, depths.len(), a, b, ahead, depths.start > 0, out);
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

/// `B^T x B` of some tiles and channels. Point `i` of tile `t` (counted from the first) goes to `place(t, channel, i)`.
pub struct TransformInput<'a, T, P> {
    pub sizes: &'a Winograd,
    pub x: &'a [T],
    pub tiles: Range<usize>,
    pub channels: Range<usize>,
    pub place: P,
    pub to: &'a mut [T],
}

impl<T: Real, P: Fn(usize, usize, usize) -> usize> Vectorised for TransformInput<'_, T, P> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (s, zeros) = (self.sizes, [T::ZERO; LANES]);
        for (t, tile) in self.tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let (ys, y0) = clip(i, s.pad_h, SIDE, s.h);
            let (xs, x0) = clip(j, s.pad_w, SIDE, s.w);
            let mut d = [[&zeros; SIDE]; SIDE];
            for c in self.channels.clone().step_by(LANES) {
                for y in ys.clone() {
                    let start = ((image * s.h + y0 + y - ys.start) * s.w + x0) * s.c + c;
                    for x in xs.clone() {
                        d[x][y] = lane(&self.x[start + (x - xs.start) * s.c..]);
                    }
                }
                both_axes!(T: d, |v| v, input_axis SIDE -> SIDE, |y, row| {
                    for (x, value) in row.iter().enumerate() {
                        self.to[(self.place)(t, c, y * SIDE + x)..][..LANES].copy_from_slice(value);
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
    fn run<const FUSED: bool>(self) {
        let s = self.sizes;
        let f = self.finish;
        let bias = f.bias.map(|b| lane(&b[self.column..]));
        for (t, tile) in self.tiles.enumerate() {
            let (image, i, j) = s.tile_at(tile);
            let m = &self.m[t * PANEL..][..(POINTS - 1) * TILE_BLOCK * PANEL + LANES];
            let mut d = [[lane(m); SIDE]; SIDE];
            for y in 0..SIDE {
                for x in 0..SIDE {
                    d[x][y] = lane(&m[(y * SIDE + x) * TILE_BLOCK * PANEL..]);
                }
            }
            both_axes!(T: d, |v| v, output_axis SIDE -> TILE, |y, row| {
                if i + y < s.oh {
                    let line = (image * s.oh + i + y) * s.ow + j;
                    for (x, value) in row.iter().enumerate().take(s.ow - j) {
                        let residual = f.residual.map(|r| lane(&r[(line + x) * s.k + self.column..]));
                        let value = finish_lane(*value, bias, residual, f.slope);
                        self.y.part(line + x, self.column, LANES).copy_from_slice(&value);
                    }
                }
            });
        }
    }
}

#[inline(always)]
fn finish_lane<T: Real>(
    mut value: Lane<T>,
    bias: Option<&Lane<T>>,
    residual: Option<&Lane<T>>,
    slope: Option<T>,
) -> Lane<T> {
    for added in [bias, residual].into_iter().flatten() {
        for (value, added) in value.iter_mut().zip(added) {
            *value += *added;
        }
    }
    if let Some(slope) = slope {
        // Loops, as `map` of an array is not inlined. Not a product for ReLU: 0 * -inf is NaN.
        if slope == T::ZERO {
            for v in &mut value {
                *v = if *v < T::ZERO { T::ZERO } else { *v };
            }
        } else {
            for v in &mut value {
                *v = if *v < T::ZERO { *v * slope } else { *v };
            }
        }
    }
    value
}
