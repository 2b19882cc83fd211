//! Blocked matrix products over operands that are packed while they are computed (implicit GEMM): the left operand of a
//! convolution is never materialised, only one cache-sized block of it at a time.
//!
//! * [`multiply_rows`]: `out[pixel, cols] = left[pixel, depth] * b[depth, cols]`, `b` packed by [`pack_transposed`] or
//!   `pack_plain_row`.
//! * [`multiply_columns`]: `out[rows, cols] = left[depth, rows]^T * right[depth, cols]`, both packed block by block.
//!
//! Blocking: [`ROW_BLOCK`] x `DEPTH_BLOCK` of the left operand stay in L2 while panels of `b` stream past; one tile's
//! rows and one panel stay in L1. Threads split rows, columns or both (see [`split`]).

use super::isa::Isa;
use super::isa::wide;
use super::microkernel::{
    BLOCK, COLUMN_STRIDE, DEPTH_BLOCK, Finish, PANEL, Packing, ROW_STRIDE, TILE_ROWS, Tile, TileOut, Window,
    transpose_block,
};
use super::threads::{blocks, for_parts, piece};
use crate::engine::real::Real;
use std::ops::Range;

/// Rows of the left operand packed at once (a multiple of [`TILE_ROWS`]).
pub const ROW_BLOCK: usize = 16 * TILE_ROWS;
/// Panels of the right operand that [`multiply_columns`] packs at once.
const PANEL_BLOCK: usize = 12;

/// Elements of a right operand once packed.
pub fn packed_len(depth: usize, cols: usize) -> usize {
    depth * cols.next_multiple_of(PANEL)
}

/// How many ways `parts` threads split rows and columns: the split with the least work for the busiest thread.
/// Per unit of depth a thread spends about one cycle per row and panel, and half a cycle per row and column to fetch or
/// pack its operands; the second term makes few rows split by columns, so that no thread reads all the weights.
pub fn split(parts: usize, rows: usize, cols: usize) -> (usize, usize) {
    let (tiles, panels) = (rows.div_ceil(TILE_ROWS).max(1), cols.div_ceil(PANEL).max(1));
    let cost = |by_rows: usize| {
        let rows = tiles.div_ceil(by_rows) * TILE_ROWS;
        let panels = panels.div_ceil(parts / by_rows);
        2 * rows * panels + rows + panels * PANEL
    };
    let by_rows = (1..=parts.max(1)).min_by_key(|&r| cost(r)).unwrap_or(1);
    (by_rows, parts / by_rows)
}

/// The output of [`multiply_rows`]: `n` images of `h x w` pixels with `c` columns each, written in `step_h * step_w`
/// phases; phase `(a, b)` holds the pixels `(a + i * step_h, b + j * step_w)`, in that order.
#[derive(Clone, Copy, Debug)]
pub struct OutGrid {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub step_h: usize,
    pub step_w: usize,
}

impl OutGrid {
    /// Height and width of a phase.
    pub fn phase(&self, a: usize, b: usize) -> (usize, usize) {
        (self.h.saturating_sub(a).div_ceil(self.step_h), self.w.saturating_sub(b).div_ceil(self.step_w))
    }

    /// What thread `part` of `parts` computes: phases, each with rows and panels of columns. No two threads have an element in common.
    pub fn pieces(
        &self,
        part: usize,
        parts: usize,
    ) -> impl Iterator<Item = ((usize, usize), Range<usize>, Range<usize>)> + '_ {
        let phases = (0..self.step_h).flat_map(move |a| (0..self.step_w).map(move |b| (a, b)));
        phases.filter_map(move |(a, b)| {
            let (h, w) = self.phase(a, b);
            let rows = self.n * h * w;
            let (by_rows, by_cols) = split(parts, rows, self.c);
            // Whole tiles per thread, so that only one of them has a short one.
            let tiles = piece(rows.div_ceil(TILE_ROWS), part % by_rows, by_rows);
            let rows = tiles.start * TILE_ROWS..(tiles.end * TILE_ROWS).min(rows);
            let panels = piece(self.c.div_ceil(PANEL), part / by_rows, by_cols);
            (part < by_rows * by_cols && !rows.is_empty()).then_some(((a, b), rows, panels))
        })
    }

    pub fn offset(&self, (a, b): (usize, usize), row: usize) -> usize {
        if self.step_h * self.step_w == 1 {
            return row * self.c;
        }
        let (h, w) = self.phase(a, b);
        let (line, j) = (row / w, row % w);
        let (image, i) = (line / h, line % h);
        ((image * self.h + a + i * self.step_h) * self.w + b + j * self.step_w) * self.c
    }
}

