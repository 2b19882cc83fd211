//! TIFF as Pillow reads it, through the `tiff` crate: gray of 1 to 16 bits, signed or not, palettes, RGB, CMYK and YCbCr;
//! strips or tiles, one plane or several, classic or BigTIFF.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageBuffer, RgbImage};
use tiff::ColorType;
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{PhotometricInterpretation, PlanarConfiguration, Tag};

use crate::error::{Error, Result};
use crate::invalid;

/// What a file holds.
pub struct Tiff {
    pub picture: DynamicImage,
    /// Palette indices, where there is a palette.
    pub indices: Option<Vec<u8>>,
    /// As in EXIF.
    pub orientation: Option<u8>,
    pub warnings: Vec<String>,
}

/// Whether a file begins as a TIFF or BigTIFF does.
pub fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

fn damaged(e: tiff::TiffError) -> Error {
    Error::Invalid(match e {
        tiff::TiffError::UnsupportedError(e) => format!("a kind of TIFF that cannot be read: {e}"),
        tiff::TiffError::LimitsExceeded => "needs more memory than allowed to decode".into(),
        e => format!("damaged: {e}"),
    })
}

/// Width and height by the head of a file.
pub fn size(bytes: &[u8]) -> Result<(u64, u64)> {
    let (width, height) = Decoder::new(Cursor::new(bytes)).and_then(|mut d| d.dimensions()).map_err(damaged)?;
    Ok((width.into(), height.into()))
}

pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Tiff> {
    // The crate reads no palettes, but what it calls gray are the indices.
    if let Some(at) = palette_tag(bytes) {
        let mut gray = bytes.to_vec();
        let value = PhotometricInterpretation::BlackIsZero.to_u16();
        let value = if bytes[0] == b'I' { value.to_le_bytes() } else { value.to_be_bytes() };
        gray[at..at + 2].copy_from_slice(&value);
        return decode_as(&gray, max_pixels, true);
    }
    decode_as(bytes, max_pixels, false)
}

fn decode_as(bytes: &[u8], max_pixels: u64, palette: bool) -> Result<Tiff> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = (max_pixels * 8) as usize;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    super::expect_size(width.into(), height.into(), max_pixels)?;
    let color = decoder.colortype().map_err(damaged)?;
    let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).map_err(damaged)?;
    let map = if palette { Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(damaged)?) } else { None };
    let mut samples = DecodingResult::U8(Vec::new());
    let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(damaged)?
        == Some(PlanarConfiguration::Planar.to_u16());
    if planar && decoder.get_chunk_type() == ChunkType::Tile {
        // `tiff` 0.11 panics where it reads all planes of these at once.
        samples = DecodingResult::U8(planes_of_tiles(&mut decoder, (width as usize, height as usize), color)?);
    } else {
        decoder.read_image_to_buffer(&mut samples).map_err(damaged)?;
    }
    let count = width as usize * height as usize;

    let mut warnings = Vec::new();
    let mut indices = None;
    let picture = match (samples, color) {
        (DecodingResult::U8(packed), ColorType::Gray(bits @ (1 | 2 | 4 | 8))) => {
            let values = unpacked(&packed, width as usize, bits);
            match map {
                Some(map) => {
                    let colors = colors(&values, &map)?;
                    indices = Some(values);
                    rgb(width, height, colors)?
                }
                // White-is-zero is turned round already.
                None if bits < 8 => {
                    let step = 255 / ((1 << bits) - 1);
                    gray(width, height, values.iter().map(|&v| v * step).collect())?
                }
                None => gray(width, height, values)?,
            }
        }
        (DecodingResult::U16(values), ColorType::Gray(16)) if map.is_none() => {
            sized(ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16))?
        }
        // As Pillow: the bits of signed bytes, and wider numbers cut to what a byte holds.
        (DecodingResult::I8(values), ColorType::Gray(8)) => {
            gray(width, height, values.iter().map(|&v| v as u8).collect())?
        }
        (DecodingResult::I16(values), ColorType::Gray(16)) => {
            gray(width, height, cut(values.into_iter().map(i64::from), &mut warnings))?
        }
        (DecodingResult::I32(values), ColorType::Gray(32)) => {
            gray(width, height, cut(values.into_iter().map(i64::from), &mut warnings))?
        }
        (DecodingResult::U32(values), ColorType::Gray(32)) => {
            gray(width, height, cut(values.into_iter().map(i64::from), &mut warnings))?
        }
        (DecodingResult::U8(values), color) => {
            let channels = usize::from(color.num_samples());
            let values = if planar { interleaved(&values, channels, count)? } else { values };
            rgb(width, height, bytes_to_rgb(&values, color)?)?
        }
        (DecodingResult::U16(values), ColorType::RGB(16) | ColorType::RGBA(16)) => {
            let channels = usize::from(color.num_samples());
            let values = if planar { interleaved(&values, channels, count)? } else { values };
            if channels == 3 {
                sized(ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb16))?
            } else {
                sized(ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba16))?
            }
        }
        (_, color) => {
            invalid!("a kind of TIFF that cannot be read: {}, expected integers of up to 16 bits", named(color))
        }
    };
    warnings.extend(super::frames::warning(1 + further_pages(&mut decoder), "pages"));
    Ok(Tiff { picture, indices, orientation, warnings })
}

