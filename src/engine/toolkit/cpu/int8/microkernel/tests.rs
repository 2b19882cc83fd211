//! Every instruction set this machine has, against plain loops in 64 bits.

use super::*;
use crate::engine::toolkit::cpu::microkernel::{DEPTH_BLOCK, ROW_STRIDE};

fn words(len: usize, seed: u32) -> Vec<i32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            state.rotate_left(16) as i32
        })
        .collect()
}

/// The sum that a tile's place asks for, modulo 2^32.
fn expected<const STRIDE: usize>(t: &Tile<STRIDE>, row: usize, column: usize) -> i32 {
    let mut sum = 0i64;
    for p in 0..t.depth {
        let a = t.a[p / t.run * t.block + row * STRIDE + p % t.run];
        let b = t.b[p * PANEL + column];
        sum += match t.words {
            Words::Bytes => {
                (0..4).map(|i| i64::from((a >> (8 * i)) as u8) * i64::from((b >> (8 * i)) as i8)).sum::<i64>()
            }
            Words::Halves => {
                (0..2).map(|i| i64::from((a >> (16 * i)) as i16) * i64::from((b >> (16 * i)) as i16)).sum()
            }
        };
    }
    sum as i32
}

fn check<const STRIDE: usize>(t: &Tile<STRIDE>, name: &str, sum: impl Fn(&Tile<STRIDE>, &mut Sums)) {
    let before = [[-7; PANEL]; TILE_ROWS];
    let mut out = before;
    sum(t, &mut out);
    for row in 0..TILE_ROWS {
        for column in 0..PANEL {
            let want = if row < t.rows { expected(t, row, column) } else { before[row][column] };
            let at = format!("{name}, {:?}, {} rows, depth {}: ({row}, {column})", t.words, t.rows, t.depth);
            assert_eq!(out[row][column], want, "{at}");
        }
    }
}

#[test]
fn every_kernel_follows_the_definition() {
    let block = TILE_ROWS * ROW_STRIDE;
    for depth in [0, 1, 37, DEPTH_BLOCK, 2 * DEPTH_BLOCK + 5] {
        // Any bytes, and those at the ends of their ranges: with the latter, sums of pairs leave 16 bits.
        for (a, b) in [
            (words(3 * block, 1), words(depth * PANEL, 2)),
            (vec![-1; 3 * block], vec![0x8000_8000u32 as i32; depth * PANEL]),
        ] {
            for words in [Words::Bytes, Words::Halves] {
                for rows in 1..=TILE_ROWS {
                    // A hint: no result may depend on it.
                    let ahead = &b[b.len() / 2..];
                    let t = Tile::<ROW_STRIDE> { words, rows, depth, a: &a, run: DEPTH_BLOCK, block, b: &b, ahead };
                    check_all(&t);
                    // Rows that overlap, short runs.
                    check_all(&Tile::<3> { words, rows, depth, a: &a, run: 11, block: 37, b: &b, ahead });
                }
            }
        }
    }
}

fn check_all<const STRIDE: usize>(t: &Tile<STRIDE>) {
    for dot in Dot::ALL.into_iter().filter(|d| d.available()) {
        check(t, &format!("{dot:?}"), |t, out| t.sum(dot, out));
    }
    #[cfg(target_arch = "x86_64")]
    if Dot::Avx512Vnni.available() && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the machine has the instructions; `Tile::sum` has accepted the same tile.
        check(t, "AVX-VNNI by EVEX", |t, out| unsafe {
            match t.words {
                Words::Bytes => x86::avx_vnni_evex::<true, STRIDE>(t, out),
                Words::Halves => x86::avx_vnni_evex::<false, STRIDE>(t, out),
            }
        });
    }
}
