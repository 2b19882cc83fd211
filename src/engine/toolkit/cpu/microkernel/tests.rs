//! Every instruction set this machine has, against plain loops.

use super::*;

fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Every instruction set, packing, tile shape and way to finish against sums in `f64`: relative error 1e-5 per
/// element of order one. Elements outside the tile must stay as they were.
#[test]
fn every_kernel_follows_the_definition() {
    const ROW: usize = 45;
    let depth = 37;
    let (a, b) = (values(TILE_ROWS * ROW_STRIDE, 1), values(depth * PANEL, 2));
    let (old, bias, residual) = (values(TILE_ROWS * ROW, 3), values(PANEL, 4), values(TILE_ROWS * ROW, 5));
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.available()) {
        for packing in [Packing::Rows, Packing::Columns] {
            for count in 1..=TILE_ROWS {
                for cols in [1, 3, 8, 15, 16, 17, 24, 31, 32] {
                    for mode in 0..6 {
                        let rows: Vec<usize> = (0..count).map(|i| i * ROW + 2).collect();
                        let slope = [None, Some(0.0), Some(0.25)][mode % 3];
                        let finish = Finish { bias: Some(&bias[..cols]), residual: Some(&residual), slope };
                        let tile = Tile {
                            depth,
                            cols,
                            packing,
                            a: &a,
                            b: &b,
                            // A hint: no result may depend on it.
                            ahead: &b[b.len() / 2..],
                            rows: &rows,
                            accumulate: mode % 2 == 1,
                            finish: (mode > 0).then_some(finish),
                        };
                        let mut out = old.clone();
                        // SAFETY: one thread.
                        unsafe { tile.store_into(isa, &TileOut::new(&mut out)) };
                        let (row, step) = packing.strides();
                        let mut want: Vec<f64> = old.iter().map(|&v| v as f64).collect();
                        for i in 0..count {
                            for j in 0..cols {
                                let at = rows[i] + j;
                                let product = |p: usize| a[i * row + p * step] as f64 * b[p * PANEL + j] as f64;
                                let mut value: f64 = (0..depth).map(product).sum();
                                value += if mode % 2 == 1 { want[at] } else { 0.0 };
                                if mode > 0 {
                                    value += bias[j] as f64 + residual[at] as f64;
                                    value *= if value < 0.0 { slope.unwrap_or(1.0) as f64 } else { 1.0 };
                                }
                                want[at] = value;
                            }
                        }
                        for (at, (got, want)) in out.iter().zip(&want).enumerate() {
                            let off = (*got as f64 - want).abs();
                            assert!(off < 1e-5, "{isa:?} {packing:?} {count}x{cols} mode {mode} at {at}: {got} {want}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_are_transposed_on_every_instruction_set() {
    let from = values(BLOCK * 19, 6);
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.available()) {
        let mut to = vec![0.0; BLOCK * 23];
        transpose_block(isa, &from, 19, &mut to, 23);
        for i in 0..BLOCK {
            for j in 0..BLOCK {
                assert_eq!(to[j * 23 + i], from[i * 19 + j], "{isa:?} ({i}, {j})");
            }
        }
    }
}
