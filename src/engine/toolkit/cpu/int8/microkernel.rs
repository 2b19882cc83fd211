//! The innermost loop of integer products: the sums of one tile, a few rows by [`PANEL`] columns, in registers from the first to the
//! last step of the depth. Both operands come in words of 32 bits, four bytes or two halves each; sums are exact modulo 2^32, so every
//! instruction set gives the same ones.
//!
//! `unsafe` is for the intrinsics; every address they form is checked before.

use crate::engine::toolkit::cpu::microkernel::{PANEL, TILE_ROWS};
use std::sync::LazyLock;

/// What a word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Four bytes, unsigned ones in the left operand, signed ones in the right.
    Bytes,
    /// Two signed 16-bit numbers in either.
    Halves,
}

impl Words {
    /// Numbers in one word.
    pub const fn numbers(self) -> usize {
        match self {
            Words::Bytes => 4,
            Words::Halves => 2,
        }
    }
}

/// Instructions for sums of products of small integers, the slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dot {
    Portable,
    Avx2,
    /// AVX-VNNI: one instruction for four products, in 256 bits.
    AvxVnni,
    /// AVX-512 VNNI: the same in 512 bits.
    Avx512Vnni,
}

static BEST: LazyLock<Dot> = LazyLock::new(|| Dot::ALL.into_iter().rfind(|d| d.available()).unwrap_or(Dot::Portable));

impl Dot {
    pub const ALL: [Dot; 4] = [Dot::Portable, Dot::Avx2, Dot::AvxVnni, Dot::Avx512Vnni];

    /// The best there is on this machine.
    #[inline]
    pub fn detect() -> Dot {
        *BEST
    }

    /// True if this machine can run code for `self`.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Dot::Portable => {}
            Dot::Avx2 => return is_x86_feature_detected!("avx2"),
            Dot::AvxVnni => return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            Dot::Avx512Vnni => return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"),
        }
        self == Dot::Portable
    }
}

/// One tile of `left[rows, depth] * right[depth, PANEL]`; rows of the left operand are `STRIDE` words apart.
pub struct Tile<'a, const STRIDE: usize> {
    pub words: Words,
    pub rows: usize,
    /// In words.
    pub depth: usize,
    /// Word (row, depth) at `depth / run * block + row * STRIDE + depth % run`.
    pub a: &'a [i32],
    /// Words of a row that lie together.
    pub run: usize,
    pub block: usize,
    /// One panel, `[depth][PANEL]` words.
    pub b: &'a [i32],
    /// What a later tile will read, or nothing: fetched into L2 meanwhile.
    pub ahead: &'a [i32],
}

/// Sums of a tile, row by row.
pub type Sums = [[i32; PANEL]];

