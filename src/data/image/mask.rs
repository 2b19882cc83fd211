//! Ground-truth masks: which pixels of a picture are anomalous.

use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageFormat};

use super::{Decoded, MAX_TILED_PIXELS, Picture, guard, read_file, resize};
use crate::error::Result;
use crate::invalid;

/// A mask at another shape (width, height): 1 where an anomaly is, 0 elsewhere.
///
/// Every pixel that is not 0 marks an anomaly, whatever its value, as in the masks of VisA: of colours any channel, of a
/// palette that is all black the index, of a mask that is all of one colour its alpha. JPEGs, whose black is not quite black,
/// are split in the middle. The mask has to share its picture's shape: where it says nothing of its own orientation, it is
/// turned as `picture` was, unless only the shape of the turned picture is its own. Then it is resized as the picture is and
/// split in the middle; where nothing is left of it, every pixel is marked that one of its own falls into. Several files mark a
/// picture's anomalies together, as if they were one.
pub fn load_mask(paths: &[impl AsRef<Path>], picture: &Picture, to: (usize, usize)) -> Result<Vec<u8>> {
    let all = union(paths, picture)?;
    let mut small = resize::bilinear::<1>(&all, (picture.width, picture.height), to);
    for v in &mut small {
        *v = u8::from(*v > 127);
    }
    if !small.contains(&1) {
        for i in (0..all.len()).filter(|&i| all[i] != 0) {
            let (x, y) = (i % picture.width, i / picture.width);
            small[y * to.1 / picture.height * to.0 + x * to.0 / picture.width] = 1;
        }
    }
    Ok(small)
}

/// How many pixels of a picture its masks mark together, by the rules of [`load_mask`], before it is resized.
pub fn marked_pixels(paths: &[impl AsRef<Path>], picture: &Picture) -> Result<usize> {
    Ok(union(paths, picture)?.iter().filter(|&&m| m != 0).count())
}

/// 255 where one of the masks marks something, in the shape of the picture.
fn union(paths: &[impl AsRef<Path>], picture: &Picture) -> Result<Vec<u8>> {
    let mut all = vec![0; picture.width * picture.height];
    for path in paths.iter().map(AsRef::as_ref) {
        let bytes = read_file(path)?;
        let marks = guard::guarded(|| marks(&bytes, picture)).map_err(|e| e.within(path.display()))?;
        all.iter_mut().zip(marks).for_each(|(a, m)| *a |= m);
    }
    Ok(all)
}

/// Whether a mask marks anything, wherever and of whatever picture.
pub fn marks_any(path: &Path) -> Result<bool> {
    let bytes = read_file(path)?;
    let any = guard::guarded(|| Ok(marked(&Decoded::new(&bytes, MAX_TILED_PIXELS)?, &bytes)?.iter().any(|&m| m != 0)));
    any.map_err(|e| e.within(path.display()))
}

/// A mask's file by itself, whatever picture it may be of: width, height, and 255 where it marks something.
pub fn mask_pixels(path: &Path) -> Result<(usize, usize, Vec<u8>)> {
    let bytes = read_file(path)?;
    let read = || {
        let decoded = Decoded::new(&bytes, MAX_TILED_PIXELS)?;
        let (w, h) = (decoded.picture.width(), decoded.picture.height());
        let marked = marked(&decoded, &bytes)?;
        let Some(mask) = GrayImage::from_raw(w, h, marked) else {
            invalid!("the mask holds fewer samples than {w} x {h} pixels need");
        };
        let mut mask = DynamicImage::ImageLuma8(mask);
        mask.apply_orientation(decoded.orientation.unwrap_or(Orientation::NoTransforms));
        Ok((mask.width() as usize, mask.height() as usize, mask.into_luma8().into_raw()))
    };
    guard::guarded(read).map_err(|e| e.within(path.display()))
}

/// 255 where the mask marks something, in the shape of the picture.
fn marks(bytes: &[u8], picture: &Picture) -> Result<Vec<u8>> {
    let decoded = Decoded::new(bytes, MAX_TILED_PIXELS)?;
    let (w, h) = (decoded.picture.width() as usize, decoded.picture.height() as usize);
    let marked = marked(&decoded, bytes)?;
    let Some(mask) = GrayImage::from_raw(w as u32, h as u32, marked) else {
        invalid!("the mask holds fewer samples than {w} x {h} pixels need");
    };
    let shown = (picture.width, picture.height);
    let orientation = match decoded.orientation {
        Some(own) => own,
        // Drawn over the picture as its file holds it, or as it is shown.
        None if turned((w, h), picture.orientation) == shown => picture.orientation,
        None => Orientation::NoTransforms,
    };
    let mut mask = DynamicImage::ImageLuma8(mask);
    mask.apply_orientation(orientation);
    let found = (mask.width() as usize, mask.height() as usize);
    if found != shown {
        let ((w, h), (pw, ph)) = (found, shown);
        invalid!("the mask is {w} x {h} pixels, its picture {pw} x {ph}: they have to be equal");
    }
    Ok(mask.into_luma8().into_raw())
}

/// A shape after it is turned.
fn turned((w, h): (usize, usize), orientation: Orientation) -> (usize, usize) {
    use Orientation as O;
    match orientation {
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH => (h, w),
        O::NoTransforms | O::Rotate180 | O::FlipHorizontal | O::FlipVertical => (w, h),
    }
}

fn marked(decoded: &Decoded, bytes: &[u8]) -> Result<Vec<u8>> {
    let mark = |marked: bool| if marked { 255 } else { 0 };
    let picture = &decoded.picture;
    if decoded.format == ImageFormat::Jpeg {
        return Ok(picture.to_luma8().into_raw().into_iter().map(|v| mark(v > 127)).collect());
    }
    if let DynamicImage::ImageLuma8(gray) = picture {
        // Neither colours nor alpha: nothing but large masks would notice that the rest takes eight times their memory.
        return Ok(gray.as_raw().iter().map(|&v| mark(v != 0)).collect());
    }
    // 16 bits hold 8 without loss, but for their scale.
    let pixels = picture.to_rgba16();
    let pixels = pixels.as_raw().as_chunks::<4>().0;
    let colored = |[r, g, b, _]: [u16; 4]| r != 0 || g != 0 || b != 0;
    let alpha: Vec<bool> = pixels.iter().map(|p| p[3] != 0).collect();
    if alpha.iter().any(|a| !a) && alpha.iter().any(|a| *a) {
        // What is transparent is not marked; nor is what is black, unless all that can be seen is.
        let any = pixels.iter().any(|&p| p[3] != 0 && colored(p));
        return Ok(pixels.iter().map(|&p| mark(p[3] != 0 && (colored(p) || !any))).collect());
    }
    if !pixels.iter().any(|&p| colored(p))
        && let Some(indices) = indices(decoded, bytes)
    {
        return Ok(indices.into_iter().map(|i| mark(i != 0)).collect());
    }
    Ok(pixels.iter().map(|&p| mark(colored(p))).collect())
}

/// The palette indices of a file, if it has a palette and its reader gives them.
fn indices(decoded: &Decoded, bytes: &[u8]) -> Option<Vec<u8>> {
    if let Some(indices) = &decoded.indices {
        return Some(indices.clone());
    }
    if decoded.format != ImageFormat::Png {
        return None;
    }
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().ok()?;
    if reader.info().color_type != png::ColorType::Indexed || reader.info().bit_depth != png::BitDepth::Eight {
        return None;
    }
    let mut indices = vec![0; reader.output_buffer_size()?];
    let found = reader.next_frame(&mut indices).ok()?.buffer_size();
    indices.truncate(found);
    Some(indices)
}
