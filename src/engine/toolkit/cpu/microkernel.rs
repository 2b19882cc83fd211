//! The innermost loop of every matrix product: one tile of the output, a few rows by up to [`PANEL`] columns, in
//! registers. AVX-512 and AVX2+FMA versions for `f32` are chosen at run time; a portable body serves everything else.
//!
//! Of the CPU engine only this module has `unsafe`, for intrinsics and for stores into an output that several threads write
//! at once, with [`isa`](super::isa), which calls what is compiled for an instruction set, [`gemm`](super::gemm), which
//! gives each thread its own tiles, and what [`int8`](super::int8) has of either.

use super::isa::{Isa, vectorised};
use crate::engine::real::Real;
#[cfg(target_arch = "x86_64")]
use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Range;

/// Columns of the right operand that are packed together: `[panel][depth][PANEL]`, zero-padded to a multiple.
pub const PANEL: usize = 32;
/// Most rows in one tile: 14 x 2 accumulators, 2 columns and 1 broadcast fill 31 of AVX-512's 32 registers.
pub const TILE_ROWS: usize = 14;
/// Row stride of a left operand packed row by row. Fixed, so that all rows of a tile are addressed from one register;
/// not a power of two, so that rows do not compete for the same cache sets.
pub const ROW_STRIDE: usize = DEPTH_BLOCK + 16;
/// Most depth that one pass of a row-packed left operand covers.
pub const DEPTH_BLOCK: usize = 256;
/// Elements per depth step of a left operand packed column by column.
pub const COLUMN_STRIDE: usize = 16;

/// Rows and columns of [`transpose_block`].
pub const BLOCK: usize = 16;

/// `to[j, i] = from[i, j]` for a block of 16 x 16, rows `from_stride` and `to_stride` apart.
#[inline]
pub fn transpose_block<T: bytemuck::Pod>(isa: Isa, from: &[T], from_stride: usize, to: &mut [T], to_stride: usize) {
    let from = &from[..(BLOCK - 1) * from_stride + BLOCK];
    let to = &mut to[..(BLOCK - 1) * to_stride + BLOCK];
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>() && isa == Isa::Avx512 {
        assert!(isa.available());
        // SAFETY: T is as long as f32 and bits are what is moved, the slices cover the blocks (above), the machine has AVX-512.
        unsafe { x86::transpose_block(from.as_ptr().cast(), from_stride, to.as_mut_ptr().cast(), to_stride) };
        return;
    }
    let _ = isa;
    for i in 0..BLOCK {
        for (j, &value) in from[i * from_stride..][..BLOCK].iter().enumerate() {
            to[j * to_stride + i] = value;
        }
    }
}

/// How a packed left operand lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Element (row, depth) at `row * ROW_STRIDE + depth`.
    Rows,
    /// Element (row, depth) at `row + depth * COLUMN_STRIDE`.
    Columns,
}

impl Packing {
    /// Distance between rows and between depth steps.
    pub const fn strides(self) -> (usize, usize) {
        match self {
            Packing::Rows => (ROW_STRIDE, 1),
            Packing::Columns => (1, COLUMN_STRIDE),
        }
    }
}

/// What happens to a finished tile before it is stored: `act(tile + bias + residual)`.
#[derive(Clone, Copy)]
pub struct Finish<'a, T> {
    /// One value per column of the tile.
    pub bias: Option<&'a [T]>,
    /// Addressed like the output.
    pub residual: Option<&'a [T]>,
    /// Factor for negative values; none: identity; zero: ReLU.
    pub slope: Option<T>,
}

impl<T> Finish<'_, T> {
    pub const NONE: Self = Finish { bias: None, residual: None, slope: None };
}

/// One tile: `out[rows, cols] (+)= a[rows, depth] * b[depth, cols]`.
pub struct Tile<'a, T> {
    pub depth: usize,
    pub cols: usize,
    pub packing: Packing,
    pub a: &'a [T],
    /// One panel, `[depth][PANEL]`.
    pub b: &'a [T],
    /// What a later tile will read, or nothing: fetched into L2 meanwhile, since otherwise the first tile of a panel waits
    /// for memory that is idle during all others. Only the AVX-512 kernels do so.
    pub ahead: &'a [T],
    /// For each row, where its first column lies in the output.
    pub rows: &'a [usize],
    /// Add to what the output holds (an earlier part of the depth), or overwrite it.
    pub accumulate: bool,
    /// Set for the last part of the depth.
    pub finish: Option<Finish<'a, T>>,
}

