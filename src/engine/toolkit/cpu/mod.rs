//! Threads, matrix products and reductions that the CPU kernels of ops are built from.

pub mod gemm;
pub mod int8;
pub mod isa;
pub mod microkernel;
pub mod threads;
pub mod vector;
