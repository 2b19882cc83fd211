//! Products of small integers, summed exactly in 32 bits: what quantised ops compute with on the CPU.
//!
//! [`microkernel`]: sums of one tile, by whichever instructions the machine has, all with the same result. [`gemm`]: products of
//! whole matrices. [`store`]: from sums to what is kept of them.

pub mod gemm;
pub mod microkernel;
pub mod store;

use crate::engine::real::Real;

/// Elements of `T` whose memory holds so many words.
pub const fn elements<T>(words: usize) -> usize {
    (words * size_of::<i32>()).div_ceil(size_of::<T>())
}

/// A kernel's packed filters and its scratch memory, in words: filters that were packed before, or `len` words of scratch that `pack` fills.
pub fn words<'a, T: Real>(
    packed: Option<&'a [T]>,
    scratch: &'a mut [T],
    len: usize,
    pack: impl FnOnce(&mut [i32]),
) -> (&'a [i32], &'a mut [i32]) {
    let scratch: &mut [i32] = bytemuck::cast_slice_mut(scratch);
    match packed {
        Some(packed) => (bytemuck::cast_slice(packed), scratch),
        None => {
            let (packed, rest) = scratch.split_at_mut(len);
            pack(packed);
            (packed, rest)
        }
    }
}