/// A left operand that can be produced block by block.
pub trait LeftRows<T>: Sync {
    /// Writes element (row, depth) to `(row - rows.start) * stride + (depth - depths.start)`.
    fn fill(&self, rows: Range<usize>, depths: Range<usize>, to: &mut [T], stride: usize);
}

/// A right operand that can be produced block by block.
pub trait RightPanels<T>: Sync {
    /// Writes element (depth, column) for all columns of `panels`, packed as `[panel][depth - depths.start][PANEL]`.
    /// Columns past the last may hold anything.
    fn fill(&self, depths: Range<usize>, panels: Range<usize>, to: &mut [T]);
}

/// One phase's product.
pub struct RowsJob<'a, T, L> {
    pub left: L,
    pub depth: usize,
    /// Packed, `packed_len(depth, grid.c)` elements.
    pub b: &'a [T],
}

/// Scratch elements per thread of [`multiply_rows`].
pub const ROWS_SCRATCH: usize = ROW_BLOCK * ROW_STRIDE;

/// Computes every pixel of `out`; `job(a, b)` gives the product of a phase. `finish.bias` has one value per column.
pub fn multiply_rows<'a, T: Real, L: LeftRows<T>>(
    isa: Isa,
    parts: usize,
    grid: OutGrid,
    job: &(impl Fn(usize, usize) -> RowsJob<'a, T, L> + Sync),
    finish: Finish<'_, T>,
    out: &mut [T],
    scratch: &mut [T],
) {
    assert_eq!(out.len(), grid.n * grid.h * grid.w * grid.c);
    let out = TileOut::new(out);
    for_parts(parts, scratch, ROWS_SCRATCH, &|part, scratch: &mut [T]| {
        wide!({
            for ((a, b), rows, panels) in grid.pieces(part, parts) {
                // SAFETY: no two (part, phase) share an element: phases hold different pixels, and within a phase the
                // parts hold different rows or different columns.
                unsafe { rows_part(isa, &grid, (a, b), &job(a, b), rows, panels, finish, &out, scratch) };
            }
        })
    });
}

/// # Safety
/// No other thread touches these rows and panels of the phase.
#[allow(clippy::too_many_arguments)]
unsafe fn rows_part<T: Real, L: LeftRows<T>>(
    isa: Isa,
    grid: &OutGrid,
    phase: (usize, usize),
    job: &RowsJob<'_, T, L>,
    rows: Range<usize>,
    panels: Range<usize>,
    finish: Finish<'_, T>,
    out: &TileOut<'_, T>,
    scratch: &mut [T],
) {
    let mut places = [0; ROW_BLOCK];
    for rows in blocks(rows, ROW_BLOCK) {
        for (place, row) in places.iter_mut().zip(rows.clone()) {
            *place = grid.offset(phase, row);
        }
        let mut depths = blocks(0..job.depth, DEPTH_BLOCK).peekable();
        // A phase that no filter tap reaches has depth 0 and is still written once.
        let mut next = Some(depths.next().unwrap_or(0..0));
        while let Some(depth) = next {
            next = depths.next();
            let last = next.is_none();
            job.left.fill(rows.clone(), depth.clone(), scratch, ROW_STRIDE);
            for panel in panels.clone() {
                let column = panel * PANEL;
                let cols = (grid.c - column).min(PANEL);
                let b = |panel: usize, depth: &Range<usize>| {
                    &job.b[(panel * job.depth + depth.start) * PANEL..][..depth.len() * PANEL]
                };
                let ahead = match &next {
                    _ if panel + 1 < panels.end => b(panel + 1, &depth),
                    Some(next) => b(panels.start, next),
                    None => &[],
                };
                let tiles = rows.len().div_ceil(TILE_ROWS);
                let b = b(panel, &depth);
                let bias = finish.bias.map(|b| &b[column..]);
                for (i, tile) in blocks(0..rows.len(), TILE_ROWS).enumerate() {
                    let mut at = [0; TILE_ROWS];
                    for (at, place) in at.iter_mut().zip(&places[tile.clone()]) {
                        *at = place + column;
                    }
                    let tile = Tile {
                        depth: depth.len(),
                        cols,
                        packing: Packing::Rows,
                        a: &scratch[tile.start * ROW_STRIDE..],
                        b,
                        ahead: &ahead[piece(ahead.len(), i, tiles)],
                        rows: &at[..tile.len()],
                        accumulate: depth.start > 0,
                        finish: last.then_some(Finish { bias, ..finish }),
                    };
                    // SAFETY: the caller's promise.
                    unsafe { tile.store_into(isa, out) };
                }
            }
        }
    }
}

