//! The engine: every op's case table, the plan, the optimizer, and third-party truth.

#[path = "../common/mod.rs"]
mod common;

mod command;
mod gradients;
mod int8;
mod onnx_nodes;
mod ops;
mod optimizer;
mod plan;
mod state;
