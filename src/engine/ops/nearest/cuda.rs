//! Launches of the nearest neighbours (kernels/nearest.cu).

use super::Nearest;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Cut, Launches, Schedule, Target, size32};

const WARP: u32 = 32;
/// Of the launches in which a warp takes a row.
const THREADS: u32 = 256;
/// Rows of x and of the bank in a tile, its threads, and how many of them look through one row of it.
const TILE: u32 = 64;
const TILE_THREADS: u32 = 128;
const SEARCHERS: u32 = 2;
/// Blocks that fill a multiprocessor.
const BLOCKS: u32 = 4;

/// How the bank is divided among blocks.
struct Parts {
    /// Tiles of the bank that a block takes.
    tiles: u32,
    count: u32,
}

impl Nearest {
    /// In about how many parts the bank keeps such a device busy.
    fn wanted(&self, t: &Target) -> u32 {
        let tiles = self.bank.div_ceil(TILE);
        (t.multiprocessors * BLOCKS).div_ceil(self.rows.div_ceil(TILE)).clamp(1, tiles)
    }

    fn parts(&self, wanted: u32) -> Parts {
        let tiles = self.bank.div_ceil(TILE);
        let each = tiles.div_ceil(wanted);
        Parts { tiles: each, count: tiles.div_ceil(each) }
    }

    /// Bytes of a key and an index of every candidate.
    fn lists(&self, parts: &Parts) -> usize {
        self.rows as usize * self.candidates(parts) * 2 * size_of::<f32>()
    }

    /// Entries of all lists of one row.
    fn candidates(&self, parts: &Parts) -> usize {
        (parts.count * SEARCHERS * self.k) as usize
    }

    /// Bytes of the bank's squared lengths, in whole cache lines.
    fn squares(&self) -> usize {
        (self.bank as usize * size_of::<f32>()).next_multiple_of(128)
    }
}

impl CudaOperation for Nearest {
    /// Scratch memory: the bank's squared lengths, then the lists.
    fn schedule(&self, t: &Target) -> Schedule {
        let wanted = self.wanted(t);
        let scratch = self.squares() + self.lists(&self.parts(wanted));
        Schedule::new(Cut::Parts(wanted as usize), scratch)
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let parts = self.parts(l.parts()? as u32);
        let candidates = size32("candidates", self.rows as usize * self.candidates(&parts))? / self.rows;
        let (x, bank, distances, indices) = (l.input(0), l.input(1), l.output(0), l.output(1));
        let squares = l.scratch().slice(0..self.squares());
        let lists = l.scratch().slice(self.squares()..self.squares() + self.lists(&parts));
        let warps = |rows: u32| [rows.div_ceil(THREADS / WARP), 1, 1];
        let call = kernels::nearest_squares(l.number(), squares, bank, *self)?;
        l.launch(call, warps(self.bank), [THREADS, 1, 1], 0)?;
        let call = kernels::nearest_partial(l.number(), lists, x, bank, squares.read(), *self, parts.tiles)?;
        let shared = 2 * self.k * TILE_THREADS * size_of::<f32>() as u32;
        l.launch(call, [self.rows.div_ceil(TILE), parts.count, 1], [TILE_THREADS, 1, 1], shared)?;
        let call = kernels::nearest_merge(l.number(), distances, indices, x, bank, lists.read(), *self, candidates)?;
        l.launch(call, warps(self.rows), [THREADS, 1, 1], 0)
    }
}
