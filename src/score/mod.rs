//! From pictures to anomaly maps and scores.

pub mod program;
