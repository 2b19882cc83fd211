//! Events: recorded, waited for, timed.

use super::Out;
use super::stream::external;
use crate::driver::{Driver, Event, Recorded};
use crate::queue::Point;
use crate::status::{Result, Status};

/// `CU_EVENT_DISABLE_TIMING`.
const UNTIMED: u32 = 2;

/// The point that an event was recorded at; nothing if it never was.
fn point(d: &Driver, event: u64) -> Result<Option<Point>> {
    match &d.event(event)?.recorded {
        Recorded::Never => Ok(None),
        Recorded::At(point) => Ok(Some(point.clone())),
        Recorded::Captured(..) => {
            Err(d.wrong("the event was last recorded in a capture", Status::CUDA_ERROR_CAPTURED_EVENT))
        }
    }
}

fn elapsed(d: &Driver, milliseconds: &Out<f32>, start: u64, end: u64) -> Result {
    for event in [start, end] {
        if !d.event(event)?.timed {
            return Err(d.wrong("an event that was made without timing", Status::CUDA_ERROR_INVALID_HANDLE));
        }
        match point(d, event)? {
            None => return Err(d.wrong("an event that was never recorded", Status::CUDA_ERROR_INVALID_HANDLE)),
            Some(point) if !d.queue.is_reached(&point) => return Err(Status::CUDA_ERROR_NOT_READY),
            Some(_) => {}
        }
    }
    let time = |event| d.events.get(event, d.name).map(|e: &Event| e.time);
    let (Some(from), Some(to)) = (time(start)?, time(end)?) else { return Err(Status::CUDA_ERROR_NOT_READY) };
    let seconds = match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64(),
        None => -from.duration_since(to).as_secs_f64(),
    };
    milliseconds.put((seconds * 1e3) as f32)
}

calls! {
    cuEventCreate(event: Out<u64>, flags: u32) Context |d| {
        let (context, call) = (d.current()?, d.here());
        let timed = flags & UNTIMED == 0;
        event.put(d.events.insert(Event { context, timed, recorded: Recorded::Never, records: 0, time: None, call }))
    };
    cuEventDestroy_v2(event: u64) Driver |d| {
        let Event { context, .. } = d.events.remove(event, d.name)?;
        d.contexts.get(context, d.name)?.failed.map_or(Ok(()), Err)
    };
    cuEventRecord(event: u64, stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.record(event, stream, false)
    };
    cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) Context |d| {
        let (stream, external) = (d.stream(stream)?, external(d, flags)?);
        d.record(event, stream, external)
    };
    cuEventSynchronize(event: u64) Context |d| {
        let point = point(d, event)?;
        d.not_capturing()?;
        point.map_or(Ok(()), |point| d.wait(&point))?;
        d.event(event).map(drop)
    };
    // A program that asks may take another way then, which no capture sees: drivers refuse it as they do `cuMemAlloc`.
    cuEventQuery(event: u64) Context |d| {
        let point = point(d, event)?;
        d.not_capturing()?;
        point.map_or(Ok(()), |point| d.look(&point))?;
        d.event(event).map(drop)
    };
    cuEventElapsedTime(milliseconds: Out<f32>, start: u64, end: u64) Context |d| elapsed(d, &milliseconds, start, end);
    cuEventElapsedTime_v2(milliseconds: Out<f32>, start: u64, end: u64) Context |d| elapsed(d, &milliseconds, start, end);
}
