//! Reading pictures: PNG, JPEG, BMP, TIFF and WebP to 8-bit RGB, as Pillow's `Image.open(path).convert("RGB")` gives
//! it, with the camera's orientation applied.
//!
//! The format is told by content, not by name. 16-bit samples keep their high byte, palettes and gray are expanded,
//! alpha is dropped (not blended), of an animation the first frame counts. A file that is damaged, too large or of
//! another kind is an error that names it.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::resize;
use crate::error::{Error, Result};
use crate::invalid;

/// The most pixels a picture may have. A file of a few kilobytes can claim billions of them.
pub const MAX_PIXELS: u64 = 1 << 27;
/// The largest file that is read at all, in bytes: `MAX_PIXELS` uncompressed at 16-bit RGBA.
const MAX_FILE_BYTES: u64 = MAX_PIXELS * 8;

/// An 8-bit RGB picture, rows first, channels innermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// `height * width * 3` bytes.
    pub rgb: Vec<u8>,
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
}

impl Source {
    /// The path, or the name of the bytes.
    pub fn path(&self) -> &Path {
        match self {
            Source::Path(path) => path,
            Source::Bytes { name, .. } => Path::new(name),
        }
    }

    /// Reads and decodes the picture. Errors name it.
    pub fn read(&self) -> Result<Picture> {
        Picture::decode(&self.bytes()?).map_err(|e| e.within(self.path().display()))
    }

    /// The undecoded file.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Source::Path(path) => read_file(path).map(Cow::Owned),
            Source::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
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
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().map_err(|e| Error::io(path, e))?.is_dir() {
        invalid!("{}: is a folder, expected a picture", path.display());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

impl Picture {
    /// Reads and decodes a file. Errors name it.
    pub fn read(path: &Path) -> Result<Self> {
        Self::decode(&read_file(path)?).map_err(|e| e.within(path.display()))
    }

    /// Decodes a file's bytes. Errors say what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            invalid!("the file is empty, expected a picture");
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            invalid!("the file is larger than {} MiB", MAX_FILE_BYTES >> 20);
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| Error::Invalid(format!("cannot be read: {e}")))?;
        let Some(format) = reader.format().filter(|f| f.reading_enabled()) else {
            invalid!("not a picture that can be read (expected PNG, JPEG, BMP, TIFF or WebP, by content)");
        };
        if format == ImageFormat::Jpeg {
            check_jpeg_is_complete(bytes)?;
        }
        let mut decoder = reader.into_decoder().map_err(reason)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            invalid!("the picture is {width} x {height} pixels");
        }
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            invalid!(
                "the picture is {width} x {height} pixels, more than the {MAX_PIXELS} allowed: scale it down first"
            );
        }
        // A broken EXIF block does not make the pixels unusable, and Pillow shows them too.
        let orientation = decoder.orientation().ok();
        let jpeg = if format == ImageFormat::Jpeg { decode_jpeg(bytes)? } else { None };
        let mut picture = match jpeg {
            Some(rgb) => rgb.into(),
            None => to_rgb(DynamicImage::from_decoder(decoder).map_err(reason)?)?,
        };
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Ok(Self { width, height, rgb: picture.into_rgb8().into_raw() })
    }

    /// The picture at `size` x `size` pixels (whatever its shape was), `size * size * 3` bytes.
    pub fn resized(&self, size: usize) -> Vec<u8> {
        resize::bilinear::<3>(&self.rgb, (self.width, self.height), (size, size))
    }
}

/// A ground-truth mask at `size` x `size`: 1 where an anomaly is, 0 elsewhere. `picture` is the (width, height) of the
/// picture it belongs to, which it has to share. Read as gray, resized like the picture, then split above 127.
pub fn load_mask(path: &Path, picture: (usize, usize), size: usize) -> Result<Vec<u8>> {
    let mask = Picture::read(path)?;
    let found = (mask.width, mask.height);
    if found != picture {
        let ((w, h), (pw, ph)) = (found, picture);
        invalid!("{}: the mask is {w} x {h} pixels, its picture {pw} x {ph}: they have to be equal", path.display());
    }
    let gray: Vec<u8> = mask.rgb.as_chunks::<3>().0.iter().map(|&p| luma(p)).collect();
    let mut small = resize::bilinear::<1>(&gray, picture, (size, size));
    for v in &mut small {
        *v = u8::from(*v > 127);
    }
    Ok(small)
}

/// Pillow's conversion to "L": ITU-R 601-2 in 16-bit fixed point, rounded.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
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
        other => invalid!("samples of type {:?}, expected 8 or 16-bit integers", other.color()),
    };
    match image::RgbImage::from_raw(width, height, rgb) {
        Some(picture) => Ok(picture.into()),
        None => invalid!("the picture holds fewer samples than {width} x {height} pixels need"),
    }
}

/// Gray and colour JPEGs through libjpeg-turbo's own code, which Pillow uses, too: `image`'s decoder rounds differently,
/// by up to four levels, which moves scores by up to a percent. `None` for CMYK, which stays with `image`.
fn decode_jpeg(bytes: &[u8]) -> Result<Option<image::RgbImage>> {
    let decode = || -> std::io::Result<Option<(u32, u32, Vec<u8>)>> {
        let jpeg = mozjpeg::Decompress::new_mem(bytes)?;
        if matches!(jpeg.color_space(), mozjpeg::ColorSpace::JCS_CMYK | mozjpeg::ColorSpace::JCS_YCCK) {
            return Ok(None);
        }
        let mut rows = jpeg.rgb()?;
        let (width, height) = (rows.width() as u32, rows.height() as u32);
        let pixels = rows.read_scanlines::<u8>()?;
        rows.finish()?;
        Ok(Some((width, height, pixels)))
    };
    let damaged = |why: String| Error::Invalid(format!("damaged: {why}"));
    // libjpeg reports errors by unwinding.
    let decoded = match std::panic::catch_unwind(decode) {
        Ok(result) => result.map_err(|e| damaged(e.to_string()))?,
        Err(payload) => {
            let why = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
            return Err(damaged(why.unwrap_or("the JPEG data cannot be decoded").to_string()));
        }
    };
    let Some((width, height, pixels)) = decoded else { return Ok(None) };
    match image::RgbImage::from_raw(width, height, pixels) {
        Some(picture) => Ok(Some(picture)),
        None => Err(damaged(format!("the JPEG holds fewer pixels than {width} x {height}"))),
    }
}

/// The JPEG decoder fills what is missing of a truncated file with gray; a score of that would be a wrong score.
/// Entropy-coded data never contains an end marker, so any after the first scan's start is the file's.
fn check_jpeg_is_complete(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes.get(2..).unwrap_or(&[]);
    loop {
        match *rest {
            [0xFF, 0xDA, ref scan @ ..] => {
                if scan.windows(2).any(|w| w == [0xFF, 0xD9]) {
                    return Ok(());
                }
                break;
            }
            // Padding, and markers that stand alone.
            [0xFF, 0xFF | 0x01 | 0xD0..=0xD8, ..] => rest = &rest[1 + usize::from(rest[1] != 0xFF)..],
            [0xFF, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(2 + length.max(2)..).unwrap_or(&[]);
            }
            [_, ref after @ ..] => rest = after,
            [] => break,
        }
    }
    invalid!("damaged: the JPEG data ends before the picture does (no end marker)")
}

fn reason(e: ImageError) -> Error {
    Error::Invalid(match e {
        ImageError::Limits(_) => "needs more memory than allowed to decode".into(),
        ImageError::Unsupported(e) => format!("a kind of picture that cannot be read: {e}"),
        e => format!("damaged: {e}"),
    })
}
