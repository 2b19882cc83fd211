//! Heat maps and anomaly maps of scored pictures as files, named after the pictures.

use super::encode::png_rgb;
use super::heatmap::{Scale, heatmap, with_legend};
use super::maps::{write_npy, write_tiff};
use crate::Result;
use crate::data::resize;
use crate::output::OurFolder;
use crate::score::map::Map;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Pixels of the largest picture that has a heat map of its own size.
pub const LARGE: usize = 1 << 25;

/// How an anomaly map is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFormat {
    Npy,
    Tiff,
}

/// Where the files of one run go, and what they look like.
pub struct MapFiles {
    heatmaps: Option<OurFolder>,
    maps: Option<OurFolder>,
    format: MapFormat,
    /// Of the heat maps; without one each has its own, from its map's lowest value to its highest.
    scale: Option<Scale>,
    /// Names already used, without extension and in lower case: not every system tells a.png from A.png.
    taken: HashSet<String>,
}

/// The files of one picture.
#[derive(Default)]
pub struct Written {
    pub heatmap: Option<PathBuf>,
    pub map: Option<PathBuf>,
}

impl MapFiles {
    /// The folders are among a command's [`Outputs`](crate::output::Outputs), which made them.
    pub fn new(
        heatmaps: Option<PathBuf>,
        maps: Option<PathBuf>,
        format: MapFormat,
        scale: Option<Scale>,
    ) -> Result<Self> {
        let open = |folder: Option<PathBuf>| folder.map(OurFolder::open).transpose();
        Ok(MapFiles { heatmaps: open(heatmaps)?, maps: open(maps)?, format, scale, taken: HashSet::new() })
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.heatmaps.is_none() && self.maps.is_none()
    }

    /// Writes what is wanted of one picture (RGB, of `shown` pixels), under its name in a list of pictures, subfolders
    /// included.
    pub fn write(&mut self, name: &Path, rgb: &[u8], shown: (usize, usize), map: &Map) -> Result<Written> {
        let mut written = Written::default();
        if self.is_empty() {
            return Ok(written);
        }
        let name = self.free_name(name);
        if let Some(folder) = &mut self.heatmaps {
            let scale = self.scale.unwrap_or_else(|| Scale::of_maps([&map.values[..]].into_iter()));
            let (rgb, drawn) = drawn(rgb, shown, map);
            let (pixels, height) = with_legend(heatmap(&rgb, drawn, map, &scale), drawn, &scale);
            let png = png_rgb(&pixels, drawn.0, height)?;
            written.heatmap = Some(folder.write(&with(&name, "png"), |f| f.write_all(&png))?);
        }
        if let Some(folder) = &mut self.maps {
            written.map = Some(match self.format {
                MapFormat::Npy => {
                    folder.write(&with(&name, "npy"), |f| write_npy(f, &map.values, map.width, map.height))?
                }
                MapFormat::Tiff => {
                    folder.write(&with(&name, "tiff"), |f| write_tiff(f, &map.values, map.width, map.height))?
                }
            });
        }
        Ok(written)
    }

    /// The picture's name without extension, numbered if an earlier picture had the same.
    fn free_name(&mut self, name: &Path) -> PathBuf {
        let (folder, stem) = (name.parent().unwrap_or(Path::new("")), name.file_stem().unwrap_or_default());
        let mut free = folder.join(stem);
        let mut number = 1;
        while !self.taken.insert(free.to_string_lossy().to_lowercase()) {
            number += 1;
            let mut numbered = stem.to_owned();
            numbered.push(format!("-{number}"));
            free = folder.join(numbered);
        }
        free
    }
}

/// The picture that a heat map is drawn on, and its shape: its own, or if it has more than [`LARGE`] pixels, its map's.
fn drawn<'a>(rgb: &'a [u8], shown: (usize, usize), map: &Map) -> (Cow<'a, [u8]>, (usize, usize)) {
    if shown.0 * shown.1 <= LARGE {
        return (rgb.into(), shown);
    }
    (resize::bilinear::<3>(rgb, shown, map.shape()).into(), map.shape())
}

/// Not `with_extension`: a name may hold dots.
fn with(name: &Path, extension: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
