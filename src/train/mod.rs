//! Training: one step as one program, the loop over it, the cache of features, checkpoints, the threshold.

pub mod checkpoint;
pub mod features;
pub mod pictures;
pub mod run;
pub mod step;
pub mod threshold;
