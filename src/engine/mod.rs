//! The compute engine: record once (`tape`), place every buffer (`plan`), replay on a device (`device`).

pub mod device;
pub mod ops;
pub mod real;
