//! What ops are built from, on every kind of device: it knows numbers, threads, matrix products, kernels and launches, and
//! neither ops nor programs.
//!
//! [`cpu`]: matrix products, their micro-kernels, static partition of work. [`cuda`]: PTX and launches as data, and how
//! matrix products are cut. [`onnx`]: nodes for other engines. Sessions, drivers and cards are in [`device`](super::device), above the ops.

pub mod cpu;
pub mod cuda;
mod number;
pub mod onnx;
mod quantization;

pub use number::Number;
pub use quantization::{Quantization, Stored};
