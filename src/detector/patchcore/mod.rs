//! PatchCore (Roth et al., 2022): patches are compared with a memory bank of those of normal pictures.

pub mod coreset;
pub mod projection;
pub mod scoring;