/// An output that several threads fill at once, tile by tile.
pub struct TileOut<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for an exclusive slice; `Tile::store_into` makes its callers promise that concurrent tiles are
// disjoint.
unsafe impl<T: Send> Sync for TileOut<'_, T> {}

impl<'a, T> TileOut<'a, T> {
    pub fn new(out: &'a mut [T]) -> Self {
        TileOut { start: out.as_mut_ptr(), len: out.len(), life: PhantomData }
    }

    /// `len` elements from `at` on.
    ///
    /// # Safety
    /// Parts of one output that exist at the same time must not overlap. (Bounds are checked here.)
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at <= self.len && len <= self.len - at);
        // SAFETY: inside the output; the caller promises that no other part overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

/// The rows `rows` and columns `columns` of a row-major output, lent to one thread.
pub struct Window<'a, 'b, T> {
    out: &'a TileOut<'b, T>,
    row_len: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a, 'b, T> Window<'a, 'b, T> {
    /// # Safety
    /// Windows of one output that exist at the same time must not overlap.
    pub unsafe fn new(out: &'a TileOut<'b, T>, row_len: usize, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end * row_len <= out.len && columns.end <= row_len);
        Window { out, row_len, rows, columns }
    }

    /// `len` elements of `row` from `column` on.
    #[inline(always)]
    pub fn part(&mut self, row: usize, column: usize, len: usize) -> &mut [T] {
        assert!(self.rows.contains(&row) && self.columns.start <= column && column + len <= self.columns.end);
        // SAFETY: inside the output (checked by `new`) and inside this window, which no other overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.out.start.add(row * self.row_len + column), len) }
    }
}

impl<T: Real> Tile<'_, T> {
    /// Computes the tile and stores it.
    ///
    /// # Safety
    /// No other thread may touch this tile's elements of `out` at the same time. (Bounds are checked here.)
    #[inline]
    pub unsafe fn store_into(&self, isa: Isa, out: &TileOut<'_, T>) {
        let (row, step) = self.packing.strides();
        let count = self.rows.len();
        assert!((1..=TILE_ROWS).contains(&count) && (1..=PANEL).contains(&self.cols));
        assert!(self.depth == 0 || self.a.len() > (count - 1) * row + (self.depth - 1) * step);
        assert!(self.b.len() >= self.depth * PANEL);
        let limit = self.finish.and_then(|f| f.residual).map_or(out.len, |r| r.len().min(out.len));
        // Without branches: this is asked of every tile.
        assert!(self.cols <= limit && self.rows.iter().fold(true, |all, &r| all & (r <= limit - self.cols)));
        assert!(self.finish.and_then(|f| f.bias).is_none_or(|b| b.len() >= self.cols));
        #[cfg(target_arch = "x86_64")]
        if TypeId::of::<T>() == TypeId::of::<f32>() && isa != Isa::Portable {
            let finish = self.finish.map(|f| x86::FinishF32 {
                bias: f.bias.map_or(std::ptr::null(), |b| b.as_ptr().cast()),
                residual: f.residual.map_or(std::ptr::null(), |r| r.as_ptr().cast()),
                slope: f.slope.map(|s| s.f64() as f32),
            });
            let job = x86::TileF32 {
                depth: self.depth,
                cols: self.cols,
                a: self.a.as_ptr().cast(),
                b: self.b.as_ptr().cast(),
                ahead: if self.ahead.is_empty() { self.b.as_ptr().cast() } else { self.ahead.as_ptr().cast() },
                ahead_step: self.ahead.len().div_ceil(self.depth.max(1)),
                rows: self.rows,
                out: out.start.cast(),
                accumulate: self.accumulate,
                finish,
            };
            assert!(isa.available());
            // SAFETY: T is f32; every address the kernel forms was checked above; the machine has the instructions; the
            // caller promises that the tile is this thread's.
            unsafe {
                match (isa, self.packing) {
                    (Isa::Avx512, Packing::Rows) => x86::avx512::<ROW_STRIDE, 1>(&job),
                    (Isa::Avx512, Packing::Columns) => x86::avx512::<1, COLUMN_STRIDE>(&job),
                    (_, Packing::Rows) => x86::avx2::<ROW_STRIDE, 1>(&job),
                    (_, Packing::Columns) => x86::avx2::<1, COLUMN_STRIDE>(&job),
                }
            }
            return;
        }
        for r0 in (0..count).step_by(portable::ROWS) {
            for c0 in (0..self.cols).step_by(portable::COLS) {
                let sums = vectorised(isa, portable::Sums { tile: self, r0, c0 });
                for (i, sums) in sums.iter().enumerate().take(count - r0) {
                    for (j, &sum) in sums.iter().enumerate().take(self.cols - c0) {
                        let at = self.rows[r0 + i] + c0 + j;
                        // SAFETY: `at` is inside the output (checked above) and this thread's (the caller's promise).
                        unsafe {
                            let place = out.start.add(at);
                            let value = if self.accumulate { *place + sum } else { sum };
                            *place = self.finish.map_or(value, |f| f.apply(value, c0 + j, at));
                        }
                    }
                }
            }
        }
    }
}

