//! Heat maps, map files and the HTML report.

pub mod evaluation;
pub mod files;
pub mod heatmap;
pub mod html;
pub mod maps;
