//! Copies of rows, and of planes of rows, as programs describe them. Which kind of memory is meant is a number in them, not an `enum`: a
//! program may have any number there.

use crate::driver::Driver;
use crate::status::{Result, Status};
use crate::work::{Place, Shape};

/// `CU_MEMORYTYPE_HOST`, `_DEVICE`, `_ARRAY` and `_UNIFIED`.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;
const UNIFIED: u32 = 4;

/// One side of a `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    x: usize,
    y: usize,
    kind: u32,
    host: u64,
    device: u64,
    array: u64,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rows {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

/// One side of a `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeepSide {
    x: usize,
    y: usize,
    z: usize,
    lod: usize,
    kind: u32,
    host: u64,
    device: u64,
    array: u64,
    reserved: u64,
    pitch: usize,
    height: usize,
}

/// `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Planes {
    from: DeepSide,
    to: DeepSide,
    width: usize,
    height: usize,
    depth: usize,
}

/// A copy that begins or ends where there are no addresses any more.
fn beyond(d: &Driver) -> Status {
    d.wrong("offsets, pitches or heights are more than there are addresses for", Status::CUDA_ERROR_INVALID_VALUE)
}

/// Where a side begins, with rows so far apart.
fn start(d: &Driver, side: &Side, pitch: usize) -> Result<u64> {
    let start = match side.kind {
        HOST => side.host,
        DEVICE | UNIFIED => side.device,
        ARRAY => return Err(d.wrong("arrays are not emulated", Status::CUDA_ERROR_NOT_SUPPORTED)),
        other => return Err(d.wrong(&format!("{other} is no type of memory"), Status::CUDA_ERROR_INVALID_VALUE)),
    };
    let skip = side.y.checked_mul(pitch).and_then(|skip| skip.checked_add(side.x));
    skip.and_then(|skip| start.checked_add(skip as u64)).ok_or_else(|| beyond(d))
}

/// Addresses of a copy of rows, and its shape.
pub fn rows(d: &Driver, copy: &Rows) -> Result<(u64, u64, Shape)> {
    let Rows { from, to, width, height } = copy;
    let pitch = |given: usize| if given == 0 { *width } else { given };
    let (from_pitch, to_pitch) = (pitch(from.pitch), pitch(to.pitch));
    let (source, target) = (start(d, from, from_pitch)?, start(d, to, to_pitch)?);
    if *height > 1 && (from_pitch < *width || to_pitch < *width) {
        return Err(d.wrong("rows are wider than their pitch", Status::CUDA_ERROR_INVALID_VALUE));
    }
    let (from_pitch, to_pitch) = (from_pitch as u64, to_pitch as u64);
    let shape = Shape { width: *width as u64, rows: *height as u64, from_pitch, to_pitch };
    let Some(bytes) = shape.extents(source, target) else { return Err(beyond(d)) };
    for (side, at, bytes) in [(from, source, bytes[0]), (to, target, bytes[1])] {
        if side.kind == DEVICE {
            d.check_device(at, bytes)?;
        }
    }
    Ok((source, target, shape))
}

/// The same of a copy of planes of rows, if those can be taken for rows that are all as far apart.
pub fn planes(d: &Driver, copy: &Planes) -> Result<(u64, u64, Shape)> {
    let Planes { from, to, width, height, depth } = *copy;
    let or = |given: usize, usual: usize| if given == 0 { usual } else { given };
    let (from_height, to_height) = (or(from.height, height), or(to.height, height));
    // Of several planes with one row each, the rows are as far apart as the planes.
    let flat = height == 1;
    if depth > 1 && !flat && (from_height != height || to_height != height) {
        let text = "a copy of a part of several planes is not emulated";
        return Err(d.wrong(text, Status::CUDA_ERROR_NOT_SUPPORTED));
    }
    let side = |side: DeepSide, plane: usize| {
        let DeepSide { x, y, z, kind, host, device, array, .. } = side;
        let pitch = or(side.pitch, width);
        let rows = z.checked_mul(plane).and_then(|rows| rows.checked_add(y));
        let x = rows.and_then(|rows| rows.checked_mul(pitch)?.checked_add(x)).ok_or_else(|| beyond(d))?;
        let apart = if flat && depth > 1 { pitch.checked_mul(plane) } else { Some(pitch) };
        Ok(Side { x, y: 0, kind, host, device, array, pitch: apart.ok_or_else(|| beyond(d))? })
    };
    let (from, to) = (side(from, from_height)?, side(to, to_height)?);
    rows(d, &Rows { from, to, width, height: height.checked_mul(depth).ok_or_else(|| beyond(d))? })
}

impl Planes {
    /// Describes a copy of rows between two places.
    pub fn of(from: &Place, to: &Place, shape: &Shape) -> Planes {
        let side = |place: &Place, pitch: u64| {
            let (kind, host, device) = match *place {
                Place::Device(at) => (DEVICE, 0, at),
                Place::Host(at) | Place::Pageable(at) => (HOST, at, 0),
                Place::Taken(_) => (HOST, 0, 0),
            };
            let (pitch, height) = (pitch as usize, shape.rows as usize);
            DeepSide { x: 0, y: 0, z: 0, lod: 0, kind, host, device, array: 0, reserved: 0, pitch, height }
        };
        Planes {
            from: side(from, shape.from_pitch),
            to: side(to, shape.to_pitch),
            width: shape.width as usize,
            height: shape.rows as usize,
            depth: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use cudarc::driver::sys::{CUDA_MEMCPY2D, CUDA_MEMCPY3D};

    use super::*;

    #[test]
    fn the_fields_are_where_the_api_has_them() {
        assert_eq!(size_of::<Rows>(), size_of::<CUDA_MEMCPY2D>());
        assert_eq!(offset_of!(Rows, to.kind), offset_of!(CUDA_MEMCPY2D, dstMemoryType));
        assert_eq!(offset_of!(Rows, to.pitch), offset_of!(CUDA_MEMCPY2D, dstPitch));
        assert_eq!(offset_of!(Rows, height), offset_of!(CUDA_MEMCPY2D, Height));
        assert_eq!(size_of::<Planes>(), size_of::<CUDA_MEMCPY3D>());
        assert_eq!(offset_of!(Planes, to.kind), offset_of!(CUDA_MEMCPY3D, dstMemoryType));
        assert_eq!(offset_of!(Planes, to.height), offset_of!(CUDA_MEMCPY3D, dstHeight));
        assert_eq!(offset_of!(Planes, depth), offset_of!(CUDA_MEMCPY3D, Depth));
    }
}