impl<T: Real> Finish<'_, T> {
    /// `value` finished; `column` selects the bias, `at` the residual.
    #[inline(always)]
    pub fn apply(&self, mut value: T, column: usize, at: usize) -> T {
        if let Some(bias) = self.bias {
            value += bias[column];
        }
        if let Some(residual) = self.residual {
            value += residual[at];
        }
        match self.slope {
            Some(s) if value < T::ZERO => {
                if s == T::ZERO {
                    T::ZERO
                } else {
                    value * s
                }
            }
            _ => value,
        }
    }
}

/// Any number type on any machine; the compiler vectorises it for the instruction set it is called under.
mod portable {
    use super::super::isa::Vectorised;
    use super::{PANEL, Tile};
    use crate::engine::real::Real;

    pub const ROWS: usize = 4;
    pub const COLS: usize = 8;

    pub struct Sums<'a, 'b, T> {
        pub tile: &'a Tile<'b, T>,
        pub r0: usize,
        pub c0: usize,
    }

    impl<T: Real> Vectorised for Sums<'_, '_, T> {
        type Output = [[T; COLS]; ROWS];

        #[inline(always)]
        fn run<const FUSED: bool>(self) -> Self::Output {
            let t = self.tile;
            let (row, step) = t.packing.strides();
            let last = t.rows.len() - 1;
            // Rows past the end repeat the last one; the caller drops them.
            let starts: [usize; ROWS] = std::array::from_fn(|i| (self.r0 + i).min(last) * row);
            let mut sums = [[T::ZERO; COLS]; ROWS];
            for (p, b) in t.b.chunks_exact(PANEL).take(t.depth).enumerate() {
                let b: &[T; COLS] = b[self.c0..self.c0 + COLS].try_into().expect("COLS elements");
                for (sums, &start) in sums.iter_mut().zip(&starts) {
                    let a = t.a[start + p * step];
                    for (sum, &b) in sums.iter_mut().zip(b) {
                        *sum += a * b;
                    }
                }
            }
            sums
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, TILE_ROWS};
    use std::arch::x86_64::*;

    pub struct FinishF32 {
        pub bias: *const f32,
        pub residual: *const f32,
        pub slope: Option<f32>,
    }

    pub struct TileF32<'a> {
        pub depth: usize,
        pub cols: usize,
        pub a: *const f32,
        pub b: *const f32,
        /// Where to prefetch, and how much further with every step of the depth.
        pub ahead: *const f32,
        pub ahead_step: usize,
        pub rows: &'a [usize],
        pub out: *mut f32,
        pub accumulate: bool,
        pub finish: Option<FinishF32>,
    }

    /// Generates a kernel of some rows (their indices are listed) by `$vectors` vectors. The rows are written out by the
    /// macro because accumulators indexed in a loop end up in memory instead of registers.
    macro_rules! avx512_kernel {
        ($name:ident, $vectors:literal, $count:literal, $($i:literal)*) => {
            /// # Safety
            /// As [`avx512`].
            #[target_feature(enable = "avx512f")]
            unsafe fn $name<const ROW: usize, const STEP: usize>(t: &TileF32) {
                // SAFETY: the caller vouches for every address.
                unsafe {
                    let (mut a, mut b, mut ahead) = (t.a, t.b, t.ahead);
                    let mut sums = [[_mm512_setzero_ps(); $vectors]; $count];
                    for _ in 0..t.depth {
                        // A hint, which may point past the end.
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        ahead = ahead.wrapping_add(t.ahead_step);
                        let first = _mm512_loadu_ps(b);
                        let last = _mm512_loadu_ps(b.add(16 * ($vectors - 1)));
                        $(
                            let a_now = _mm512_set1_ps(*a.add($i * ROW));
                            sums[$i][0] = _mm512_fmadd_ps(a_now, first, sums[$i][0]);
                            if $vectors == 2 {
                                sums[$i][$vectors - 1] = _mm512_fmadd_ps(a_now, last, sums[$i][$vectors - 1]);
                            }
                        )*
                        a = a.add(STEP);
                        b = b.add(PANEL);
                    }
                    $(avx512_store(t, t.rows[$i], sums[$i]);)*
                }
            }
        };
    }

