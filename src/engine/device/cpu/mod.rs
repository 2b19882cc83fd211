//! The CPU: threads and matrix products that the op kernels are built from, and the session that runs them.

pub mod gemm;
pub mod microkernel;
pub mod session;
pub mod threads;
pub mod vector;

pub use session::{plan, session};
