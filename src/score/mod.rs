//! From pictures to anomaly maps and scores.

pub mod pipeline;
pub mod program;
pub mod scorer;
