//! Heat maps, map files, numbers as JSON and the HTML report.

pub mod encode;
pub mod evaluation;
pub mod files;
mod font;
pub mod heatmap;
pub mod html;
pub mod json;
pub mod maps;
pub mod scored;
