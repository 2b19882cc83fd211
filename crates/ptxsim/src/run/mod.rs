//! Runs decoded operations: device memory, the checks of every access, warps and their divergence, barriers, launches,
//! counters. A [`Module`](module::Module) is what is ready to run. Imports `lower` and `text`.

mod access;
mod collective;
pub mod counters;
mod exec;
mod format;
mod heap;
pub mod launch;
pub mod memory;
mod mma;
pub mod module;
mod shared;
mod system;
pub mod trace;
pub mod view;
mod warp;
