//! Reading pictures: PNG, JPEG, BMP, GIF, TIFF and WebP to 8-bit RGB, as Pillow's `Image.open(path).convert("RGB")` gives
//! it, with the camera's orientation applied.
//!
//! The format is told by content, not by name. 16-bit samples keep their high byte, palettes and gray are expanded,
//! alpha is dropped (not blended), of an animation the first frame counts. A file that is damaged, too large or of
//! another kind is an error that names it; one that may not look as it was meant comes with warnings.

mod frames;
mod guard;
mod jpeg;
mod mask;
mod orientation;
mod samples;
mod tiff;

pub use mask::{load_mask, marked_pixels, marks_any, mask_pixels};
pub use samples::Samples;

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::resize;
use crate::error::{Error, Result};
use crate::invalid;

/// The most pixels a picture may have. A file of a few kilobytes can claim billions of them.
pub const MAX_PIXELS: u64 = 1 << 27;
/// The same of one that is looked at in tiles, and of masks: 23,170 x 23,170.
pub const MAX_TILED_PIXELS: u64 = 1 << 29;
/// The largest file that is read at all, in bytes: `MAX_TILED_PIXELS` uncompressed at 16-bit RGB, and a little more.
const MAX_FILE_BYTES: u64 = MAX_TILED_PIXELS * 6 + (1 << 20);

/// An 8-bit RGB picture, rows first, channels innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// `height * width * 3` bytes.
    pub rgb: Vec<u8>,
    /// How the pixels of the file were turned to be these.
    pub orientation: Orientation,
    /// Why the picture may not look as it was meant.
    pub warnings: Vec<String>,
}

/// Where a picture comes from.
#[derive(Clone, Debug)]
pub enum Source {
    Path(PathBuf),
    /// A file's bytes, with the name that errors and results give them.
    Bytes {
        name: String,
        bytes: Arc<[u8]>,
    },
    /// A picture that is decoded already, with the name that errors and results give it.
    Decoded {
        name: String,
        picture: Arc<Picture>,
    },
    /// Samples within a file of many pictures, read when they are wanted: 8-bit planes of red, green and blue.
    Planes {
        /// The file's path and the picture's place in it, as `data_batch_1.bin#17`.
        name: PathBuf,
        file: Arc<Path>,
        /// Where the red plane begins, in bytes.
        at: u64,
        width: usize,
        height: usize,
    },
}

impl Source {
    /// The path, or the name of the bytes.
    pub fn path(&self) -> &Path {
        match self {
            Source::Path(path) => path,
            Source::Bytes { name, .. } | Source::Decoded { name, .. } => Path::new(name),
            Source::Planes { name, .. } => name,
        }
    }

    /// The file that is read, if one is.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Source::Path(path) => Some(path),
            Source::Bytes { .. } | Source::Decoded { .. } => None,
            Source::Planes { file, .. } => Some(file),
        }
    }

    /// Reads and decodes the picture. Errors name it.
    pub fn read(&self) -> Result<Picture> {
        self.decode(&self.bytes()?, MAX_PIXELS)
    }

    /// Decodes what [`Source::bytes`] gave, a picture of at most `max_pixels`. Errors name it.
    pub fn decode(&self, bytes: &[u8], max_pixels: u64) -> Result<Picture> {
        match self {
            Source::Planes { width, height, .. } => {
                let plane = width * height;
                if plane == 0 || bytes.len() != 3 * plane {
                    invalid!("{}: {} bytes, expected {}", self.path().display(), bytes.len(), 3 * plane);
                }
                let rgb = (0..plane).flat_map(|i| [bytes[i], bytes[plane + i], bytes[2 * plane + i]]).collect();
                Ok(Picture::new(*width, *height, rgb))
            }
            Source::Decoded { picture, .. } => Ok(Picture::clone(picture)),
            _ => Picture::decode_within(bytes, max_pixels).map_err(|e| e.within(self.path().display())),
        }
    }

    /// How many bytes [`bytes`](Self::bytes) has, without reading them.
    pub fn size(&self) -> std::io::Result<u64> {
        Ok(match self {
            Source::Path(path) => std::fs::metadata(path)?.len(),
            Source::Bytes { bytes, .. } => bytes.len() as u64,
            Source::Decoded { picture, .. } => picture.rgb.len() as u64,
            Source::Planes { width, height, .. } => (width * height * 3) as u64,
        })
    }

    /// The undecoded file, or part of one; of a decoded picture its pixels.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Source::Path(path) => read_file(path).map(Cow::Owned),
            Source::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
            Source::Decoded { picture, .. } => Ok(Cow::Borrowed(&picture.rgb)),
            Source::Planes { name, file, at, width, height } => {
                let mut bytes = vec![0; width * height * 3];
                let read = File::open(file).and_then(|mut f| {
                    f.seek(SeekFrom::Start(*at))?;
                    f.read_exact(&mut bytes)
                });
                read.map_err(|e| Error::io(name, e))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Source::Path(path)
    }
}

