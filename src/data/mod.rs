//! Pictures: folder layouts, decoding, which are the same, resizing, distortion, synthetic sets.

pub mod digest;
pub mod elastic;
pub mod folder;
pub mod image;
pub mod listing;
pub mod resize;
pub mod synthetic;