/// One thread's `out[rows, columns] = a * b` for packed operands: `a` in `packing`, `b` one panel, `out` row-major with
/// rows of `PANEL`. With `accumulate`, added to `out`. `ahead`: what will be read next, see [`Tile`].
#[allow(clippy::too_many_arguments)]
pub fn multiply_panel<T: Real>(
    isa: Isa,
    packing: Packing,
    depth: usize,
    a: &[T],
    b: &[T],
    ahead: &[T],
    accumulate: bool,
    out: &mut [T],
) {
    let rows = out.len() / PANEL;
    let out = TileOut::new(out);
    let tiles = rows.div_ceil(TILE_ROWS);
    for (i, tile) in blocks(0..rows, TILE_ROWS).enumerate() {
        let mut at = [0; TILE_ROWS];
        for (at, row) in at.iter_mut().zip(tile.clone()) {
            *at = row * PANEL;
        }
        let a = &a[tile.start * packing.strides().0..];
        let ahead = &ahead[piece(ahead.len(), i, tiles)];
        let rows = &at[..tile.len()];
        let tile = Tile { depth, cols: PANEL, packing, a, b, ahead, rows, accumulate, finish: None };
        // SAFETY: `out` is borrowed exclusively and not shared.
        unsafe { tile.store_into(isa, &out) };
    }
}

/// Lends `out`, rows of `row_len`, to `by_rows * by_cols` threads: `rows(i)` are the i-th row part's, `columns(j)` the
/// j-th column part's; the parts must follow each other. Each thread has `each` elements of scratch.
pub fn for_windows<E: Send, T: Send>(
    out: &mut [E],
    row_len: usize,
    (by_rows, rows): (usize, &(impl Fn(usize) -> Range<usize> + Sync)),
    (by_cols, columns): (usize, &(impl Fn(usize) -> Range<usize> + Sync)),
    (scratch, each): (&mut [T], usize),
    job: &(impl Fn((usize, usize), Window<'_, '_, E>, &mut [T]) + Sync),
) {
    for (parts, range) in [(by_rows, rows as &dyn Fn(usize) -> Range<usize>), (by_cols, columns)] {
        assert!((1..parts).all(|i| range(i - 1).end <= range(i).start), "parts of an output must not overlap");
    }
    let out = TileOut::new(out);
    for_parts(by_rows * by_cols, scratch, each, &|part, scratch: &mut [T]| {
        wide!({
            let (i, j) = (part % by_rows, part / by_rows);
            // SAFETY: the parts' rows follow each other, and so do their columns (asserted above).
            let window = unsafe { Window::new(&out, row_len, rows(i), columns(j)) };
            job((i, j), window, scratch);
        })
    });
}

/// Scratch elements per thread of [`multiply_columns`].
pub const COLUMNS_SCRATCH: usize =
    PANEL_BLOCK * DEPTH_BLOCK * PANEL + ROW_BLOCK.div_ceil(TILE_ROWS) * DEPTH_BLOCK * COLUMN_STRIDE;

