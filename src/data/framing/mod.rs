//! How pictures of any shape become what networks see, squares of one size: whole, stretched, padded or cropped; or tile by tile;
//! and which part of them is looked at.

mod frame;
mod roi;

pub use frame::{Frame, Side};
pub use roi::Roi;

use super::image::{MAX_PIXELS, MAX_TILED_PIXELS, Picture};
use crate::{Error, Result};
use serde::Serialize;

/// How a whole picture becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    #[default]
    Stretch,
    /// Scaled until it fits in, in the middle of a plain ground. The ground is no part of its map.
    Pad,
    /// The largest square in its middle. What lies beside is not looked at: its map is 0 there.
    Crop,
}

impl Resize {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("stretch", "To a square, whatever its shape was"),
        ("pad", "Scaled until it fits in, in the middle of a plain ground, which does not count"),
        ("crop", "The largest square in its middle; what lies beside is not looked at"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "stretch" => Ok(Resize::Stretch),
            "pad" => Ok(Resize::Pad),
            "crop" => Ok(Resize::Crop),
            _ => Err(Error::Usage(format!("unknown way to resize '{name}': expected stretch, pad or crop"))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Resize::Stretch => "stretch",
            Resize::Pad => "pad",
            Resize::Crop => "crop",
        }
    }
}

/// A picture as overlapping squares, in pixels of the picture. Each is scaled to what the network sees; a side of the picture that is
/// shorter than a tile is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tiling {
    /// Side of a tile.
    #[serde(rename = "tile")]
    pub size: usize,
    /// Neighbours share at least so many pixels.
    pub overlap: usize,
}

/// How pictures become squares. A model file keeps it; the default, a whole picture stretched, is that of files that say nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Framing {
    #[serde(skip_serializing_if = "is_stretch")]
    pub resize: Resize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
    /// What of a picture is looked at; all of it where none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roi: Option<Roi>,
}

fn is_stretch(resize: &Resize) -> bool {
    *resize == Resize::Stretch
}

impl Framing {
    /// In tiles of side `tile`, or whole where there is none. Neighbouring tiles share a quarter where no `overlap` is given. Errors
    /// (kind `Usage`): an overlap of more than half a tile, or without tiles; tiles that are resized in another way.
    pub fn new(resize: Option<Resize>, tile: Option<usize>, overlap: Option<usize>, roi: Option<Roi>) -> Result<Self> {
        let usage = |text: String| Err(Error::Usage(text));
        let tiling = match (tile, overlap) {
            (None, Some(overlap)) => {
                return usage(format!("--overlap {overlap}: between tiles; --tile says how large"));
            }
            (None, None) => None,
            (Some(size), overlap) => {
                let overlap = overlap.unwrap_or(size / 4);
                if overlap > size / 2 {
                    return usage(format!("--overlap {overlap}: of tiles of {size} at most half, {}", size / 2));
                }
                Some(Tiling { size, overlap })
            }
        };
        if let (Some(resize), Some(_)) = (resize.filter(|r| *r != Resize::Stretch), tiling) {
            return usage(format!("--resize {}: of whole pictures; tiles are squares already", resize.name()));
        }
        Ok(Framing { resize: resize.unwrap_or_default(), tiling, roi })
    }

    /// Refuses tiles that a network for squares of side `size` has no use for.
    pub fn expect_for(&self, size: usize) -> Result<()> {
        match self.tiling {
            Some(Tiling { size: tile, .. }) if !(size / 4..=16 * size).contains(&tile) => {
                let (low, high) = (size / 4, 16 * size);
                Err(Error::Usage(format!(
                    "--tile {tile}: with pictures of {size} pixels for the network, expected {low} to {high}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The most pixels that a picture may have.
    pub fn max_pixels(&self) -> u64 {
        if self.tiling.is_some() { MAX_TILED_PIXELS } else { MAX_PIXELS }
    }

    /// What is not as by default, by the names of `ckaad train`'s flags, as model files and exports tell it.
    pub fn told(&self) -> Result<Vec<(&'static str, String)>> {
        let mut all = Vec::new();
        if self.resize != Resize::Stretch {
            all.push(("resize", self.resize.name().into()));
        }
        if let Some(Tiling { size, overlap }) = self.tiling {
            all.extend([("tile", size.to_string()), ("overlap", overlap.to_string())]);
        }
        if let Some(roi) = &self.roi {
            all.push(("roi", roi.to_text()?));
        }
        Ok(all)
    }

    /// In a line: `tiles of 512 x 512 pixels, which share 128 with their neighbours; a region of interest of 40.0 %`.
    pub fn describe(&self, size: usize) -> String {
        let mut text = match (self.tiling, self.resize) {
            (Some(Tiling { size: tile, overlap }), _) => {
                format!(
                    "tiles of {tile} x {tile} pixels, scaled to {size} x {size}; neighbours share at least {overlap}"
                )
            }
            (None, Resize::Stretch) => format!("resized to {size} x {size}"),
            (None, Resize::Pad) => format!("scaled until they fit into {size} x {size}, and padded"),
            (None, Resize::Crop) => format!("the square in their middle, resized to {size} x {size}"),
        };
        if let Some(roi) = &self.roi {
            text += &format!("; a region of interest of {:.1} % of them", 100.0 * roi.share());
        }
        text
    }
}

/// Makes squares for one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Framer {
    pub framing: Framing,
    /// Side of the squares.
    pub size: usize,
    /// The colour of what is no picture, and of what is not looked at: the network's mean.
    pub ground: [u8; 3],
}

impl Framer {
    /// A plan for pictures of one shape (width, height). Errors: of a shape that there is nothing to see of.
    pub fn frame(&self, shown: (usize, usize)) -> Result<Frame> {
        Frame::new(self, shown)
    }

    /// Decodes a file's bytes. Errors say what is wrong with them.
    pub fn decode(&self, bytes: &[u8]) -> Result<Picture> {
        Picture::decode_within(bytes, self.framing.max_pixels())
    }
}