/// A file's bytes, no more than [`Picture::decode`] takes and one.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
        invalid!("{}: is a folder, expected a picture", path.display());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

impl Picture {
    /// A picture of these bytes, as they are.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        Picture { width, height, rgb, orientation: Orientation::NoTransforms, warnings: vec![] }
    }

    /// Reads and decodes a file. Errors name it.
    pub fn read(path: &Path) -> Result<Self> {
        Self::decode(&read_file(path)?).map_err(|e| e.within(path.display()))
    }

    /// Decodes a file's bytes. Errors say what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes, MAX_PIXELS)
    }

    /// The same of a picture that may have `max_pixels`; one that has more is refused before it takes memory.
    pub fn decode_within(bytes: &[u8], max_pixels: u64) -> Result<Self> {
        guard::guarded(|| {
            let decoded = Decoded::new(bytes, max_pixels)?;
            let orientation = decoded.orientation.unwrap_or(Orientation::NoTransforms);
            let mut warnings = decoded.warnings;
            warnings.extend(empty_high_bits(&decoded.picture));
            let mut picture = to_rgb(decoded.picture)?;
            picture.apply_orientation(orientation);
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            Ok(Self { width, height, rgb: picture.into_rgb8().into_raw(), orientation, warnings })
        })
    }

    /// How many pixels a file says that it has, if it can be told without decoding it.
    pub fn claims(bytes: &[u8]) -> Option<u64> {
        let size = guard::guarded(|| {
            if tiff::is_tiff(bytes) {
                return tiff::size(bytes);
            }
            let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
            let reader = guessed.map_err(|e| Error::Invalid(format!("cannot be read: {e}")))?;
            match reader.format() {
                Some(ImageFormat::Jpeg) => jpeg::size(bytes),
                _ => reader.into_dimensions().map(|(width, height)| (width.into(), height.into())).map_err(reason),
            }
        });
        size.ok().map(|(width, height)| width.saturating_mul(height))
    }

    /// The picture at `size` x `size` pixels (whatever its shape was), `size * size * 3` bytes.
    pub fn resized(&self, size: usize) -> Vec<u8> {
        resize::bilinear::<3>(&self.rgb, (self.width, self.height), (size, size))
    }
}

/// A file's samples, before they become a picture or a mask.
struct Decoded {
    picture: DynamicImage,
    format: ImageFormat,
    /// If the file names one.
    orientation: Option<Orientation>,
    /// Palette indices, where a reader gives them.
    indices: Option<Vec<u8>>,
    warnings: Vec<String>,
}

impl Decoded {
    /// Decoders may panic: call it guarded.
    fn new(bytes: &[u8], max_pixels: u64) -> Result<Self> {
        if bytes.is_empty() {
            invalid!("the file is empty, expected a picture");
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            invalid!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
        }
        if tiff::is_tiff(bytes) {
            let found = tiff::decode(bytes, max_pixels)?;
            let orientation = found.orientation.and_then(Orientation::from_exif);
            let (picture, format, indices) = (found.picture, ImageFormat::Tiff, found.indices);
            return Ok(Decoded { picture, format, orientation, indices, warnings: found.warnings });
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| Error::Invalid(format!("cannot be read: {e}")))?;
        let Some(format) = reader.format().filter(|f| f.reading_enabled()) else {
            invalid!("not a picture that can be read (expected PNG, JPEG, BMP, GIF, TIFF or WebP, by content)");
        };
        if format == ImageFormat::Jpeg {
            let orientation = orientation::of_file(bytes);
            let (picture, warnings) = jpeg::decode(bytes, max_pixels)?;
            return Ok(Decoded { picture: picture.into(), format, orientation, indices: None, warnings });
        }
        let mut decoder = reader.into_decoder().map_err(reason)?;
        let (width, height) = decoder.dimensions();
        expect_size(width.into(), height.into(), max_pixels)?;
        let orientation = decoder.exif_metadata().ok().flatten().and_then(|block| orientation::of_block(&block));
        let picture = DynamicImage::from_decoder(decoder).map_err(reason)?;
        let warnings = frames::warning(frames::count(bytes, format), "frames").into_iter().collect();
        Ok(Decoded { picture, format, orientation, indices: None, warnings })
    }
}