/// `out[rows, cols] = left[depth, rows]^T * right[depth, cols]`, all row-major.
#[allow(clippy::too_many_arguments)]
pub fn multiply_columns<T: Real>(
    isa: Isa,
    parts: usize,
    (depth, rows, cols): (usize, usize, usize),
    left: &[T],
    right: &impl RightPanels<T>,
    out: &mut [T],
    scratch: &mut [T],
) {
    assert_eq!(left.len(), depth * rows);
    assert_eq!(out.len(), rows * cols);
    let out = TileOut::new(out);
    let (by_rows, by_cols) = split(parts, rows, cols);
    for_parts(by_rows * by_cols, scratch, COLUMNS_SCRATCH, &|part, scratch: &mut [T]| {
        wide!({
            let (packed_right, packed_left) = scratch.split_at_mut(PANEL_BLOCK * DEPTH_BLOCK * PANEL);
            let tiles = piece(rows.div_ceil(TILE_ROWS), part % by_rows, by_rows);
            let my_rows = tiles.start * TILE_ROWS..(tiles.end * TILE_ROWS).min(rows);
            for panels in blocks(piece(cols.div_ceil(PANEL), part / by_rows, by_cols), PANEL_BLOCK) {
                for depths in blocks(0..depth, DEPTH_BLOCK) {
                    right.fill(depths.clone(), panels.clone(), packed_right);
                    for rows_now in blocks(my_rows.clone(), ROW_BLOCK) {
                        for (tile, to) in blocks(rows_now.clone(), TILE_ROWS)
                            .zip(packed_left.chunks_exact_mut(DEPTH_BLOCK * COLUMN_STRIDE))
                        {
                            pack_columns(left, rows, depths.clone(), tile, to);
                        }
                        for panel in panels.clone() {
                            let column = panel * PANEL;
                            let panel_start = (panel - panels.start) * depths.len() * PANEL;
                            for (i, tile) in blocks(rows_now.clone(), TILE_ROWS).enumerate() {
                                let mut at = [0; TILE_ROWS];
                                for (at, row) in at.iter_mut().zip(tile.clone()) {
                                    *at = row * cols + column;
                                }
                                let tile = Tile {
                                    depth: depths.len(),
                                    cols: (cols - column).min(PANEL),
                                    packing: Packing::Columns,
                                    a: &packed_left[i * DEPTH_BLOCK * COLUMN_STRIDE..],
                                    b: &packed_right[panel_start..][..depths.len() * PANEL],
                                    ahead: &[],
                                    rows: &at[..tile.len()],
                                    accumulate: depths.start > 0,
                                    finish: None,
                                };
                                // SAFETY: parts hold different rows or different columns of `out`.
                                unsafe { tile.store_into(isa, &out) };
                            }
                        }
                    }
                }
            }
        })
    });
}

/// Packs `rows` of a row-major `[depth][row_len]` matrix as `[depth][COLUMN_STRIDE]`.
fn pack_columns<T: Real>(from: &[T], row_len: usize, depths: Range<usize>, rows: Range<usize>, to: &mut [T]) {
    for (p, to) in depths.zip(to.chunks_exact_mut(COLUMN_STRIDE)) {
        let start = p * row_len + rows.start;
        // A copy of fixed length is a few instructions; what it brings past the tile is never read.
        match from.get(start..start + COLUMN_STRIDE) {
            Some(from) => to.copy_from_slice(from),
            None => to[..rows.len()].copy_from_slice(&from[start..start + rows.len()]),
        }
    }
}

/// Packs the panels `panels` of a right operand given as rows of `[cols][depth]` (depth contiguous), `to` being those
/// panels' part of the packed operand.
pub fn pack_transposed<T: bytemuck::Pod>(
    isa: Isa,
    from: &[T],
    depth: usize,
    cols: usize,
    panels: Range<usize>,
    to: &mut [T],
) {
    for (panel, to) in panels.zip(to.chunks_exact_mut((depth * PANEL).max(1))) {
        let column = panel * PANEL;
        let count = (cols - column).min(PANEL);
        let whole = if count == PANEL { depth / BLOCK * BLOCK } else { 0 };
        for p in (0..whole).step_by(BLOCK) {
            for half in (0..PANEL).step_by(BLOCK) {
                let from = &from[(column + half) * depth + p..];
                transpose_block(isa, from, depth, &mut to[p * PANEL + half..], PANEL);
            }
        }
        let to = &mut to[whole * PANEL..];
        if count < PANEL {
            to.fill(T::zeroed());
        }
        for j in 0..count {
            for (p, &value) in from[(column + j) * depth..][whole..depth].iter().enumerate() {
                to[p * PANEL + j] = value;
            }
        }
    }
}

/// Copies one row's `cols` values of a right operand into its panels: element `column` goes to depth `p` of its panel.
pub fn pack_plain_row<T: Real>(from: &[T], depth: usize, p: usize, first_panel: usize, to: &mut [T]) {
    for (i, from) in from[first_panel * PANEL..].chunks(PANEL).enumerate() {
        let Some(to) = to.get_mut((i * depth + p) * PANEL..(i * depth + p + 1) * PANEL) else { return };
        to[..from.len()].copy_from_slice(from);
        to[from.len()..].fill(T::ZERO);
    }
}
