//! What an address is, and advice on managed memory, which is of no effect.

use std::ffi::c_void;

use cudarc::driver::sys::CUpointer_attribute_enum as P;

use super::{In, Out};
use crate::driver::Driver;
use crate::host::Kind;
use crate::status::{Result, Status};

/// `CU_MEMORYTYPE_HOST` and `CU_MEMORYTYPE_DEVICE`.
const HOST: u64 = 1;
const DEVICE: u64 = 2;

/// What is asked about one address: its value, and its bytes. `None`: it is neither the card's nor page-locked.
fn attribute(d: &Driver, which: u32, at: u64) -> Result<Option<(u64, usize)>> {
    let is = |p: P| p as u32 == which;
    let given = d.given.range(..=at).next_back().filter(|(start, g)| at - **start < g.bytes);
    let (start, bytes, kind) = match (given, d.locked.at(at)) {
        (Some((start, g)), _) => (*start, g.bytes, None),
        (None, Some((start, stretch))) => (start, stretch.bytes as u64, Some(stretch.kind)),
        (None, None) => return Ok(None),
    };
    let managed = kind == Some(Kind::Managed);
    let card = if kind.is_none() { d.card_of(at) } else { d.card().unwrap_or(0) };
    let context = given.map(|(_, g)| g.context).or_else(|| d.current().ok()).unwrap_or(0);
    Ok(Some(match () {
        () if is(P::CU_POINTER_ATTRIBUTE_CONTEXT) => (context, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_MEMORY_TYPE) => (if kind.is_none() || managed { DEVICE } else { HOST }, 4),
        () if is(P::CU_POINTER_ATTRIBUTE_DEVICE_POINTER) => (at, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_HOST_POINTER) => {
            if kind.is_none() {
                return Err(Status::CUDA_ERROR_INVALID_VALUE);
            }
            (at, 8)
        }
        // The address tells one allocation from every other, for good.
        () if is(P::CU_POINTER_ATTRIBUTE_BUFFER_ID) => (start, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_IS_MANAGED) => (managed.into(), 4),
        () if is(P::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) => (card as u64, 4),
        () if is(P::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR) => (start, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_RANGE_SIZE) => (bytes, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_MAPPED) => (1, 4),
        () if is(P::CU_POINTER_ATTRIBUTE_ACCESS_FLAGS) => (3, 4),
        () if is(P::CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES) => (0, 8),
        () if is(P::CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE) => (given.map_or(0, |(_, g)| g.pool), 8),
        () if which < P::CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID as u32 => (0, 4),
        () => return Err(d.wrong(&format!("{which} is no attribute"), Status::CUDA_ERROR_INVALID_VALUE)),
    }))
}

fn put(out: *mut c_void, value: u64, bytes: usize) -> Result {
    if bytes == 8 { Out(out.cast::<u64>()).put(value) } else { Out(out.cast::<u32>()).put(value as u32) }
}

/// That all of a range is managed memory.
fn managed(d: &Driver, at: u64, bytes: usize) -> Result {
    match d.locked.at(at) {
        Some((start, s)) if s.kind == Kind::Managed && bytes as u64 <= start + s.bytes as u64 - at => Ok(()),
        _ => Err(d.wrong(&format!("{bytes} bytes at {at:#x}: no managed memory"), Status::CUDA_ERROR_INVALID_VALUE)),
    }
}

calls! {
    cuPointerGetAttribute(out: *mut c_void, which: u32, at: u64) Driver |d| match attribute(d, which, at)? {
        Some((value, bytes)) => put(out, value, bytes),
        // Programs ask this of memory of theirs that no driver knows: no fault.
        None => Err(Status::CUDA_ERROR_INVALID_VALUE),
    };
    cuPointerGetAttributes(count: u32, which: In<u32>, outs: In<*mut c_void>, at: u64) Driver |d| {
        for i in 0..count as usize {
            // Of unknown memory, and what an attribute does not say, is told as 0.
            let (which, out) = (which.at(i)?, outs.at(i)?);
            let wide = matches!(which, 1 | 3 | 4 | 7 | 11 | 12 | 14 | 17);
            let (value, bytes) = attribute(d, which, at).ok().flatten().unwrap_or((0, if wide { 8 } else { 4 }));
            put(out, value, bytes)?;
        }
        Ok(())
    };
    cuPointerSetAttribute(_value: usize, _which: u32, _at: u64) Driver |_| Ok(());
    cuMemHostGetDevicePointer_v2(out: Out<u64>, at: u64, _flags: u32) Context |d| match d.locked.at(at) {
        // One address for host and cards.
        Some(_) => out.put(at),
        None => Err(d.wrong(&format!("{at:#x} is not page-locked"), Status::CUDA_ERROR_INVALID_VALUE)),
    };
    cuMemPrefetchAsync(at: u64, bytes: usize, _device: i32, stream: u64) Context |d| {
        managed(d, at, bytes)?;
        d.stream(stream).map(drop)
    };
    cuMemPrefetchAsync_v2(at: u64, bytes: usize, _location: u64, _flags: u32, stream: u64) Context |d| {
        managed(d, at, bytes)?;
        d.stream(stream).map(drop)
    };
    cuMemAdvise(at: u64, bytes: usize, _advice: u32, _device: i32) Context |d| managed(d, at, bytes);
    cuMemAdvise_v2(at: u64, bytes: usize, _advice: u32, _location: u64) Context |d| managed(d, at, bytes);
}