    macro_rules! avx512_kernels {
        ($($count:literal $one:ident $two:ident [$($i:literal)*])*) => {
            $(avx512_kernel!($one, 1, $count, $($i)*);
              avx512_kernel!($two, 2, $count, $($i)*);)*

            /// # Safety
            /// AVX-512F; all addresses of the tile valid (see `Tile::store_into`).
            #[target_feature(enable = "avx512f")]
            pub unsafe fn avx512<const ROW: usize, const STEP: usize>(t: &TileF32) {
                // SAFETY: the caller's promise.
                unsafe {
                    match (t.rows.len(), t.cols > 16) {
                        $(($count, false) => $one::<ROW, STEP>(t),
                          ($count, true) => $two::<ROW, STEP>(t),)*
                        _ => unreachable!("at most {TILE_ROWS} rows"),
                    }
                }
            }
        };
    }
    avx512_kernels! {
        1 rows1_by16 rows1_by32 [0]
        2 rows2_by16 rows2_by32 [0 1]
        3 rows3_by16 rows3_by32 [0 1 2]
        4 rows4_by16 rows4_by32 [0 1 2 3]
        5 rows5_by16 rows5_by32 [0 1 2 3 4]
        6 rows6_by16 rows6_by32 [0 1 2 3 4 5]
        7 rows7_by16 rows7_by32 [0 1 2 3 4 5 6]
        8 rows8_by16 rows8_by32 [0 1 2 3 4 5 6 7]
        9 rows9_by16 rows9_by32 [0 1 2 3 4 5 6 7 8]
        10 rows10_by16 rows10_by32 [0 1 2 3 4 5 6 7 8 9]
        11 rows11_by16 rows11_by32 [0 1 2 3 4 5 6 7 8 9 10]
        12 rows12_by16 rows12_by32 [0 1 2 3 4 5 6 7 8 9 10 11]
        13 rows13_by16 rows13_by32 [0 1 2 3 4 5 6 7 8 9 10 11 12]
        14 rows14_by16 rows14_by32 [0 1 2 3 4 5 6 7 8 9 10 11 12 13]
    }