fn expect_size(width: u64, height: u64, max_pixels: u64) -> Result<()> {
    if width == 0 || height == 0 {
        invalid!("the picture is {width} x {height} pixels");
    }
    if width.saturating_mul(height) > max_pixels {
        let tiled = if max_pixels < MAX_TILED_PIXELS { ", or look at it in tiles (--tile)" } else { "" };
        invalid!(
            "the picture is {width} x {height} pixels, more than the {max_pixels} allowed: scale it down first{tiled}"
        );
    }
    Ok(())
}

/// Of 16-bit samples the high byte is kept. Cameras of 8 to 12 bits often leave that nearly empty.
fn empty_high_bits(picture: &DynamicImage) -> Option<String> {
    let top = match picture {
        DynamicImage::ImageLuma16(p) => p.as_raw().iter().max(),
        DynamicImage::ImageRgb16(p) => p.as_raw().iter().max(),
        _ => None,
    };
    let top = *top.filter(|top| (1..1 << 12).contains(*top))?;
    let bits = u16::BITS - top.leading_zeros();
    Some(format!(
        "its 16-bit samples use {bits} bits (the highest is {top}): it is seen as nearly black; scale it to 16 bits"
    ))
}

/// Eight-bit inks as Pillow converts them: what black leaves, less what the ink takes of it. `inverted`: samples are what
/// the paper reflects.
fn cmyk_to_rgb(samples: &[u8], inverted: bool) -> Vec<u8> {
    // Pillow's `MULDIV255`: a product over 255, rounded.
    let over_255 = |a: u32, b: u32| {
        let t = a * b + 128;
        ((t >> 8) + t) >> 8
    };
    let pixels = samples.as_chunks::<4>().0.iter();
    pixels
        .flat_map(|inks| {
            let [c, m, y, k] = inks.map(|v| u32::from(if inverted { 255 - v } else { v }));
            let left = 255 - k;
            [c, m, y].map(|ink| left.saturating_sub(over_255(ink, left)) as u8)
        })
        .collect()
}

/// Any decoded picture as 8-bit RGB. `image` rounds 16 bits to 8, Pillow keeps the high byte.
fn to_rgb(decoded: DynamicImage) -> Result<DynamicImage> {
    use DynamicImage as D;
    fn pixels<const C: usize>(samples: &[u16], rgb: impl Fn(&[u16; C]) -> [u16; 3]) -> Vec<u8> {
        samples.as_chunks::<C>().0.iter().flat_map(|p| rgb(p).map(|v| (v >> 8) as u8)).collect()
    }
    let (width, height) = (decoded.width(), decoded.height());
    let rgb = match decoded {
        D::ImageRgb8(_) | D::ImageRgba8(_) | D::ImageLuma8(_) | D::ImageLumaA8(_) => {
            return Ok(decoded.into_rgb8().into());
        }
        D::ImageLuma16(p) => pixels::<1>(p.as_raw(), |&[v]| [v; 3]),
        D::ImageLumaA16(p) => pixels::<2>(p.as_raw(), |&[v, _]| [v; 3]),
        D::ImageRgb16(p) => pixels::<3>(p.as_raw(), |&p| p),
        D::ImageRgba16(p) => pixels::<4>(p.as_raw(), |&[r, g, b, _]| [r, g, b]),
        _ => invalid!("its samples are floating-point numbers, expected 8 or 16-bit integers"),
    };
    match image::RgbImage::from_raw(width, height, rgb) {
        Some(picture) => Ok(picture.into()),
        None => invalid!("the picture holds fewer samples than {width} x {height} pixels need"),
    }
}

fn reason(e: ImageError) -> Error {
    Error::Invalid(match e {
        ImageError::Limits(_) => "needs more memory than allowed to decode".into(),
        ImageError::Unsupported(e) => format!("a kind of picture that cannot be read: {e}"),
        e => format!("damaged: {e}"),
    })
}
