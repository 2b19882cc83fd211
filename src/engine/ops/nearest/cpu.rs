//! CPU kernel of the nearest neighbours: threads take rows of x and parts of the bank, a packed group of the bank's panels at a
//! time, of whose products with a block of rows a tile of one panel is all that is kept.

use super::{MAX_NEIGHBOURS, Nearest};
use crate::engine::ops::Args;
use crate::engine::real::Real;
use crate::engine::toolkit::cpu::gemm::{multiply_panel, pack_transposed, packed_len, split};
use crate::engine::toolkit::cpu::isa::{Isa, Vectorised, vectorised, wide};
use crate::engine::toolkit::cpu::microkernel::{DEPTH_BLOCK, PANEL, Packing, ROW_STRIDE, TILE_ROWS};
use crate::engine::toolkit::cpu::threads::{blocks, for_parts, piece};
use crate::engine::toolkit::cpu::vector::{dot, squared_distance};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of packed rows of x, and of packed panels of the bank, that together stay in L2.
const ROWS_ELEMENTS: usize = 96 << 10;
const PANELS_ELEMENTS: usize = 128 << 10;
/// Rows of x whose neighbours a thread measures at a time.
const MEASURED: usize = 64;

/// How one thread's memory is cut.
struct Sizes {
    /// Rows of x packed at once.
    rows: usize,
    /// Elements of one depth of them.
    depth_block: usize,
    depths: usize,
    /// Panels of the bank packed at once.
    panels: usize,
    /// Keys of all lists that a thread may have.
    list: usize,
    packed: usize,
}

impl Sizes {
    fn new(op: &Nearest) -> Self {
        let [m, bank, c, k] = [op.rows, op.bank, op.c, op.k].map(|v| v as usize);
        let depths = c.div_ceil(DEPTH_BLOCK);
        let most = m.next_multiple_of(TILE_ROWS);
        let rows = (ROWS_ELEMENTS / (depths * ROW_STRIDE) / TILE_ROWS * TILE_ROWS).clamp(TILE_ROWS, most);
        let panels = (PANELS_ELEMENTS / (c * PANEL)).clamp(1, bank.div_ceil(PANEL));
        let packed = packed_len(c, panels * PANEL);
        Sizes { rows, depth_block: rows * ROW_STRIDE, depths, panels, list: m * k, packed }
    }

    /// Lists' keys and rows, packed rows of x, packed panels, one tile of products, squared lengths of the bank's rows.
    fn parts(&self) -> [usize; 6] {
        let products = self.rows * PANEL;
        [self.list, self.list, self.depths * self.depth_block, self.packed, products, self.panels * PANEL]
    }

    fn each(&self) -> usize {
        self.parts().iter().sum()
    }
}

pub fn scratch(op: &Nearest, threads: usize) -> usize {
    threads * Sizes::new(op).each()
}

/// The `i`-th of `parts` pieces of `rows`, in whole tiles.
fn tiles(rows: usize, i: usize, parts: usize) -> Range<usize> {
    let tiles = piece(rows.div_ceil(TILE_ROWS), i, parts);
    tiles.start * TILE_ROWS..(tiles.end * TILE_ROWS).min(rows)
}

pub fn run<T: Real>(op: &Nearest, a: Args<'_, T>) {
    let ([x, bank, ..], [distances, indices, ..]) = (a.inputs, a.outputs);
    let [m, rows, c, k] = [op.rows, op.bank, op.c, op.k].map(|v| v as usize);
    let (sizes, isa) = (Sizes::new(op), Isa::detect());
    let (by_rows, by_parts) = split(rayon::current_num_threads(), m, rows);
    let (each, scratch) = (sizes.each(), a.scratch);
    for_parts(by_rows * by_parts, scratch, each, &|part, scratch: &mut [T]| {
        let of_x = tiles(m, part % by_rows, by_rows);
        let panels = piece(rows.div_ceil(PANEL), part / by_rows, by_parts);
        search(op, &sizes, isa, (&x[of_x.start * c..of_x.end * c], bank), panels, scratch);
    });
    // The lists of all parts of the bank, in its order.
    let lists = |row: usize| {
        let across = (0..by_rows).find(|i| tiles(m, *i, by_rows).contains(&row)).unwrap_or(0);
        let at = (row - tiles(m, across, by_rows).start) * k;
        let scratch = &*scratch;
        (0..by_parts).map(move |i| {
            let part = &scratch[(across + i * by_rows) * each..][..each];
            (&part[at..at + k], &part[sizes.list + at..][..k])
        })
    };
    let block = MEASURED * k;
    distances.par_chunks_mut(block).zip(indices.par_chunks_mut(block)).enumerate().for_each(|(i, (d, found))| {
        for (j, (d, found)) in d.chunks_exact_mut(k).zip(found.chunks_exact_mut(k)).enumerate() {
            let row = i * MEASURED + j;
            d.fill(-T::NEG_INFINITY);
            found.fill(T::ZERO);
            for (keys, rows) in lists(row) {
                for (key, row) in keys.iter().zip(rows) {
                    insert(d, found, *key, *row);
                }
            }
            vectorised(isa, Measure { x: &x[row * c..][..c], bank, distances: d, rows: found });
        }
    });
}

