//! Pictures: dataset layouts, decoding, which are the same, how they become squares, resizing, distortion, synthetic sets, pictures to
//! pretrain on.

pub mod digest;
pub mod elastic;
pub mod formula;
pub mod framing;
pub mod image;
pub mod layout;
pub mod listing;
pub mod protocol;
pub mod resize;
pub mod synthetic;
