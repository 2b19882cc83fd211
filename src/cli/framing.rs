//! `--resize`, `--tile`, `--overlap` and `--roi`: how pictures become what networks see.

use super::options::named;
use crate::Result;
use crate::data::framing::{Framing, Resize, Roi};
use crate::detector::file::Config;
use crate::train::setup::Setup;
use std::path::PathBuf;

const HEADING: &str = "How pictures are looked at";

/// Of a training, which the model file keeps; of scoring, in place of the model's.
#[derive(Clone, Debug, clap::Args)]
pub struct Framed {
    /// How a picture becomes the square that the network sees [default: the model's, of a new one stretch]
    #[arg(long, value_parser = named(Resize::NAMES, Resize::find), value_name = "HOW", help_heading = HEADING)]
    resize: Option<Resize>,
    /// Look at pictures in tiles of so many pixels, each scaled to what the network sees: for pictures much larger than that
    #[arg(long, value_name = "PIXELS", conflicts_with = "resize", help_heading = HEADING)]
    tile: Option<usize>,
    /// Pixels that neighbouring tiles share, at most half of one; across them one tile's map becomes the other's [default: a quarter]
    #[arg(long, value_name = "PIXELS", requires = "tile", help_heading = HEADING)]
    overlap: Option<usize>,
    /// Look only where this picture is not black: a mask that is stretched to every picture; `none` takes a model's own away
    #[arg(long, value_name = "MASK|none", help_heading = HEADING)]
    roi: Option<PathBuf>,
}

impl Framed {
    /// What was given, as a training's settings have it.
    pub fn setup(&self, other: Setup) -> Setup {
        let resize = self.resize.map(|resize| resize.name().to_string());
        let roi = self.roi.clone().filter(|path| path.as_os_str() != "none");
        Setup { resize, tile: self.tile, overlap: self.overlap, roi, ..other }
    }

    /// Puts what was given in place of a model's own.
    pub fn put(&self, config: &mut Config) -> Result<()> {
        if self.resize.is_some() || self.tile.is_some() {
            let roi = config.framing.roi.take();
            config.framing = Framing::new(self.resize, self.tile, self.overlap, roi)?;
            config.framing.expect_for(config.architecture.image_size)?;
        }
        if let Some(path) = &self.roi {
            config.framing.roi = if path.as_os_str() == "none" { None } else { Some(Roi::read(path)?) };
        }
        Ok(())
    }

    /// As [`Framed::put`], with a warning where the model's thresholds rest on another look at pictures.
    pub fn put_and_warn(&self, config: &mut Config) -> Result<()> {
        let before = config.framing.clone();
        self.put(config)?;
        if config.framing != before && config.threshold.is_some() {
            warning!(
                "the model's thresholds rest on pictures otherwise looked at ({}): `ckaad threshold` with the same flags sets \
                 them anew",
                before.describe(config.architecture.image_size)
            );
        }
        Ok(())
    }
}