impl<const STRIDE: usize> Tile<'_, STRIDE> {
    /// Computes the sums of the tile's rows; further rows of `out` are left as they are.
    #[inline]
    pub fn sum(&self, dot: Dot, out: &mut Sums) {
        assert!((1..=TILE_ROWS).contains(&self.rows) && self.b.len() >= self.depth * PANEL);
        assert!(out.len() >= self.rows);
        let last = self.depth.saturating_sub(1);
        // Where a run, of the last row, ends.
        let end = |run: usize, words: usize| run * self.block + (self.rows - 1) * STRIDE + words;
        // Runs are whole, but for the last one; they may lie in any order, and as `block` says.
        let whole = last < self.run || self.a.len() >= end(last / self.run - 1, self.run);
        assert!(self.depth == 0 || self.run > 0 && whole && self.a.len() >= end(last / self.run, last % self.run + 1));
        #[cfg(target_arch = "x86_64")]
        if dot != Dot::Portable {
            assert!(dot.available());
            // SAFETY: the machine has the instructions; every address the kernels form is inside the operands (above).
            unsafe {
                match (dot, self.words) {
                    (Dot::Avx512Vnni, Words::Bytes) => x86::avx512::<true, STRIDE>(self, out),
                    (Dot::Avx512Vnni, Words::Halves) => x86::avx512::<false, STRIDE>(self, out),
                    (Dot::AvxVnni, Words::Bytes) => x86::avx_vnni::<true, STRIDE>(self, out),
                    (Dot::AvxVnni, Words::Halves) => x86::avx_vnni::<false, STRIDE>(self, out),
                    (_, Words::Bytes) => x86::avx2::<true, STRIDE>(self, out),
                    (_, Words::Halves) => x86::avx2::<false, STRIDE>(self, out),
                }
            }
            return;
        }
        let _ = dot;
        self.sum_portable(out);
    }

    fn sum_portable(&self, out: &mut Sums) {
        for (row, out) in out.iter_mut().enumerate().take(self.rows) {
            *out = [0; PANEL];
            for (p, b) in self.b.chunks_exact(PANEL).take(self.depth).enumerate() {
                let a = self.a[p / self.run * self.block + row * STRIDE + p % self.run];
                match self.words {
                    Words::Bytes => {
                        let a = a.to_ne_bytes().map(i32::from);
                        for (sum, b) in out.iter_mut().zip(b) {
                            let b = b.to_ne_bytes().map(|b| i32::from(b as i8));
                            *sum = sum.wrapping_add(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]);
                        }
                    }
                    Words::Halves => {
                        let halves = |word: i32| bytemuck::cast::<i32, [i16; 2]>(word).map(i32::from);
                        let a = halves(a);
                        for (sum, b) in out.iter_mut().zip(b) {
                            let b = halves(*b);
                            *sum = sum.wrapping_add(a[0] * b[0]).wrapping_add(a[1] * b[1]);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, Sums, TILE_ROWS, Tile};
    use std::arch::x86_64::*;

    /// Generates a kernel of some rows, whose indices are listed: accumulators indexed in a loop end up in memory instead of registers.
    macro_rules! avx512_kernel {
        ($name:ident, $count:literal, $($i:literal)*) => {
            /// # Safety
            /// As [`avx512`].
            #[target_feature(enable = "avx512f,avx512vnni")]
            unsafe fn $name<const BYTES: bool, const STRIDE: usize>(t: &Tile<STRIDE>, out: &mut Sums) {
                // SAFETY: the caller vouches for every address.
                unsafe {
                    let (mut block, mut b) = (t.a.as_ptr(), t.b.as_ptr());
                    let mut ahead = if t.ahead.is_empty() { b } else { t.ahead.as_ptr() };
                    let step = t.ahead.len().div_ceil(t.depth.max(1));
                    let mut sums = [[_mm512_setzero_si512(); 2]; $count];
                    let mut left = t.depth;
                    while left > 0 {
                        let now = left.min(t.run);
                        let mut a = block;
                        for _ in 0..now {
                            // A hint, which may point past the end.
                            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                            ahead = ahead.wrapping_add(step);
                            let first = _mm512_loadu_si512(b.cast());
                            let last = _mm512_loadu_si512(b.add(16).cast());
                            $(
                                let a_now = _mm512_set1_epi32(*a.add($i * STRIDE));
                                if BYTES {
                                    sums[$i][0] = _mm512_dpbusd_epi32(sums[$i][0], a_now, first);
                                    sums[$i][1] = _mm512_dpbusd_epi32(sums[$i][1], a_now, last);
                                } else {
                                    sums[$i][0] = _mm512_dpwssd_epi32(sums[$i][0], a_now, first);
                                    sums[$i][1] = _mm512_dpwssd_epi32(sums[$i][1], a_now, last);
                                }
                            )*
                            a = a.add(1);
                            b = b.add(PANEL);
                        }
                        block = block.wrapping_add(t.block);
                        left -= now;
                    }
                    $(
                        _mm512_storeu_si512(out[$i].as_mut_ptr().cast(), sums[$i][0]);
                        _mm512_storeu_si512(out[$i].as_mut_ptr().add(16).cast(), sums[$i][1]);
                    )*
                }
            }
        };
    }

    macro_rules! avx512_kernels {
        ($($count:literal $name:ident [$($i:literal)*])*) => {
            $(avx512_kernel!($name, $count, $($i)*);)*

            /// # Safety
            /// AVX-512F and VNNI; all addresses of the tile valid (see `Tile::sum`).
            #[target_feature(enable = "avx512f,avx512vnni")]
            pub unsafe fn avx512<const BYTES: bool, const STRIDE: usize>(t: &Tile<STRIDE>, out: &mut Sums) {
                // SAFETY: the caller's promise.
                unsafe {
                    match t.rows {
                        $($count => $name::<BYTES, STRIDE>(t, out),)*
                        _ => unreachable!("at most {TILE_ROWS} rows"),
                    }
                }
            }
        };
    }
    avx512_kernels! {
        1 rows1 [0]
        2 rows2 [0 1]
        3 rows3 [0 1 2]
        4 rows4 [0 1 2 3]
        5 rows5 [0 1 2 3 4]
        6 rows6 [0 1 2 3 4 5]
        7 rows7 [0 1 2 3 4 5 6]
        8 rows8 [0 1 2 3 4 5 6 7]
        9 rows9 [0 1 2 3 4 5 6 7 8]
        10 rows10 [0 1 2 3 4 5 6 7 8 9]
        11 rows11 [0 1 2 3 4 5 6 7 8 9 10]
        12 rows12 [0 1 2 3 4 5 6 7 8 9 10 11]
        13 rows13 [0 1 2 3 4 5 6 7 8 9 10 11 12]
        14 rows14 [0 1 2 3 4 5 6 7 8 9 10 11 12 13]
    }

    /// Generates the kernels of 256 bits for one set of features: `$bytes` and `$halves` add products of words to sums.
    macro_rules! kernels256 {
        ($name:ident $rows:ident $features:literal $bytes:ident $halves:ident) => {
            /// # Safety
            /// The features; all addresses of the tile valid (see `Tile::sum`).
            #[target_feature(enable = $features)]
            pub unsafe fn $name<const BYTES: bool, const STRIDE: usize>(t: &Tile<STRIDE>, out: &mut Sums) {
                for first in (0..t.rows).step_by(6) {
                    for column in (0..PANEL).step_by(16) {
                        // SAFETY: as the caller says.
                        unsafe {
                            match t.rows - first {
                                1 => $rows::<1, BYTES, STRIDE>(t, first, column, out),
                                2 => $rows::<2, BYTES, STRIDE>(t, first, column, out),
                                3 => $rows::<3, BYTES, STRIDE>(t, first, column, out),
                                4 => $rows::<4, BYTES, STRIDE>(t, first, column, out),
                                5 => $rows::<5, BYTES, STRIDE>(t, first, column, out),
                                _ => $rows::<6, BYTES, STRIDE>(t, first, column, out),
                            }
                        }
                    }
                }
            }

            /// `R` rows from `first` by 16 columns from `column`.
            ///
            /// # Safety
            /// As above.
            #[target_feature(enable = $features)]
            unsafe fn $rows<const R: usize, const BYTES: bool, const STRIDE: usize>(
                t: &Tile<STRIDE>,
                first: usize,
                column: usize,
                out: &mut Sums,
            ) {
                // SAFETY: the caller vouches for every address.
                unsafe {
                    let (mut block, mut b) = (t.a.as_ptr().add(first * STRIDE), t.b.as_ptr().add(column));
                    let mut sums = [[_mm256_setzero_si256(); 2]; R];
                    let mut left = t.depth;
                    while left > 0 {
                        let now = left.min(t.run);
                        let mut a = block;
                        for _ in 0..now {
                            let b_now = [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(8).cast())];
                            for (i, sums) in sums.iter_mut().enumerate() {
                                let a_now = _mm256_set1_epi32(*a.add(i * STRIDE));
                                for (sum, b_now) in sums.iter_mut().zip(b_now) {
                                    *sum = if BYTES { $bytes(*sum, a_now, b_now) } else { $halves(*sum, a_now, b_now) };
                                }
                            }
                            a = a.add(1);
                            b = b.add(PANEL);
                        }
                        block = block.wrapping_add(t.block);
                        left -= now;
                    }
                    for (sums, out) in sums.iter().zip(&mut out[first..]) {
                        _mm256_storeu_si256(out.as_mut_ptr().add(column).cast(), sums[0]);
                        _mm256_storeu_si256(out.as_mut_ptr().add(column + 8).cast(), sums[1]);
                    }
                }
            }
        };
    }
    kernels256! { avx2 avx2_rows "avx2" add_bytes add_halves }
    kernels256! { avx_vnni avx_vnni_rows "avx2,avxvnni" _mm256_dpbusd_avx_epi32 _mm256_dpwssd_avx_epi32 }
    // The same body with the other encoding of its instructions, for machines that have just that one.
    #[cfg(test)]
    kernels256! { avx_vnni_evex avx_vnni_evex_rows "avx2,avx512f,avx512vl,avx512vnni" _mm256_dpbusd_epi32 _mm256_dpwssd_epi32 }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_halves(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
    }

    /// The instruction for bytes, `vpmaddubsw`, saturates: even and odd bytes are widened to halves instead.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_bytes(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        let even = (_mm256_and_si256(a, _mm256_set1_epi16(0xff)), _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)));
        let odd = (_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
        add_halves(add_halves(sum, even.0, even.1), odd.0, odd.1)
    }
}

#[cfg(test)]
mod tests;
