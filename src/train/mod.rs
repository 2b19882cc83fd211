//! Training: one step as one program, the loop over it, the cache of features, checkpoints.

pub mod step;
