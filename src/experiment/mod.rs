//! Experiments: what the paper claims, tried.

pub mod mixture;
