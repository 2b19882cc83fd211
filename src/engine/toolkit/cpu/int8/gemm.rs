//! `out[pixel, cols] = finish(left[pixel, depth] * b[depth, cols])` over bytes: the left operand unsigned and packed block by block
//! while it is computed, the right one signed and packed before. A tile's sums stay in registers over all of the depth, so that they
//! are finished at once; a block of rows stays in L2 while panels of `b` stream past.

use super::microkernel::{Dot, Tile, Words};
use super::store::{Finish, Store};
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::{LeftRows, OutGrid, pack_transposed};
use crate::engine::toolkit::cpu::isa::{Isa, wide};
use crate::engine::toolkit::cpu::microkernel::{DEPTH_BLOCK, PANEL, ROW_STRIDE, TILE_ROWS, TileOut};
use crate::engine::toolkit::cpu::threads::{blocks, for_parts, piece};
use std::ops::Range;

/// Rows of the left operand packed at once.
const ROW_BLOCK: usize = 4 * TILE_ROWS;
const BYTES: usize = Words::Bytes.numbers();

/// Words of a right operand once packed, `depth` bytes deep.
pub const fn packed_len(depth: usize, cols: usize) -> usize {
    depth.div_ceil(BYTES) * cols.next_multiple_of(PANEL)
}

/// Scratch words per thread, for the deepest product.
pub const fn scratch_each(depth: usize) -> usize {
    depth.div_ceil(BYTES).div_ceil(DEPTH_BLOCK) * ROW_BLOCK * ROW_STRIDE
}

/// Packs the panels `panels` of a right operand, rows of `[cols][depth]`, `to` being their part of it.
pub fn pack(from: &[i8], depth: usize, cols: usize, panels: Range<usize>, to: &mut [i32]) {
    if depth.is_multiple_of(BYTES)
        && let Ok(words) = bytemuck::try_cast_slice(from)
    {
        return pack_transposed(Isa::detect(), words, depth / BYTES, cols, panels, to);
    }
    pack_by(depth, cols, panels, to, |column, p| from[column * depth + p]);
}

/// The same of a right operand whose element (column, depth) `element` tells.
pub fn pack_by(depth: usize, cols: usize, panels: Range<usize>, to: &mut [i32], element: impl Fn(usize, usize) -> i8) {
    let words = depth.div_ceil(BYTES);
    for (panel, to) in panels.zip(to.chunks_exact_mut((words * PANEL).max(1))) {
        for (p, to) in to.chunks_exact_mut(PANEL).enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                let column = panel * PANEL + i;
                let byte = |b| if column < cols && p * BYTES + b < depth { element(column, p * BYTES + b) } else { 0 };
                *to = i32::from_ne_bytes(std::array::from_fn(|b| byte(b) as u8));
            }
        }
    }
}

/// One phase's product; see [`OutGrid`].
pub struct Job<'a, L> {
    pub left: L,
    /// In bytes.
    pub depth: usize,
    /// Packed, `packed_len(depth, grid.c)` words.
    pub b: &'a [i32],
    /// Subtracted from each column's sums: what they have too much of where the byte of 0 is not 0.
    pub excess: &'a [i32],
}

/// Computes every pixel of `out`; `job(a, b)` gives the product of a phase.
#[allow(clippy::too_many_arguments)]
pub fn multiply<'a, T: Real, L: LeftRows<u8>, S: Store<T>>(
    dot: Dot,
    parts: usize,
    grid: OutGrid,
    (scratch, each): (&mut [i32], usize),
    job: &(impl Fn(usize, usize) -> Job<'a, L> + Sync),
    finish: Finish<'_, T>,
    store: S,
    out: &mut [S::Kept],
) {
    assert_eq!(out.len(), grid.n * grid.h * grid.w * grid.c);
    let out = TileOut::new(out);
    for_parts(parts, scratch, each, &|part, scratch: &mut [i32]| {
        wide!({
            for ((a, b), rows, panels) in grid.pieces(part, parts) {
                // SAFETY: no two (part, phase) share an element: phases hold different pixels, and within a phase the
                // parts hold different rows or different columns.
                unsafe { rows_part(dot, &grid, (a, b), &job(a, b), (rows, panels), finish, store, &out, scratch) };
            }
        })
    });
}

/// # Safety
/// No other thread touches these rows and panels of the phase.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn rows_part<T: Real, L: LeftRows<u8>, S: Store<T>>(
    dot: Dot,
    grid: &OutGrid,
    phase: (usize, usize),
    job: &Job<'_, L>,
    (rows, panels): (Range<usize>, Range<usize>),
    finish: Finish<'_, T>,
    store: S,
    out: &TileOut<'_, S::Kept>,
    scratch: &mut [i32],
) {
    let words = job.depth.div_ceil(BYTES);
    let block = ROW_BLOCK * ROW_STRIDE;
    let mut sums = [[0; PANEL]; TILE_ROWS];
    for rows in blocks(rows, ROW_BLOCK) {
        for (depths, to) in blocks_of_depth(job.depth).zip(scratch.chunks_exact_mut(block)) {
            job.left.fill(rows.clone(), depths, bytemuck::cast_slice_mut(to), ROW_STRIDE * BYTES);
        }
        for panel in panels.clone() {
            let column = panel * PANEL;
            let cols = (grid.c - column).min(PANEL);
            let b = |panel: usize| &job.b[panel * words * PANEL..][..words * PANEL];
            let ahead = if panel + 1 < panels.end { b(panel + 1) } else { &[] };
            let of_panel = finish.panel(column, Some(job.excess));
            let tiles = rows.len().div_ceil(TILE_ROWS);
            for (i, tile) in blocks(0..rows.len(), TILE_ROWS).enumerate() {
                let t = Tile::<ROW_STRIDE> {
                    words: Words::Bytes,
                    rows: tile.len(),
                    depth: words,
                    a: &scratch[tile.start * ROW_STRIDE..],
                    run: DEPTH_BLOCK,
                    block,
                    b: b(panel),
                    ahead: &ahead[piece(ahead.len(), i, tiles)],
                };
                t.sum(dot, &mut sums);
                for (row, sums) in tile.zip(&sums) {
                    let at = grid.offset(phase, rows.start + row) + column;
                    // SAFETY: the caller's promise.
                    let to = unsafe { out.part(at, cols) };
                    finish.row(&of_panel, sums, at, store, to);
                }
            }
        }
    }
}

/// Whole blocks, as [`Tile`] wants them, and what is left.
fn blocks_of_depth(depth: usize) -> impl Iterator<Item = Range<usize>> {
    const BLOCK: usize = DEPTH_BLOCK * BYTES;
    (0..depth).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(depth))
}
