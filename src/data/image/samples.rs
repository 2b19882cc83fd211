//! Pictures from samples that lie in memory, as another program's arrays hold them.

use image::{DynamicImage, ImageBuffer};

use super::{MAX_PIXELS, Picture, empty_high_bits, expect_size, to_rgb};
use crate::error::Result;
use crate::invalid;

/// Samples of a picture, rows first, channels innermost.
#[derive(Clone, Debug)]
pub enum Samples {
    Bits8(Vec<u8>),
    Bits16(Vec<u16>),
}

impl Samples {
    fn len(&self) -> usize {
        match self {
            Samples::Bits8(samples) => samples.len(),
            Samples::Bits16(samples) => samples.len(),
        }
    }

    /// None unless there are as many as a picture of these sizes and channels has.
    fn picture(self, width: u32, height: u32, channels: usize) -> Option<DynamicImage> {
        use DynamicImage as D;
        use Samples::{Bits8, Bits16};
        Some(match (channels, self) {
            (1, Bits8(s)) => D::ImageLuma8(ImageBuffer::from_raw(width, height, s)?),
            (2, Bits8(s)) => D::ImageLumaA8(ImageBuffer::from_raw(width, height, s)?),
            (3, Bits8(s)) => D::ImageRgb8(ImageBuffer::from_raw(width, height, s)?),
            (4, Bits8(s)) => D::ImageRgba8(ImageBuffer::from_raw(width, height, s)?),
            (1, Bits16(s)) => D::ImageLuma16(ImageBuffer::from_raw(width, height, s)?),
            (2, Bits16(s)) => D::ImageLumaA16(ImageBuffer::from_raw(width, height, s)?),
            (3, Bits16(s)) => D::ImageRgb16(ImageBuffer::from_raw(width, height, s)?),
            (4, Bits16(s)) => D::ImageRgba16(ImageBuffer::from_raw(width, height, s)?),
            _ => return None,
        })
    }
}

impl Picture {
    /// `height * width * channels` samples as what a file of them would give: 1 channel is gray, 3 are red, green and
    /// blue; a second or fourth is alpha and dropped, of 16-bit samples the high byte is kept.
    pub fn of_samples(samples: Samples, (width, height): (usize, usize), channels: usize) -> Result<Self> {
        if !(1..=4).contains(&channels) {
            invalid!("a picture of {channels} channels: expected 1 (gray), 3 (RGB), or 2 or 4 (the same with alpha)");
        }
        expect_size(width as u64, height as u64, MAX_PIXELS)?;
        let (expected, found) = (width * height * channels, samples.len());
        match samples.picture(width as u32, height as u32, channels) {
            Some(picture) if found == expected => {
                let warnings = empty_high_bits(&picture).into_iter().collect();
                let rgb = to_rgb(picture)?.into_rgb8().into_raw();
                Ok(Picture { warnings, ..Picture::new(width, height, rgb) })
            }
            _ => invalid!("{found} samples, expected {width} x {height} x {channels}"),
        }
    }
}
