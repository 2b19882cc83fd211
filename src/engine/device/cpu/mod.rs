//! The CPU: threads and matrix products that the op kernels are built from.

pub mod gemm;
pub mod microkernel;
pub mod threads;
