//! An anomaly map as colours over its picture, and pictures as PNG or JPEG bytes.

use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use crate::error::{Error, Result};
use crate::invalid;

/// How opaque the colour is where the map is highest; it fades to half of that where the map is lowest.
const OPACITY: f32 = 0.65;

/// Blends `map` (`width * height` values, any range) over `rgb` (three bytes per value): `lo` and below get the cold end
/// of the colour scale, `hi` and above the hot end. Use one pair for all pictures of a set so that they compare. A value
/// that is not a number is drawn as `lo`.
pub fn heatmap(rgb: &[u8], map: &[f32], lo: f32, hi: f32) -> Vec<u8> {
    debug_assert_eq!(rgb.len(), map.len() * 3);
    let scale = if hi > lo { 1.0 / (hi - lo) } else { 0.0 };
    let pixels = rgb.as_chunks::<3>().0.iter().zip(map);
    pixels
        .flat_map(|(&pixel, &v)| {
            let t = ((v - lo) * scale).clamp(0.0, 1.0);
            let t = if t.is_nan() { 0.0 } else { t };
            let (color, opacity) = (turbo(t), OPACITY * (0.5 + 0.5 * t));
            [0, 1, 2].map(|c| (f32::from(pixel[c]) * (1.0 - opacity) + 255.0 * color[c] * opacity).round() as u8)
        })
        .collect()
}

/// The Turbo colour scale (A. Mikhailov, 2019) as the polynomial its author published; `t` and the result are 0 to 1.
/// The scale's own ends are nearly black, which would look like shadow on a picture: they are left out.
fn turbo(t: f32) -> [f32; 3] {
    let t = 0.08 + 0.87 * t;
    const RED: [f32; 6] = [0.135_721_38, 4.615_392_6, -42.660_324, 132.131_08, -152.942_4, 59.286_38];
    const GREEN: [f32; 6] = [0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_033, 4.277_298_5, 2.829_566];
    const BLUE: [f32; 6] = [0.106_673_3, 12.641_946, -60.582_047, 110.362_77, -89.903_11, 27.348_25];
    [RED, GREEN, BLUE].map(|p| p.iter().rev().fold(0.0, |sum, c| sum * t + c).clamp(0.0, 1.0))
}

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
