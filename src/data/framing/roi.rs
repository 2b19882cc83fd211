//! A region of interest: a mask over any picture, to which it is stretched.

use crate::data::image::{Picture, mask_pixels};
use crate::{Result, invalid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use std::path::Path;
use std::sync::Arc;

/// Cells along the longer side, at most: a mask of more pixels is kept in coarser ones.
const MAX_SIDE: usize = 2048;

/// Where pictures are looked at.
#[derive(Clone, PartialEq)]
pub struct Roi {
    width: usize,
    height: usize,
    /// Rows first.
    inside: Arc<[bool]>,
}

impl Roi {
    /// From a mask's file: what is marked in it by the rules of [`load_mask`](crate::data::image::load_mask) is looked at. Errors: no
    /// picture; one that marks nothing.
    pub fn read(path: &Path) -> Result<Self> {
        let (width, height, marked) = mask_pixels(path)?;
        let scale = width.max(height).div_ceil(MAX_SIDE);
        let (w, h) = (width.div_ceil(scale), height.div_ceil(scale));
        let mut inside = vec![false; w * h];
        for i in (0..marked.len()).filter(|&i| marked[i] != 0) {
            inside[i / width / scale * w + i % width / scale] = true;
        }
        if !inside.contains(&true) {
            invalid!("{}: marks nothing: a region of interest is what is not black", path.display());
        }
        Ok(Roi { width: w, height: h, inside: inside.into() })
    }

    /// Whether any of a place is in it: `x` of `width` columns, `y` of `height` rows. So nothing of it is ever missed, however thin.
    pub fn has(&self, (x, width): (usize, usize), (y, height): (usize, usize)) -> bool {
        // The cells that the place overlaps.
        let under = |at: usize, of: usize, cells: usize| at * cells / of..((at + 1) * cells).div_ceil(of);
        let columns = under(x, width, self.width);
        under(y, height, self.height).any(|row| self.inside[row * self.width..][columns.clone()].contains(&true))
    }

    /// The share of a picture that it covers, 0 to 1.
    pub fn share(&self) -> f64 {
        self.inside.iter().filter(|&&i| i).count() as f64 / self.inside.len() as f64
    }

    /// As a PNG of one bit a cell in base64, which model files keep.
    pub fn to_text(&self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let packed = |row: &[bool]| -> Vec<u8> {
            let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |b, (i, &on)| b | u8::from(on) << (7 - i));
            row.chunks(8).map(byte).collect()
        };
        let rows: Vec<u8> = self.inside.chunks(self.width).flat_map(packed).collect();
        let written = encoder.write_header().and_then(|mut png| png.write_image_data(&rows));
        match written {
            Ok(()) => Ok(STANDARD.encode(bytes)),
            Err(e) => invalid!("the region of interest cannot be written: {e}"),
        }
    }

    /// As [`to_text`](Self::to_text) wrote it.
    pub fn from_text(text: &str) -> Result<Self> {
        let Ok(bytes) = STANDARD.decode(text) else { invalid!("not base64") };
        let picture = Picture::decode_within(&bytes, (MAX_SIDE * MAX_SIDE) as u64)?;
        let inside: Vec<bool> = picture.rgb.as_chunks::<3>().0.iter().map(|p| p[0] != 0).collect();
        if !inside.contains(&true) {
            invalid!("marks nothing");
        }
        Ok(Roi { width: picture.width, height: picture.height, inside: inside.into() })
    }
}

/// Its text, which tells one from another.
impl Serialize for Roi {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_text().map_err(serde::ser::Error::custom)?.serialize(to)
    }
}

impl std::fmt::Debug for Roi {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Roi({} x {} cells, {:.1} %)", self.width, self.height, 100.0 * self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kept_bit_by_bit() {
        for (width, height) in [(1, 1), (13, 5), (8, 3), (64, 33)] {
            let mut inside: Vec<bool> = (0..width * height).map(|i| i * i % 7 < 3).collect();
            inside[0] = true;
            let roi = Roi { width, height, inside: inside.into() };
            assert_eq!(Roi::from_text(&roi.to_text().unwrap()).unwrap(), roi);
        }
        let none = Roi { width: 2, height: 2, inside: [false; 4].into() };
        assert!(Roi::from_text(&none.to_text().unwrap()).is_err() && Roi::from_text("?").is_err());
    }

    /// By hand: of two cells over three pixels the second begins in the middle of the middle one.
    #[test]
    fn is_stretched_over_any_picture() {
        let roi = Roi { width: 2, height: 1, inside: [true, false].into() };
        let row = |width: usize| (0..width).map(|x| roi.has((x, width), (0, 1))).collect::<Vec<_>>();
        assert_eq!(row(1), [true]);
        assert_eq!(row(2), [true, false]);
        assert_eq!(row(3), [true, true, false]);
        assert_eq!(row(5), [true, true, true, false, false]);
    }
}