    /// Finishes and stores `V` vectors of one row.
    ///
    /// # Safety
    /// As [`avx512`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_store<const V: usize>(t: &TileF32, row: usize, sums: [__m512; V]) {
        for (v, mut value) in sums.into_iter().enumerate() {
            let left = (t.cols - 16 * v).min(16);
            let mask = ((1u32 << left) - 1) as __mmask16;
            // SAFETY: the caller vouches for every address; masked lanes are not accessed.
            unsafe {
                let place = t.out.add(row + 16 * v);
                if t.accumulate {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, place));
                }
                if let Some(f) = &t.finish {
                    if !f.bias.is_null() {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, f.bias.add(16 * v)));
                    }
                    if !f.residual.is_null() {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, f.residual.add(row + 16 * v)));
                    }
                    if let Some(slope) = f.slope {
                        // Ordered compare: NaN is not negative and passes. Not a product for ReLU: 0 * -inf is NaN.
                        let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, _mm512_setzero_ps());
                        value = if slope == 0.0 {
                            _mm512_mask_mov_ps(value, negative, _mm512_setzero_ps())
                        } else {
                            _mm512_mask_mul_ps(value, negative, value, _mm512_set1_ps(slope))
                        };
                    }
                }
                _mm512_mask_storeu_ps(place, mask, value);
            }
        }
    }

    /// # Safety
    /// AVX-512F; 16 rows of 16 elements valid on both sides.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn transpose_block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the caller vouches for every address.
        unsafe {
            // Four rows at a time become 4x4 blocks within each 128-bit quarter, then the quarters change places.
            let mut q = [[_mm512_setzero_ps(); 4]; 4];
            for (i, q) in q.iter_mut().enumerate() {
                let row = |j: usize| _mm512_loadu_ps(from.add((4 * i + j) * from_stride));
                let (low01, high01) = (_mm512_unpacklo_ps(row(0), row(1)), _mm512_unpackhi_ps(row(0), row(1)));
                let (low23, high23) = (_mm512_unpacklo_ps(row(2), row(3)), _mm512_unpackhi_ps(row(2), row(3)));
                q[0] = _mm512_shuffle_ps::<0x44>(low01, low23);
                q[1] = _mm512_shuffle_ps::<0xee>(low01, low23);
                q[2] = _mm512_shuffle_ps::<0x44>(high01, high23);
                q[3] = _mm512_shuffle_ps::<0xee>(high01, high23);
            }
            let [q0, q1, q2, q3] = q;
            for (j, (((q0, q1), q2), q3)) in q0.into_iter().zip(q1).zip(q2).zip(q3).enumerate() {
                let even01 = _mm512_shuffle_f32x4::<0x88>(q0, q1);
                let odd01 = _mm512_shuffle_f32x4::<0xdd>(q0, q1);
                let even23 = _mm512_shuffle_f32x4::<0x88>(q2, q3);
                let odd23 = _mm512_shuffle_f32x4::<0xdd>(q2, q3);
                _mm512_storeu_ps(to.add(j * to_stride), _mm512_shuffle_f32x4::<0x88>(even01, even23));
                _mm512_storeu_ps(to.add((4 + j) * to_stride), _mm512_shuffle_f32x4::<0x88>(odd01, odd23));
                _mm512_storeu_ps(to.add((8 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(even01, even23));
                _mm512_storeu_ps(to.add((12 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(odd01, odd23));
            }
        }
    }

    /// # Safety
    /// AVX2 and FMA; all addresses of the tile valid (see `Tile::store_into`).
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2<const ROW: usize, const STEP: usize>(t: &TileF32) {
        let mut first = 0;
        while first < t.rows.len() {
            let count = (t.rows.len() - first).min(6);
            for column in (0..t.cols).step_by(16) {
                macro_rules! by_rows {
                    ($($n:literal)*) => {
                        match count {
                            // SAFETY: as the caller says.
                            $($n => unsafe { avx2_rows::<$n, ROW, STEP>(t, first, column) },)*
                            _ => unreachable!("at most 6 rows"),
                        }
                    };
                }
                by_rows!(1 2 3 4 5 6)
            }
            first += count;
        }
    }

    /// `R` rows from `first` by 16 columns from `column`.
    ///
    /// # Safety
    /// As [`avx2`].
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_rows<const R: usize, const ROW: usize, const STEP: usize>(t: &TileF32, first: usize, column: usize) {
        // SAFETY: the caller vouches for every address; masked lanes are not accessed.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask: [__m256i; 2] = std::array::from_fn(|v| {
                let left = t.cols.saturating_sub(column + 8 * v).min(8);
                _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes)
            });
            let mut sums = [[_mm256_setzero_ps(); 2]; R];
            let (mut a, mut b) = (t.a.add(first * ROW), t.b.add(column));
            for _ in 0..t.depth {
                let b_now = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8))];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a_now = _mm256_broadcast_ss(&*a.add(i * ROW));
                    for (sum, b_now) in sums.iter_mut().zip(&b_now) {
                        *sum = _mm256_fmadd_ps(a_now, *b_now, *sum);
                    }
                }
                a = a.add(STEP);
                b = b.add(PANEL);
            }
            let zero = _mm256_setzero_ps();
            for (sums, &row) in sums.iter().zip(&t.rows[first..]) {
                for v in 0..2 {
                    // Lanes past the last column are masked off, but their address need not exist: wrapping.
                    let at = row + column + 8 * v;
                    let place = t.out.wrapping_add(at);
                    let mut value = sums[v];
                    if t.accumulate {
                        value = _mm256_add_ps(value, _mm256_maskload_ps(place, mask[v]));
                    }
                    if let Some(f) = &t.finish {
                        if !f.bias.is_null() {
                            let bias = _mm256_maskload_ps(f.bias.wrapping_add(column + 8 * v), mask[v]);
                            value = _mm256_add_ps(value, bias);
                        }
                        if !f.residual.is_null() {
                            let residual = _mm256_maskload_ps(f.residual.wrapping_add(at), mask[v]);
                            value = _mm256_add_ps(value, residual);
                        }
                        if let Some(slope) = f.slope {
                            // As in the AVX-512 kernel.
                            let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(value, zero);
                            let scaled = _mm256_mul_ps(value, _mm256_set1_ps(slope));
                            let scaled = if slope == 0.0 { zero } else { scaled };
                            value = _mm256_blendv_ps(value, scaled, negative);
                        }
                    }
                    _mm256_maskstore_ps(place, mask[v], value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
