//! Device memory, page-locked memory, copies and fills.

use std::ffi::c_void;

use super::context::drain;
use super::pool::{current, used};
use super::rows::{Planes, Rows, planes, rows};
use super::{In, Out};
use crate::driver::{Driver, Given};
use crate::host::Kind;
use crate::queue::Point;
use crate::status::{Result, Status};
use crate::work::{Shape, Work};

/// `CU_MEM_ATTACH_GLOBAL` and `CU_MEM_ATTACH_HOST`.
const GLOBAL: u32 = 1;
const HOST: u32 = 2;
/// Rows that `cuMemAllocPitch` makes begin at multiples of this.
const PITCH: usize = 512;

/// What allocations and frees are in captures.
const NODES: &str = "nodes that allocate and free";

pub fn allocate(d: &mut Driver, bytes: usize) -> Result<u64> {
    let (context, card) = (d.current()?, d.card()?);
    allocate_in(d, context, card, bytes, 0)
}

/// The same in another context, of a card that need not be the context's, and of a pool.
fn allocate_in(d: &mut Driver, context: u64, card: usize, bytes: usize, pool: u64) -> Result<u64> {
    if bytes == 0 {
        return Err(d.wrong("0 bytes", Status::CUDA_ERROR_INVALID_VALUE));
    }
    let at = loop {
        if let Ok(at) = d.cards[card].memory.alloc(bytes as u64) {
            break at;
        }
        // A card waits for what is freed in the order of streams.
        let frees = |work: &Work| matches!(work, Work::Free(at) if d.card_of(*at) == card);
        let enough = bytes as u64 <= d.cards[card].memory.capacity();
        let free = d.queue.first(frees).filter(|_| enough).ok_or(Status::CUDA_ERROR_OUT_OF_MEMORY)?;
        // The program does not know of it.
        d.noting = true;
        d.reach(&free);
        d.contexts.get(context, d.name)?.failed.map_or(Ok(()), Err)?;
    };
    if at + bytes as u64 > d.addresses(card).end {
        let _ = d.cards[card].memory.free(at);
        let text = "no addresses are left for this card: they are never used twice";
        return Err(d.wrong(text, Status::CUDA_ERROR_OUT_OF_MEMORY));
    }
    d.given.insert(at, Given { context, bytes: bytes as u64, pool, call: d.here(), leaving: false });
    Ok(at)
}

/// The same in the order of a stream, of a pool, or of the one that the stream's card takes memory from.
fn allocate_later(d: &mut Driver, out: &Out<u64>, bytes: usize, pool: Option<u64>, stream: u64) -> Result {
    let stream = d.stream(stream)?;
    d.not_emulated(stream, NODES)?;
    d.not_implied(stream)?;
    let context = d.streams.get(stream, d.name)?.context;
    let own = d.contexts.get(context, d.name)?.card;
    let pool = pool.unwrap_or_else(|| current(d, own));
    let card = d.pools.get(pool, d.name)?.card;
    let at = allocate_in(d, context, card, bytes, pool)?;
    let used = used(d, pool);
    let pool = d.pools.get_mut(pool, d.name)?;
    pool.high = pool.high.max(used);
    if let Some(point) = d.submit(stream, Work::Alloc { at, bytes: bytes as u64 })? {
        d.made(&point, at..at + bytes as u64);
    }
    out.put(at)
}

/// That an address begins memory which the program may give back.
fn owned(d: &Driver, at: u64) -> Result {
    if d.given.get(&at).is_some_and(|given| !given.leaving) {
        return Ok(());
    }
    let text = match d.freed.began(at) {
        true => format!("{at:#x} was freed before"),
        false => format!("{at:#x} begins no allocation"),
    };
    Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE))
}

fn free(d: &mut Driver, at: u64) -> Result {
    if at == 0 {
        return Ok(());
    }
    owned(d, at)?;
    if d.settings.free_waits {
        drain(d)?;
    }
    let bytes = d.given.remove(&at).map_or(0, |given| given.bytes);
    d.freed_in_use(at..at + bytes);
    let call = d.here();
    d.release(at, bytes, &call);
    Ok(())
}