/// Pages behind the one that was read. Smaller versions of a page and its transparency are no pages (TIFF 6.0, NewSubfileType).
fn further_pages(decoder: &mut Decoder<Cursor<&[u8]>>) -> usize {
    const NO_PAGE: u32 = 1 | 4;
    let mut pages = 0;
    while decoder.more_images() && decoder.next_image().is_ok() {
        let kind = decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType).ok().flatten();
        pages += usize::from(kind.unwrap_or(0) & NO_PAGE == 0);
    }
    pages
}

/// The planes of an 8-bit picture of tiles, one behind the other.
fn planes_of_tiles(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    (width, height): (usize, usize),
    color: ColorType,
) -> Result<Vec<u8>> {
    let (tile_width, tile_height) = decoder.chunk_dimensions();
    let (tile_width, tile_height) = (tile_width as usize, tile_height as usize);
    let (across, down) = (width.div_ceil(tile_width.max(1)), height.div_ceil(tile_height.max(1)));
    let mut planes = vec![0; width * height * usize::from(color.num_samples())];
    for (p, plane) in planes.chunks_exact_mut(width * height).enumerate() {
        for tile in 0..across * down {
            let (x, y) = (tile % across * tile_width, tile / across * tile_height);
            let index = u32::try_from(p * across * down + tile).map_err(|_| damaged(tiff::TiffError::IntSizeError))?;
            let DecodingResult::U8(values) = decoder.read_chunk(index).map_err(damaged)? else {
                invalid!("a kind of TIFF that cannot be read: tiled planes of {}, expected 8 bits", named(color));
            };
            let (w, h) = (tile_width.min(width - x), tile_height.min(height - y));
            if values.len() < w * h {
                invalid!("damaged: fewer samples than pixels");
            }
            for (row, values) in values.chunks_exact(w).take(h).enumerate() {
                plane[(y + row) * width + x..][..w].copy_from_slice(values);
            }
        }
    }
    Ok(planes)
}

/// Eight-bit samples of any colour as RGB.
fn bytes_to_rgb(values: &[u8], color: ColorType) -> Result<Vec<u8>> {
    Ok(match color {
        ColorType::RGB(8) => values.to_vec(),
        ColorType::RGBA(8) => values.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
        ColorType::CMYK(8) => super::cmyk_to_rgb(values, false),
        ColorType::YCbCr(8) => values.as_chunks::<3>().0.iter().flat_map(|&p| ycbcr(p)).collect(),
        // Gray with something else, mostly alpha, which is dropped.
        ColorType::Multiband { bit_depth: 8, num_samples: 2 } => {
            values.as_chunks::<2>().0.iter().flat_map(|&[v, _]| [v; 3]).collect()
        }
        other => invalid!("a kind of TIFF that cannot be read: {}", named(other)),
    })
}

