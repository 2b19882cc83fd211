//! From PTX text to syntax: tokens, then declarations, functions and instructions with every name resolved.
//!
//! Knows no instruction: that `add.f32` exists, and what it does, is decided in `lower`. Imports no other room.

pub mod ast;
mod body;
mod declare;
mod lex;
mod link;
pub mod parse;
mod provided;
pub mod ty;