/// Gives page-locked or managed memory back that was made so. False: there is no such memory.
fn unlock(d: &mut Driver, at: u64, kind: Kind) -> Result<bool> {
    let Some((start, stretch)) = d.locked.at(at).filter(|(start, s)| *start == at && s.kind == kind) else {
        return Ok(false);
    };
    let bytes = stretch.bytes as u64;
    if d.settings.free_waits {
        drain(d)?;
    } else {
        d.let_go(start, bytes);
    }
    let call = d.here();
    d.freed.add(start, bytes, call);
    Ok(d.locked.free(at, kind))
}

fn locked(d: &mut Driver, out: &Out<*mut c_void>, bytes: usize, kind: Kind, flags: u32) -> Result {
    if bytes == 0 {
        return out.put(std::ptr::null_mut());
    }
    let call = d.here();
    match d.locked.allocate(bytes, kind, flags, call) {
        Some(at) => {
            // The system may give what was freed before.
            d.freed.forget(at as u64);
            out.put(at.cast())
        }
        None => Err(Status::CUDA_ERROR_OUT_OF_MEMORY),
    }
}

/// A fill of rows (values in each, how many, how far apart) that a card would take, or its answer; nothing if no byte is filled.
pub fn fill_of(d: &Driver, at: u64, rows: [usize; 3], value: u32, size: u32) -> Result<Option<Work>> {
    let [width, count, pitch] = rows.map(|n| n as u64);
    if width == 0 || count == 0 {
        return Ok(None);
    }
    let row = width.checked_mul(size.into());
    if count > 1 && row.is_some_and(|row| row > pitch) {
        return Err(d.wrong("rows are wider than their pitch", Status::CUDA_ERROR_INVALID_VALUE));
    }
    let Some(bytes) = row.and_then(|row| (count - 1).checked_mul(pitch)?.checked_add(row)) else {
        let text = format!("{count} rows of {width} values of {size} bytes are more than there are addresses for");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
    };
    if !at.is_multiple_of(size.into()) {
        let text = format!("{at:#x} is no multiple of the {size} bytes of a value");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
    }
    if !d.locked.holds(at, bytes) {
        d.check_range(at, bytes)?;
    }
    Ok(Some(Work::Fill { at, value, size, width, rows: count, pitch }))
}

/// A fill of rows in a stream.
fn fill(d: &mut Driver, stream: u64, at: u64, rows: [usize; 3], value: u32, size: u32) -> Result<Option<Point>> {
    let Some(work) = fill_of(d, at, rows, value, size)? else { return Ok(None) };
    let stream = d.stream(stream)?;
    d.submit(stream, work)
}

/// The same in the legacy stream; the host waits only where its own memory is filled.
fn fill_now(d: &mut Driver, at: u64, rows: [usize; 3], value: u32, size: u32) -> Result {
    match fill(d, 0, at, rows, value, size)? {
        Some(point) if !d.is_device(at) => d.wait(&point),
        _ => Ok(()),
    }
}

/// A copy of a line, in a stream or done when this returns. Where a card's memory is meant, it has to be that, or page-locked.
fn line(d: &mut Driver, stream: Option<u64>, from: u64, to: u64, bytes: usize, cards: &[u64]) -> Result {
    let shape = Shape::line(bytes as u64);
    cards.iter().try_for_each(|at| d.check_device(*at, shape.width))?;
    let Some(stream) = stream else { return d.copy_now(from, to, shape) };
    let stream = d.stream(stream)?;
    d.copy_in(stream, from, to, shape)
}

