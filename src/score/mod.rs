//! From pictures to anomaly maps and scores, and how good those are.

pub mod evaluate;
pub mod normalization;
pub mod pipeline;
pub mod regions;
pub mod scorer;
pub mod verdict;
