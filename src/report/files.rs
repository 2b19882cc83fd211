//! Heat maps and anomaly maps of scored pictures as files, named after the pictures.

use super::heatmap::{Scale, heatmap_png};
use super::maps::{write_npy, write_tiff};
use crate::Result;
use crate::output::OurFolder;
use crate::score::map::Map;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

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
            let png = heatmap_png(rgb, shown, map, self.scale)?;
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

/// Not `with_extension`: a name may hold dots.
fn with(name: &Path, extension: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
