//! Anomaly maps as files that other programs read: NumPy's `.npy` and 32-bit float TIFF.

use std::io::{self, Write};

/// Writes a `height` x `width` map as `.npy`, format version 1.0, little-endian float32, C order.
pub fn write_npy(out: &mut dyn Write, map: &[f32], width: usize, height: usize) -> io::Result<()> {
    check(map, width, height)?;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // Magic, version and length take 10 bytes; data starts at a multiple of 64, after a line feed.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    write_values(out, map)
}

/// Writes a `height` x `width` map as an uncompressed little-endian TIFF with one 32-bit float sample per pixel
/// (TIFF 6.0: a header, the values as one strip, then the directory).
pub fn write_tiff(out: &mut dyn Write, map: &[f32], width: usize, height: usize) -> io::Result<()> {
    check(map, width, height)?;
    const LONG: u16 = 4;
    const SHORT: u16 = 3;
    const HEADER: u32 = 8;
    let too_large = || io::Error::new(io::ErrorKind::InvalidInput, "the map is too large for a TIFF file");
    let bytes = u32::try_from(map.len() * 4).map_err(|_| too_large())?;
    let directory = HEADER.checked_add(bytes).ok_or_else(too_large)?;
    out.write_all(b"II\x2a\x00")?;
    out.write_all(&directory.to_le_bytes())?;
    write_values(out, map)?;
    let entries = [
        (256, LONG, width as u32),
        (257, LONG, height as u32),
        (258, SHORT, 32),           // bits per sample
        (259, SHORT, 1),            // no compression
        (262, SHORT, 1),            // black is zero
        (273, LONG, HEADER),        // where the strip begins
        (277, SHORT, 1),            // samples per pixel
        (278, LONG, height as u32), // rows per strip
        (279, LONG, bytes),         // bytes in the strip
        (339, SHORT, 3),            // IEEE floating point
    ];
    out.write_all(&(entries.len() as u16).to_le_bytes())?;
    for (tag, kind, value) in entries {
        out.write_all(&u16::to_le_bytes(tag))?;
        out.write_all(&kind.to_le_bytes())?;
        out.write_all(&1u32.to_le_bytes())?;
        // A SHORT lies in the first two of the four bytes, which little-endian order gives.
        out.write_all(&value.to_le_bytes())?;
    }
    out.write_all(&0u32.to_le_bytes())
}

fn write_values(out: &mut dyn Write, map: &[f32]) -> io::Result<()> {
    let bytes: Vec<u8> = map.iter().flat_map(|v| v.to_le_bytes()).collect();
    out.write_all(&bytes)
}

fn check(map: &[f32], width: usize, height: usize) -> io::Result<()> {
    if map.len() == width * height {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} values for a map of {width} x {height}", map.len())))
}
