//! Reductions over contiguous slices, in a fixed order.

use crate::engine::real::Real;

/// Independent partial sums, so that the loop vectorises; also keeps f32 rounding small.
const LANES: usize = 32;

/// Sum of products, accumulated in `T` in 32 lanes. Inlined, for callers that are compiled for wide registers.
#[inline(always)]
pub fn dot<T: Real, const FUSED: bool>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut tail = T::ZERO;
    for (a, b) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        tail += *a * *b;
    }
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add::<FUSED>(b[i], lanes[i]);
        }
    }
    lanes.into_iter().sum::<T>() + tail
}

/// Sum of squared differences, in 32 lanes. Inlined as `dot`.
#[inline(always)]
pub fn squared_distance<T: Real, const FUSED: bool>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a_chunks, a_tail), (b_chunks, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            let d = a[i] - b[i];
            lanes[i] = d.mul_add::<FUSED>(d, lanes[i]);
        }
    }
    let mut tail = T::ZERO;
    for (a, b) in a_tail.iter().zip(b_tail) {
        tail += (*a - *b) * (*a - *b);
    }
    lanes.into_iter().sum::<T>() + tail
}

/// Sum of products of long slices: blocks in `T`, their sum in f64. Inlined as `dot`.
#[inline(always)]
pub fn dot_f64<T: Real, const FUSED: bool>(a: &[T], b: &[T]) -> f64 {
    const BLOCK: usize = 4096;
    // A loop: a closure handed to an iterator is a function of its own, which need not be inlined.
    let mut sum = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        sum += dot::<T, FUSED>(a, b).f64();
    }
    sum
}
