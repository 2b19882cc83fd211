//! From pictures to anomaly maps, scores and verdicts, and how good those are.

pub mod assembly;
mod blend;
pub mod evaluate;
pub mod map;
pub mod normalization;
pub mod pipeline;
pub mod regions;
pub mod scorer;
pub mod verdict;
