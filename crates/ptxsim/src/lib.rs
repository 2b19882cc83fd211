//! Runs PTX kernels on the CPU, and checks what a GPU would not tell.

// Lanes are counted: loops over them index several arrays in step.
#![allow(clippy::needless_range_loop)]

mod access;
mod access_global;
mod access_shared;
mod allocate;
mod alu;
mod atomics;
mod collective;
mod convert;
mod copies;
mod counters;
mod error;
mod exec;
mod float;
mod launch;
mod lex;
mod lower;
mod lower_mem;
mod lower_ops;
mod memory;
mod mma;
mod module;
mod op;
mod parse;
mod pattern;
mod round;
mod shared;
mod ty;
mod view;
mod warp;

pub use counters::{Class, Counters};
pub use error::{Fault, FaultKind, MemoryError, ParseError};
pub use launch::{Launch, Options};
pub use memory::Memory;
pub use module::{Entry, Module, Param};
pub use view::{Access, Buffer};