/// What its samples are, for errors.
fn named(color: ColorType) -> String {
    let bits = color.bit_depth();
    let what = match color {
        ColorType::Gray(_) => "gray",
        ColorType::RGB(_) => "RGB",
        ColorType::Palette(_) => "palette",
        ColorType::GrayA(_) => "gray and alpha",
        ColorType::RGBA(_) => "RGB and alpha",
        ColorType::CMYK(_) | ColorType::CMYKA(_) => "CMYK",
        ColorType::YCbCr(_) => "YCbCr",
        ColorType::Lab(_) => "Lab",
        _ => "many-channel",
    };
    format!("{what} samples of {bits} bits")
}

/// ITU-R 601 of full range, as libjpeg converts.
fn ycbcr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136_286 * cb - 0.714_136_286 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
}

/// Values of fewer than 8 bits, one byte each; a row begins with a byte.
fn unpacked(packed: &[u8], width: usize, bits: u8) -> Vec<u8> {
    if bits == 8 {
        return packed.to_vec();
    }
    let each = 8 / usize::from(bits);
    let mask = (1u8 << bits) - 1;
    let value = |row: &[u8], x: usize| (row[x / each] >> (8 - bits as usize * (x % each + 1))) & mask;
    let rows = packed.chunks_exact(width.div_ceil(each));
    rows.flat_map(|row| (0..width).map(move |x| value(row, x))).collect()
}

/// What a palette shows: 16-bit values, all reds before all greens before all blues.
fn colors(indices: &[u8], map: &[u16]) -> Result<Vec<u8>> {
    let n = map.len() / 3;
    if indices.iter().any(|&i| usize::from(i) >= n) {
        invalid!("damaged: a pixel beyond the palette's {n} colours");
    }
    Ok(indices.iter().flat_map(|&i| [0, 1, 2].map(|c| (map[c * n + usize::from(i)] >> 8) as u8)).collect())
}

/// Planes one behind the other as pixels.
fn interleaved<T: Copy>(planes: &[T], channels: usize, count: usize) -> Result<Vec<T>> {
    if planes.len() < channels * count {
        invalid!("damaged: fewer samples than pixels need");
    }
    Ok((0..count).flat_map(|i| (0..channels).map(move |c| planes[c * count + i])).collect())
}

fn cut(values: impl Iterator<Item = i64>, warnings: &mut Vec<String>) -> Vec<u8> {
    let mut beyond = 0usize;
    let values = values.map(|v| {
        beyond += usize::from(!(0..=255).contains(&v));
        v.clamp(0, 255) as u8
    });
    let values = values.collect();
    if beyond > 0 {
        warnings.push(format!("{beyond} pixels are outside of 0 to 255 and were cut"));
    }
    values
}

fn gray(width: u32, height: u32, values: Vec<u8>) -> Result<DynamicImage> {
    sized(GrayImage::from_raw(width, height, values).map(DynamicImage::ImageLuma8))
}

fn rgb(width: u32, height: u32, values: Vec<u8>) -> Result<DynamicImage> {
    sized(RgbImage::from_raw(width, height, values).map(DynamicImage::ImageRgb8))
}

fn sized(picture: Option<DynamicImage>) -> Result<DynamicImage> {
    picture.ok_or_else(|| Error::Invalid("damaged: fewer samples than pixels".into()))
}

/// Where the first directory says that the pixels are indices: the offset of that value (TIFF 6.0, section 2; for BigTIFF
/// Aware Systems' description).
fn palette_tag(bytes: &[u8]) -> Option<usize> {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, size: usize| -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(size)?)?;
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if little { digits.iter().rev().fold(0, add) } else { digits.iter().fold(0, add) })
    };
    let big = number(2, 2)? == 43;
    // Sizes of: an offset, the number of entries, an entry, what precedes an entry's value.
    let (offset, count, entry, value) = if big { (8, 8, 20, 12) } else { (4, 2, 12, 8) };
    let directory = usize::try_from(number(if big { 8 } else { 4 }, offset)?).ok()?;
    // Entries are in ascending order of their tags, and there are not more of them than bytes.
    for i in 0..number(directory, count)?.min(bytes.len() as u64) as usize {
        let at = directory.checked_add(count)?.checked_add(i * entry)?;
        if number(at, 2)? == u64::from(Tag::PhotometricInterpretation.to_u16()) {
            let palette = u64::from(PhotometricInterpretation::RGBPalette.to_u16());
            return (number(at + value, 2)? == palette).then_some(at + value);
        }
    }
    None
}
