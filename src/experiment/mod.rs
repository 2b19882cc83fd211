//! Experiments: a grid of trainings and evaluations from a file, run cell by cell, and its table beside printed figures; and what
//! the paper proves, tried on points of the plane (`mixture`).

pub mod figure;
pub mod file;
pub mod folder;
pub mod grid;
pub mod inputs;
mod keys;
pub mod merge;
pub mod mixture;
pub mod printed;
pub mod results;
pub mod run;
pub mod shard;
pub mod table;
