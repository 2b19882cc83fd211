//! The CPU: threads and matrix products that the op kernels are built from, and the session that runs them.

pub mod session;
pub mod vector;

pub use session::{plan, session};
