//! Heat maps and the HTML report. Everything is returned as bytes or text; the caller decides where it goes.

pub mod heatmap;
pub mod html;
pub mod maps;