calls! {
    cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) Context |d| {
        let memory = &d.cards[d.card()?].memory;
        free.put((memory.capacity() - memory.used()) as usize)?;
        total.put(memory.capacity() as usize)
    };
    cuMemAlloc_v2(at: Out<u64>, bytes: usize) NoCapture |d| at.put(allocate(d, bytes)?);
    cuMemAllocPitch_v2(at: Out<u64>, pitch: Out<usize>, width: usize, height: usize, _element: u32) NoCapture |d| {
        let row = width.checked_next_multiple_of(PITCH);
        let Some((row, bytes)) = row.and_then(|row| Some((row, row.checked_mul(height)?))) else {
            return Err(Status::CUDA_ERROR_OUT_OF_MEMORY);
        };
        at.put(allocate(d, bytes)?)?;
        pitch.put(row)
    };
    cuMemFree_v2(at: u64) NoCapture |d| {
        if d.locked.at(at).is_some_and(|(start, s)| start == at && s.kind == Kind::Managed) {
            return unlock(d, at, Kind::Managed).map(drop);
        }
        free(d, at)
    };
    cuMemAllocManaged(out: Out<*mut c_void>, bytes: usize, flags: u32) NoCapture |d| {
        if bytes == 0 || !matches!(flags & 3, GLOBAL | HOST) {
            return Err(d.wrong(&format!("{bytes} bytes, flags {flags:#x}"), Status::CUDA_ERROR_INVALID_VALUE));
        }
        locked(d, &out, bytes, Kind::Managed, flags)
    };
    cuMemAllocAsync(at: Out<u64>, bytes: usize, stream: u64) Context |d| {
        allocate_later(d, &at, bytes, None, stream)
    };
    cuMemAllocFromPoolAsync(at: Out<u64>, bytes: usize, pool: u64, stream: u64) Context |d| {
        allocate_later(d, &at, bytes, Some(pool), stream)
    };
    cuMemFreeAsync(at: u64, stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.not_emulated(stream, NODES)?;
        owned(d, at)?;
        d.submit(stream, Work::Free(at))?;
        if let Some(given) = d.given.get_mut(&at) {
            given.leaving = true;
        }
        Ok(())
    };
    cuMemGetAddressRange_v2(start: Out<u64>, bytes: Out<usize>, at: u64) Context |d| {
        if let Some((first, len)) = d.locked.start_of(at) {
            start.put_if(first);
            bytes.put_if(len as usize);
            return Ok(());
        }
        let found = d.given.range(..=at).next_back().filter(|(first, given)| at - **first < given.bytes);
        let Some((first, given)) = found else { return Err(Status::CUDA_ERROR_NOT_FOUND) };
        start.put_if(*first);
        bytes.put_if(given.bytes as usize);
        Ok(())
    };
    cuMemAllocHost_v2(out: Out<*mut c_void>, bytes: usize) NoCapture |d| locked(d, &out, bytes, Kind::Locked, 0);
    cuMemHostAlloc(out: Out<*mut c_void>, bytes: usize, flags: u32) NoCapture |d| {
        locked(d, &out, bytes, Kind::Locked, flags)
    };
    cuMemFreeHost(at: u64) NoCapture |d| {
        if at == 0 {
            return Ok(());
        }
        if unlock(d, at, Kind::Locked)? {
            return Ok(());
        }
        Err(d.wrong(&format!("{at:#x} begins no page-locked memory"), Status::CUDA_ERROR_INVALID_VALUE))
    };
    cuMemHostRegister_v2(at: u64, bytes: usize, flags: u32) NoCapture |d| {
        if at == 0 || bytes == 0 || at.checked_add(bytes as u64).is_none() {
            return Err(d.wrong("no memory to lock", Status::CUDA_ERROR_INVALID_VALUE));
        }
        let call = d.here();
        if d.locked.register(at, bytes, flags, call) {
            return Ok(());
        }
        let text = format!("of {bytes} bytes at {at:#x}, some are page-locked before");
        Err(d.wrong(&text, Status::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED))
    };
    cuMemHostUnregister(at: u64) NoCapture |d| {
        if unlock(d, at, Kind::Registered)? {
            return Ok(());
        }
        let text = format!("{at:#x} begins no memory that is registered");
        Err(d.wrong(&text, Status::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED))
    };
    cuMemHostGetFlags(flags: Out<u32>, at: u64) Context |d| match d.locked.at(at) {
        Some((_, stretch)) => flags.put(stretch.flags),
        None => Err(Status::CUDA_ERROR_INVALID_VALUE),
    };
    cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize) NoCapture |d| line(d, None, from, to, bytes, &[to]);
    cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize) NoCapture |d| line(d, None, from, to, bytes, &[from]);
    cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) NoCapture |d| line(d, None, from, to, bytes, &[from, to]);
    cuMemcpy(to: u64, from: u64, bytes: usize) NoCapture |d| line(d, None, from, to, bytes, &[]);
    cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) Context |d| {
        line(d, Some(stream), from, to, bytes, &[to])
    };
    cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) Context |d| {
        line(d, Some(stream), from, to, bytes, &[from])
    };
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: u64) Context |d| {
        line(d, Some(stream), from, to, bytes, &[from, to])
    };
    cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: u64) Context |d| {
        line(d, Some(stream), from, to, bytes, &[])
    };
    cuMemcpyPeerAsync(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize, stream: u64) Context |d| {
        line(d, Some(stream), from, to, bytes, &[from, to])
    };
    cuMemcpyPeer(to: u64, _to_context: u64, from: u64, _from_context: u64, bytes: usize) NoCapture |d| {
        line(d, None, from, to, bytes, &[from, to])
    };
    cuMemcpy2D_v2(copy: In<Rows>) NoCapture |d| {
        let (from, to, shape) = rows(d, &copy.get()?)?;
        d.copy_now(from, to, shape)
    };
    cuMemcpy2DUnaligned_v2(copy: In<Rows>) NoCapture |d| {
        let (from, to, shape) = rows(d, &copy.get()?)?;
        d.copy_now(from, to, shape)
    };
    cuMemcpy2DAsync_v2(copy: In<Rows>, stream: u64) Context |d| {
        let (from, to, shape) = rows(d, &copy.get()?)?;
        let stream = d.stream(stream)?;
        d.copy_in(stream, from, to, shape)
    };
    cuMemcpy3D_v2(copy: In<Planes>) NoCapture |d| {
        let (from, to, shape) = planes(d, &copy.get()?)?;
        d.copy_now(from, to, shape)
    };
    cuMemcpy3DAsync_v2(copy: In<Planes>, stream: u64) Context |d| {
        let (from, to, shape) = planes(d, &copy.get()?)?;
        let stream = d.stream(stream)?;
        d.copy_in(stream, from, to, shape)
    };
    cuMemsetD8_v2(at: u64, value: u8, count: usize) NoCapture |d| fill_now(d, at, [count, 1, 0], value.into(), 1);
    cuMemsetD16_v2(at: u64, value: u16, count: usize) NoCapture |d| fill_now(d, at, [count, 1, 0], value.into(), 2);
    cuMemsetD32_v2(at: u64, value: u32, count: usize) NoCapture |d| fill_now(d, at, [count, 1, 0], value, 4);
    cuMemsetD2D8_v2(at: u64, pitch: usize, value: u8, width: usize, height: usize) NoCapture |d| {
        fill_now(d, at, [width, height, pitch], value.into(), 1)
    };
    cuMemsetD8Async(at: u64, value: u8, count: usize, stream: u64) Context |d| {
        fill(d, stream, at, [count, 1, 0], value.into(), 1).map(drop)
    };
    cuMemsetD16Async(at: u64, value: u16, count: usize, stream: u64) Context |d| {
        fill(d, stream, at, [count, 1, 0], value.into(), 2).map(drop)
    };
    cuMemsetD32Async(at: u64, value: u32, count: usize, stream: u64) Context |d| {
        fill(d, stream, at, [count, 1, 0], value, 4).map(drop)
    };
}
