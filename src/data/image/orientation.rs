//! How a camera was held, as EXIF tells (tag 0x0112).

use std::io::Cursor;

use exif::{In, Reader, Tag};
use image::metadata::Orientation;

/// The orientation in a JPEG, PNG or WebP file, if it names one. A broken block does not make the pixels unusable, and
/// Pillow shows them, too.
pub fn of_file(bytes: &[u8]) -> Option<Orientation> {
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let exif =
        reader.read_from_container(&mut Cursor::new(bytes)).or_else(|e| e.distill_partial_result(|_| ())).ok()?;
    of_field(&exif)
}

/// The same from a block by itself. Some programs write it with the prefix that it has in a JPEG.
pub fn of_block(block: &[u8]) -> Option<Orientation> {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let exif = reader.read_raw(block.to_vec()).or_else(|e| e.distill_partial_result(|_| ())).ok()?;
    of_field(&exif)
}

/// Any of the integer types is taken.
fn of_field(exif: &exif::Exif) -> Option<Orientation> {
    let value = exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0)?;
    Orientation::from_exif(u8::try_from(value).ok()?)
}
