//! What arithmetic operations compute, on the 32 lanes of a warp at once.

pub mod alu;
pub mod convert;
pub mod float;
pub mod round;
