//! Runs programs as our own PTX kernels: on a GPU through `cudarc`, or on the CPU through the emulator `ptxsim`.
//!
//! Ops record [`Launch`](crate::engine::toolkit::cuda::Launch)es once, when a [`session`] opens: memory is planned, so every
//! address is known. A run replays them, as one graph. All of this is the same on both; only the [`Driver`] differs.

mod api;
pub mod card;
#[cfg(feature = "cudnn")]
pub mod cudnn;
mod driver;
pub mod gpu;
mod nvtx;
mod session;
mod sim;
mod staging;
mod timing;

pub use driver::{Copies, Copy, Driver, Graph};
pub use session::{CudaSession, describe, launches, plan};
pub use sim::SimDriver;
