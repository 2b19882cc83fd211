//! Experiments: a grid of trainings and evaluations from a file, run cell by cell, and its table beside printed figures.

pub mod file;
pub mod grid;
pub mod results;
pub mod run;
pub mod table;
