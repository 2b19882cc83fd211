//! Heat maps and anomaly maps of scored pictures as files, named after the pictures.

use super::heatmap::{heatmap, png_rgb};
use super::maps::{write_npy, write_tiff};
use crate::output::write_atomically;
use crate::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How an anomaly map is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapFormat {
    Npy,
    Tiff,
}

/// Where the files of one run go.
pub struct MapFiles {
    heatmaps: Option<PathBuf>,
    maps: Option<PathBuf>,
    format: MapFormat,
    threshold: Option<f64>,
    size: usize,
    /// Names already used.
    taken: HashSet<String>,
}

impl MapFiles {
    /// Makes the folders. Pictures and maps are `size` x `size`.
    pub fn new(
        heatmaps: Option<&Path>,
        maps: Option<&Path>,
        format: MapFormat,
        threshold: Option<f64>,
        size: usize,
    ) -> Result<Self> {
        for folder in [heatmaps, maps].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let [heatmaps, maps] = [heatmaps, maps].map(|folder| folder.map(Path::to_path_buf));
        Ok(MapFiles { heatmaps, maps, format, threshold, size, taken: HashSet::new() })
    }

    /// Writes what is wanted of one picture, called after the stem of `path`.
    pub fn write(&mut self, path: &Path, pixels: &[u8], map: &[f32]) -> Result<()> {
        if self.heatmaps.is_none() && self.maps.is_none() {
            return Ok(());
        }
        let (name, size) = (self.free_name(path), self.size);
        if let Some(folder) = &self.heatmaps {
            // With a threshold all pictures share one scale: half of the colours lie below it. Without, each has its own.
            let range = match self.threshold {
                Some(t) => (0.0, 2.0 * t as f32),
                None => map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v))),
            };
            let png = png_rgb(&heatmap(pixels, map, range.0, range.1), size, size)?;
            write_atomically(&folder.join(format!("{name}.png")), |f| f.write_all(&png))?;
        }
        if let Some(folder) = &self.maps {
            let extension = match self.format {
                MapFormat::Npy => "npy",
                MapFormat::Tiff => "tiff",
            };
            write_atomically(&folder.join(format!("{name}.{extension}")), |f| match self.format {
                MapFormat::Npy => write_npy(f, map, size, size),
                MapFormat::Tiff => write_tiff(f, map, size, size),
            })?;
        }
        Ok(())
    }

    /// The picture's stem, numbered if an earlier picture had the same.
    fn free_name(&mut self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut name = stem.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{stem}-{number}");
        }
        name
    }
}
