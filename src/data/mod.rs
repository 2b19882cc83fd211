//! Pictures: dataset layouts, decoding, resizing, distortion, synthetic sets.

pub mod elastic;
pub mod image;
pub mod layout;
pub mod listing;
pub mod protocol;
pub mod resize;
pub mod synthetic;