/// Keeps `key`, if it is less than the last of the list, and its row, behind equals.
#[inline]
fn insert<T: Real>(keys: &mut [T], rows: &mut [T], key: T, row: T) {
    let mut at = keys.len();
    while at > 0 && key < keys[at - 1] {
        at -= 1;
        if at + 1 < keys.len() {
            (keys[at + 1], rows[at + 1]) = (keys[at], rows[at]);
        }
    }
    if at < keys.len() {
        (keys[at], rows[at]) = (key, row);
    }
}

/// One thread's lists: of these rows of x, among these panels of the bank.
fn search<T: Real>(
    op: &Nearest,
    sizes: &Sizes,
    isa: Isa,
    (x, bank): (&[T], &[T]),
    panels: Range<usize>,
    mut scratch: &mut [T],
) {
    let [rows, c, k] = [op.bank, op.c, op.k].map(|v| v as usize);
    let m = x.len() / c;
    let [keys, found, left, right, products, squares] = sizes.parts().map(|len| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
        scratch = rest;
        part
    });
    keys.fill(-T::NEG_INFINITY);
    found.fill(T::ZERO);
    let infinity = -T::NEG_INFINITY;
    for group in blocks(panels, sizes.panels) {
        pack_transposed(isa, bank, c, rows, group.clone(), right);
        let first = group.start * PANEL;
        for (i, square) in squares[..group.len() * PANEL].iter_mut().enumerate() {
            *square = if first + i < rows {
                let row = &bank[(first + i) * c..][..c];
                wide!(FUSED => dot::<T, FUSED>(row, row))
            } else {
                infinity
            };
        }
        for of_x in blocks(0..m, sizes.rows) {
            for (depth, left) in blocks(0..c, DEPTH_BLOCK).zip(left.chunks_exact_mut(sizes.depth_block)) {
                for (row, to) in of_x.clone().zip(left.chunks_exact_mut(ROW_STRIDE)) {
                    to[..depth.len()].copy_from_slice(&x[row * c..][depth.clone()]);
                }
            }
            let products = &mut products[..of_x.len() * PANEL];
            for (panel, squares) in squares[..group.len() * PANEL].chunks_exact(PANEL).enumerate() {
                let panel_of =
                    |depth: &Range<usize>| &right[(panel * c + depth.start) * PANEL..][..depth.len() * PANEL];
                let ahead = right.get((panel + 1) * c * PANEL..(panel + 2) * c * PANEL).unwrap_or(&[]);
                let mut depths = blocks(0..c, DEPTH_BLOCK).zip(left.chunks_exact(sizes.depth_block)).peekable();
                while let Some((depth, left)) = depths.next() {
                    let next = depths.peek().map_or(ahead, |(next, _)| panel_of(next));
                    let ahead = &next[..next.len().min(depth.len() * PANEL)];
                    multiply_panel(
                        isa,
                        Packing::Rows,
                        depth.len(),
                        left,
                        panel_of(&depth),
                        ahead,
                        depth.start > 0,
                        products,
                    );
                }
                let lists = of_x.start * k..of_x.end * k;
                let (keys, found) = (&mut keys[lists.clone()], &mut found[lists]);
                vectorised(isa, Select { products, squares, first: first + panel * PANEL, k, keys, rows: found });
            }
        }
    }
}

/// Puts what is nearer than a list's last into it, for every row of a tile of products.
struct Select<'a, T> {
    products: &'a [T],
    squares: &'a [T],
    /// The bank's row that the first column belongs to.
    first: usize,
    k: usize,
    keys: &'a mut [T],
    rows: &'a mut [T],
}

impl<T: Real> Vectorised for Select<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (tiles, _) = self.products.as_chunks::<PANEL>();
        let squares: &[T; PANEL] = self.squares.try_into().expect("a panel's columns");
        let lists = self.keys.chunks_exact_mut(self.k).zip(self.rows.chunks_exact_mut(self.k));
        for (products, (keys, rows)) in tiles.iter().zip(lists) {
            let mut order = [T::ZERO; PANEL];
            let (last, mut nearer) = (keys[self.k - 1], false);
            for j in 0..PANEL {
                order[j] = squares[j] - (products[j] + products[j]);
                nearer |= order[j] < last;
            }
            if nearer {
                for (j, key) in order.into_iter().enumerate() {
                    insert(keys, rows, key, T::of((self.first + j) as f64));
                }
            }
        }
    }
}

/// Measures the distances of a row's neighbours, and sorts by them.
struct Measure<'a, T> {
    x: &'a [T],
    bank: &'a [T],
    distances: &'a mut [T],
    rows: &'a mut [T],
}

impl<T: Real> Vectorised for Measure<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let c = self.x.len();
        let mut found = [(T::ZERO, T::ZERO, T::ZERO); MAX_NEIGHBOURS];
        let found = &mut found[..self.rows.len()];
        for (found, row) in found.iter_mut().zip(self.rows.iter()) {
            let distance = squared_distance::<T, FUSED>(self.x, &self.bank[row.f64() as usize * c..][..c]).sqrt();
            // NaN counts as far.
            let key = if distance.is_nan() { -T::NEG_INFINITY } else { distance };
            *found = (key, *row, distance);
        }
        found.sort_unstable_by(|a, b| (a.0, a.1).partial_cmp(&(b.0, b.1)).unwrap_or(std::cmp::Ordering::Equal));
        for ((d, row), found) in self.distances.iter_mut().zip(self.rows).zip(found) {
            (*row, *d) = (found.1, found.2);
        }
    }
}
