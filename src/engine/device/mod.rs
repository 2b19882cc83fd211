//! Where a plan runs.

pub mod cpu;
