//! Pictures: folder layouts, decoding, resizing, distortion, synthetic sets.

pub mod elastic;
pub mod folder;
pub mod image;
pub mod listing;
pub mod resize;
pub mod synthetic;
