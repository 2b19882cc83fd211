//! Products of small integers, summed exactly in 32 bits: what quantised ops compute with on the CPU.
//!
//! [`microkernel`]: sums of one tile, by whichever instructions the machine has, all with the same result. [`gemm`]: products of
//! whole matrices. [`store`]: from sums to what is kept of them.

pub mod gemm;
pub mod microkernel;
pub mod store;
