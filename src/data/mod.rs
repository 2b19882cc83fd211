//! Pictures: folder layouts, decoding, resizing, distortion, synthetic sets.
