//! Pictures as PNG or JPEG bytes.

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use crate::error::{Error, Result};
use crate::invalid;

/// An RGB picture (`width * height * 3` bytes) as a PNG file.
pub fn png_rgb(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    encode(pixels, width, height, 3, |out, w, h| {
        PngEncoder::new(out).write_image(pixels, w, h, ExtendedColorType::Rgb8)
    })
}

/// A gray picture (`width * height` bytes) as a PNG file.
pub fn png_gray(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    encode(pixels, width, height, 1, |out, w, h| PngEncoder::new(out).write_image(pixels, w, h, ExtendedColorType::L8))
}

/// An RGB picture as a JPEG file, for the report: a tenth of the PNG, and nobody measures it.
pub(super) fn jpeg_rgb(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    encode(pixels, width, height, 3, |out, w, h| {
        JpegEncoder::new_with_quality(out, 88).write_image(pixels, w, h, ExtendedColorType::Rgb8)
    })
}

fn encode(
    pixels: &[u8],
    width: usize,
    height: usize,
    channels: usize,
    write: impl FnOnce(&mut Vec<u8>, u32, u32) -> ImageResult<()>,
) -> Result<Vec<u8>> {
    let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else {
        invalid!("a picture of {width} x {height} pixels cannot be written");
    };
    if pixels.len() != width * height * channels {
        invalid!("{} bytes for a picture of {width} x {height} pixels, {channels} bytes each", pixels.len());
    }
    let mut bytes = Vec::new();
    write(&mut bytes, w, h).map_err(|e| Error::Invalid(format!("a picture cannot be encoded: {e}")))?;
    Ok(bytes)
}
