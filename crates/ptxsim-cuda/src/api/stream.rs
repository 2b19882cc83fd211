//! Streams, functions of the host in them, and captures.

use std::ffi::c_void;

use super::Out;
use crate::driver::{Driver, MODE};
use crate::graph::Mode;
use crate::status::{Result, Status};
use crate::work::{Callback, Function, Work};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_RECORD_EXTERNAL` and `CU_EVENT_WAIT_EXTERNAL`.
const EXTERNAL: u32 = 1;

/// A function that is told the stream that calls it, and how that fares.
type StreamCallback = unsafe extern "C" fn(u64, Status, *mut c_void);

fn create(d: &mut Driver, out: &Out<u64>, flags: u32, priority: i32) -> Result {
    if flags > NON_BLOCKING {
        return Err(d.wrong(&format!("flags {flags:#x}: 0 or 1 are known"), Status::CUDA_ERROR_INVALID_VALUE));
    }
    let context = d.current()?;
    let handle = d.add_stream(context, flags != NON_BLOCKING, false);
    d.streams.get_mut(handle, d.name)?.priority = priority.clamp(-5, 0);
    out.put(handle)
}

fn mode(d: &Driver, mode: u32) -> Result<Mode> {
    match mode {
        0 => Ok(Mode::Global),
        1 => Ok(Mode::ThreadLocal),
        2 => Ok(Mode::Relaxed),
        _ => Err(d.wrong(&format!("{mode} is no mode of capture"), Status::CUDA_ERROR_INVALID_VALUE)),
    }
}

fn begin(d: &mut Driver, stream: u64, how: u32) -> Result {
    let (stream, mode) = (d.stream(stream)?, mode(d, how)?);
    d.begin_capture(stream, mode)
}

/// What is known of a stream's capture: state, number, the graph that it becomes, and of the nodes that the next one comes behind where
/// they are, where the data of those edges are, how many.
fn info(d: &mut Driver, stream: u64, status: &Out<u32>, [id, graph]: [&Out<u64>; 2], rest: [&Out<usize>; 3]) -> Result {
    let stream = d.stream(stream)?;
    status.put(d.capture_state(stream)?)?;
    id.put_if(d.streams.get(stream, d.name)?.capture.as_ref().map_or(0, |(number, _)| *number));
    let (handle, values) = d.capture_info(stream)?.unwrap_or_default();
    graph.put_if(handle);
    rest.iter().zip(values).for_each(|(out, value)| out.put_if(value));
    Ok(())
}

/// Whether an event's flags, of which there is one, say that it is external.
pub fn external(d: &Driver, flags: u32) -> Result<bool> {
    match flags {
        0 | EXTERNAL => Ok(flags == EXTERNAL),
        _ => Err(d.wrong(&format!("flags {flags:#x}: 0 or 1 are known"), Status::CUDA_ERROR_INVALID_VALUE)),
    }
}

calls! {
    cuStreamCreate(out: Out<u64>, flags: u32) Context |d| create(d, &out, flags, 0);
    cuStreamCreateWithPriority(out: Out<u64>, flags: u32, priority: i32) Context |d| create(d, &out, flags, priority);
    cuStreamDestroy_v2(stream: u64) Driver |d| d.end_stream(stream);
    cuStreamGetPriority(stream: u64, priority: Out<i32>) Context |d| {
        let stream = d.stream(stream)?;
        priority.put(d.streams.get(stream, d.name)?.priority)
    };
    cuStreamGetFlags(stream: u64, flags: Out<u32>) Context |d| {
        let stream = d.stream(stream)?;
        flags.put(u32::from(!d.streams.get(stream, d.name)?.blocking))
    };
    cuStreamGetCtx(stream: u64, context: Out<u64>) Context |d| {
        let stream = d.stream(stream)?;
        context.put(d.streams.get(stream, d.name)?.context)
    };
    cuStreamGetCtx_v2(stream: u64, context: Out<u64>, green: Out<usize>) Context |d| {
        let stream = d.stream(stream)?;
        // None is of a green context.
        green.put_if(0);
        context.put_if(d.streams.get(stream, d.name)?.context);
        Ok(())
    };
    cuStreamGetId(stream: u64, id: Out<u64>) Context |d| id.put(d.stream(stream)?);
    cuStreamSynchronize(stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.not_captured(stream)?;
        let tail = d.streams.get(stream, d.name)?.tail.clone();
        d.wait(&tail)?;
        d.works(stream)
    };
    cuStreamQuery(stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.not_captured(stream)?;
        let tail = d.streams.get(stream, d.name)?.tail.clone();
        d.look(&tail)?;
        d.works(stream)
    };
    cuStreamWaitEvent(stream: u64, event: u64, flags: u32) Context |d| {
        let (stream, external) = (d.stream(stream)?, external(d, flags)?);
        d.wait_event(stream, event, external)
    };
    cuStreamAttachMemAsync(stream: u64, _at: u64, _bytes: usize, _flags: u32) Context |d| d.stream(stream).map(drop);
    cuLaunchHostFunc(stream: u64, function: Option<unsafe extern "C" fn(*mut c_void)>, data: *mut c_void) Context |d| {
        let Some(function) = function else { return Err(Status::CUDA_ERROR_INVALID_VALUE) };
        let stream = d.stream(stream)?;
        d.submit(stream, Work::Call(Callback { function: Function::Plain(function), data })).map(drop)
    };
    cuStreamAddCallback(stream: u64, function: Option<StreamCallback>, data: *mut c_void, flags: u32) Context |d| {
        let Some(function) = function.filter(|_| flags == 0) else { return Err(Status::CUDA_ERROR_INVALID_VALUE) };
        let named = stream;
        let stream = d.stream(stream)?;
        if d.streams.get(stream, d.name)?.capture.is_some() {
            return Err(d.wrong("a callback in a capture", Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED));
        }
        d.submit(stream, Work::Call(Callback { function: Function::Told(function, named), data })).map(drop)
    };
    cuStreamGetDevice(stream: u64, device: Out<i32>) Context |d| {
        let stream = d.stream(stream)?;
        device.put(d.contexts.get(d.streams.get(stream, d.name)?.context, d.name)?.card as i32)
    };
    cuStreamBeginCapture_v2(stream: u64, mode: u32) Context |d| begin(d, stream, mode);
    cuStreamEndCapture(stream: u64, graph: Out<u64>) Context |d| {
        let stream = d.stream(stream)?;
        graph.put_if(0);
        graph.put(d.end_capture(stream)?)
    };
    cuStreamIsCapturing(stream: u64, status: Out<u32>) Context |d| {
        let stream = d.stream(stream)?;
        status.put(d.capture_state(stream)?)
    };
    cuStreamGetCaptureInfo_v2(
        stream: u64,
        status: Out<u32>,
        id: Out<u64>,
        graph: Out<u64>,
        nodes: Out<usize>,
        count: Out<usize>
    ) Context |d| {
        info(d, stream, &status, [&id, &graph], [&nodes, &Out::NULL, &count])
    };
    cuStreamGetCaptureInfo_v3(
        stream: u64,
        status: Out<u32>,
        id: Out<u64>,
        graph: Out<u64>,
        nodes: Out<usize>,
        edges: Out<usize>,
        count: Out<usize>
    ) Context |d| {
        info(d, stream, &status, [&id, &graph], [&nodes, &edges, &count])
    };
    cuThreadExchangeStreamCaptureMode(mine: Out<u32>) Nothing |d| {
        let wanted = mode(d, mine.now())?;
        mine.put(MODE.replace(wanted) as u32)
    };
}
