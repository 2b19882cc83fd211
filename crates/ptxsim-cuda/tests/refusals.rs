//! Calls across contexts and captures, leaks of a context that is released, and settings that make no sense: what a card refuses is
//! refused and reported, what it takes is left alone.

#![cfg(target_os = "linux")]

#[path = "common/adder.rs"]
mod adder;
mod common;

use adder::{BYTES, COUNT, Card, locked, open};
use common::{PROGRAM, run, run_with, text};
use cudarc::driver::DriverError;
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys::{self, CUresult};
use std::ffi::c_void;

type Fallible = Result<(), DriverError>;

const RELAXED: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;

const LOCAL: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

fn stream() -> Result<sys::CUstream, DriverError> {
    result::stream::create(StreamKind::NonBlocking)
}

fn event() -> Result<sys::CUevent, DriverError> {
    result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
}

unsafe extern "C" fn says(_: *mut c_void) {
    println!("called");
}

/// Makes the other card's primary context current.
fn other() -> Fallible {
    let device = result::device::get(1)?;
    unsafe { result::ctx::set_current(result::primary_ctx::retain(device)?) }
}

fn code(what: &str, answer: CUresult) {
    println!("{what}: {answer:?}");
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    if let Err(e) = named(&name) {
        println!("{name} ends with {:?}", e.0);
    }
}

fn named(name: &str) -> Fallible {
    let Card { add, context } = open()?;
    unsafe {
        match name {
            "copy and wait across contexts" => {
                let (host, device, s, there) = (locked(3)?, result::malloc_sync(BYTES)?, stream()?, event()?);
                other()?;
                let t = stream()?;
                code("copy", sys::cuMemcpyHtoDAsync_v2(device, host.as_ptr().cast(), BYTES, s));
                result::event::record(there, s)?;
                code("wait for the event", sys::cuStreamWaitEvent(t, there, 0));
                code("copy back", sys::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), device, BYTES, t));
                code("wait", sys::cuStreamSynchronize(t));
                code("wait for the other", sys::cuStreamSynchronize(s));
                println!("last {}", host[COUNT - 1]);
                result::stream::destroy(s)?;
                result::stream::destroy(t)?;
                result::event::destroy(there)?;
                result::free_sync(device)?;
                result::free_host(host.as_mut_ptr().cast())?;
            }
            "failed elsewhere" => {
                let mut own = std::ptr::null_mut();
                sys::cuCtxCreate_v2(&mut own, 0, 0).result()?;
                let (s, e, late, device) = (stream()?, event()?, event()?, result::malloc_sync(BYTES)?);
                result::event::record(e, s)?;
                let (mut data, mut count) = (0x1000u64, 1u32);
                let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
                result::launch_kernel(adder::load()?, (1, 1, 1), (1, 1, 1), 0, s, &mut each)?;
                result::event::record(late, s)?;
                result::ctx::set_current(context)?;
                let (t, mine) = (stream()?, event()?);
                // The call that finds it tells it, and all those after it.
                code("wait for what comes behind", sys::cuEventSynchronize(late));
                code("wait for the event", sys::cuEventSynchronize(e));
                code("ask the event", sys::cuEventQuery(e));
                code("record", sys::cuEventRecord(e, s));
                code("wait behind it", sys::cuStreamWaitEvent(t, e, 0));
                code("fill", sys::cuMemsetD8Async(device, 0, BYTES, s));
                code("call", sys::cuLaunchHostFunc(s, Some(says), std::ptr::null_mut()));
                code("ask the stream", sys::cuStreamQuery(s));
                // What is of the current context goes on.
                code("own event", sys::cuEventRecord(mine, t));
                code("own stream", sys::cuStreamSynchronize(t));
            }
            "record across contexts" => {
                let e = event()?;
                other()?;
                let s = stream()?;
                code("record", sys::cuEventRecord(e, s));
            }
            "launch across contexts" => {
                other()?;
                let s = stream()?;
                result::ctx::set_current(context)?;
                let (mut data, mut count) = (0u64, 0u32);
                let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
                let answer = result::launch_kernel(add, (1, 1, 1), (1, 1, 1), 0, s, &mut each);
                println!("launch: {:?}", answer.map_err(|e| e.0));
            }
            "wait for a context in a capture" => {
                let s = stream()?;
                result::stream::begin_capture(s, RELAXED)?;
                code("wait", sys::cuCtxSynchronize());
                println!("end: {:?}", result::stream::end_capture(s).map_err(|e| e.0));
            }
            "destroyed in a capture" => {
                let (s, t) = (stream()?, stream()?);
                result::stream::begin_capture(s, RELAXED)?;
                code("destroy", sys::cuStreamDestroy_v2(s));
                // It forbids nothing any more.
                code("wait", sys::cuCtxSynchronize());
                result::stream::destroy(t)?;
            }
            "context destroyed in a capture" => {
                let mut own = std::ptr::null_mut();
                sys::cuCtxCreate_v2(&mut own, 0, 0).result()?;
                let (s, t, fork) = (stream()?, stream()?, event()?);
                result::stream::begin_capture(t, RELAXED)?;
                result::event::record(fork, t)?;
                code("join", sys::cuStreamWaitEvent(s, fork, 0));
                code("destroy", sys::cuCtxDestroy_v2(own));
            }
            "context reset in a capture" => {
                result::stream::begin_capture(stream()?, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL)?;
                code("reset", sys::cuDevicePrimaryCtxReset_v2(0));
                // It forbids nothing any more.
                code("wait", sys::cuCtxSynchronize());
            }
            "registered twice" => {
                let words = vec![0u32; 4096];
                let at = words.as_ptr().cast_mut().cast::<c_void>();
                code("first", sys::cuMemHostRegister_v2(at, 8192, 0));
                code("overlapping", sys::cuMemHostRegister_v2(at.byte_add(4096), 8192, 0));
                code("beside it", sys::cuMemHostRegister_v2(at.byte_add(8192), 4096, 0));
                code("unregister", sys::cuMemHostUnregister(at));
                code("again", sys::cuMemHostUnregister(at));
                code("inside", sys::cuMemHostUnregister(at.byte_add(8196)));
                code("the other", sys::cuMemHostUnregister(at.byte_add(8192)));
            }
            "flags" => {
                let (mut own, mut flags, mut active) = (std::ptr::null_mut(), 0, 0);
                let mut get = |what: &str| {
                    let answer = sys::cuCtxGetFlags(&mut flags);
                    println!("{what}: {answer:?} {flags}");
                };
                sys::cuDevicePrimaryCtxSetFlags_v2(0, 2).result()?;
                get("primary");
                sys::cuCtxCreate_v2(&mut own, 4, 0).result()?;
                get("own");
                sys::cuCtxSetFlags(1).result()?;
                get("set");
                for device in [0, 1] {
                    let mut flags = 99;
                    sys::cuDevicePrimaryCtxGetState(device, &mut flags, &mut active).result()?;
                    let (mut bus, mut text) = (0, [0; 20]);
                    let which = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID;
                    sys::cuDeviceGetAttribute(&mut bus, which, device).result()?;
                    sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), 20, device).result()?;
                    let text = std::ffi::CStr::from_ptr(text.as_ptr()).to_string_lossy();
                    println!("card {device}: flags {flags}, active {active}, bus {bus} of {text}");
                }
                sys::cuCtxDestroy_v2(own).result()?;
            }
            "leak of a released context" => {
                result::malloc_sync(16)?;
                event()?;
                sys::cuDevicePrimaryCtxRelease_v2(0).result()?;
            }
            "memory in the order of a capture" => {
                let (s, mut at, before) = (stream()?, 0, result::malloc_sync(16)?);
                for which in ["cuMemAllocAsync", "cuMemFreeAsync"] {
                    result::stream::begin_capture(s, RELAXED)?;
                    let alloc = which == "cuMemAllocAsync";
                    code(
                        which,
                        if alloc { sys::cuMemAllocAsync(&mut at, 16, s) } else { sys::cuMemFreeAsync(before, s) },
                    );
                    println!("end: {:?}", result::stream::end_capture(s).map_err(|e| e.0));
                }
            }
            "another card's memory" => {
                let mut can = 1;
                sys::cuDeviceCanAccessPeer(&mut can, 0, 1).result()?;
                other()?;
                println!("can {can}, {:?}", sys::cuCtxEnablePeerAccess(context, 0));
            }
            "own exit code" => std::process::exit(3),
            "own exit code and a fault" => {
                sys::cuStreamSynchronize(0x99_9990 as sys::CUstream);
                std::process::exit(3);
            }
            "more than there is" => {
                let (device, host) = (result::malloc_sync(BYTES)?, locked(3)?);
                code("fill", sys::cuMemsetD32_v2(device, 1, 1 << 62));
                code("rows", sys::cuMemsetD2D8_v2(device, 1 << 62, 1, 1, 5));
                code("rows in each other", sys::cuMemsetD2D8_v2(device, 1, 1, 2, 2));
                code("register", sys::cuMemHostRegister_v2(host.as_mut_ptr().cast(), usize::MAX, 0));
                let mut copy = sys::CUDA_MEMCPY2D {
                    srcXInBytes: 0,
                    srcY: 0,
                    srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
                    srcHost: host.as_ptr().cast(),
                    srcDevice: 0,
                    srcArray: std::ptr::null_mut(),
                    srcPitch: 1 << 62,
                    dstXInBytes: 0,
                    dstY: 0,
                    dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                    dstHost: std::ptr::null_mut(),
                    dstDevice: device,
                    dstArray: std::ptr::null_mut(),
                    dstPitch: 4,
                    WidthInBytes: 4,
                    Height: 5,
                };
                code("copy", sys::cuMemcpy2D_v2(&copy));
                (copy.Height, copy.srcY) = (1, 8);
                code("start", sys::cuMemcpy2D_v2(&copy));
            }
            "two captures" => {
                let (s, t, mut graph) = (stream()?, stream()?, std::ptr::null_mut());
                result::stream::begin_capture(s, RELAXED)?;
                result::stream::begin_capture(t, RELAXED)?;
                code("first", sys::cuStreamEndCapture(s, &mut graph));
                println!("graph of it: {}", !graph.is_null());
                code("wait for it", sys::cuStreamSynchronize(s));
                code("second", sys::cuStreamEndCapture(t, &mut graph));
                result::graph::destroy(graph)?;
                result::stream::destroy(s)?;
                result::stream::destroy(t)?;
            }
            "legacy stream in a capture" => {
                let (s, e, mut graph) = (result::stream::create(StreamKind::Default)?, event()?, std::ptr::null_mut());
                let (legacy, mut state) =
                    (std::ptr::null_mut(), sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
                result::event::record(e, stream()?)?;
                for mode in [sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL, RELAXED] {
                    for use_of in ["sync", "query", "wait", "ask"] {
                        result::stream::begin_capture(s, mode)?;
                        let answer = match use_of {
                            "sync" => sys::cuStreamSynchronize(legacy),
                            "query" => sys::cuStreamQuery(legacy),
                            "wait" => sys::cuStreamWaitEvent(legacy, e, 0),
                            _ => sys::cuStreamIsCapturing(legacy, &mut state),
                        };
                        println!("{use_of} {}: {answer:?}, {:?}", mode as u32, sys::cuStreamEndCapture(s, &mut graph));
                    }
                }
            }
            "event in a capture" => {
                let (s, t, e, mut graph) = (stream()?, stream()?, event()?, std::ptr::null_mut());
                result::event::record(e, t)?;
                result::stream::synchronize(t)?;
                let context = context as usize;
                let (mine, theirs) = (e as usize, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL);
                for (what, mode) in [("global", theirs), ("local", LOCAL), ("relaxed", RELAXED)] {
                    for elsewhere in [false, true] {
                        result::stream::begin_capture(s, mode)?;
                        let ask = move |elsewhere| {
                            if elsewhere {
                                result::ctx::set_current(context as sys::CUcontext)?;
                            }
                            Ok::<_, DriverError>(sys::cuEventQuery(mine as sys::CUevent))
                        };
                        let answer = if elsewhere {
                            std::thread::spawn(move || ask(true)).join().unwrap()?
                        } else {
                            ask(false)?
                        };
                        let end = sys::cuStreamEndCapture(s, &mut graph);
                        println!("{what}, another thread {elsewhere}: {answer:?}, {end:?}");
                    }
                }
                result::stream::begin_capture(s, theirs)?;
                // The guide names no streams but those that are captured, and the legacy one.
                code("another stream", sys::cuStreamSynchronize(t));
                code("the end", sys::cuStreamEndCapture(s, &mut graph));
                result::stream::begin_capture(s, theirs)?;
                code("wait", sys::cuEventSynchronize(e));
                code("the end of it", sys::cuStreamEndCapture(s, &mut graph));
            }
            "three allocations" => {
                for i in 1..=3 {
                    let mut at = 0;
                    println!("{i}: {:?}", sys::cuMemAlloc_v2(&mut at, 16));
                    sys::cuMemFree_v2(at);
                }
            }
            "default stream of the thread" => {
                let (mut at, mut found) =
                    (std::ptr::null_mut(), sys::CUdriverProcAddressQueryResult_enum::CU_GET_PROC_ADDRESS_SUCCESS);
                let name = c"cuStreamSynchronize".as_ptr();
                code("asked", sys::cuGetProcAddress_v2(name, &mut at, 12_090, 2, &mut found));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What each prints, or is told.
const REFUSED: &[(&str, &str)] = &[
    ("record across contexts", "record: CUDA_ERROR_INVALID_HANDLE"),
    ("record across contexts", "cuEventRecord: event and stream are of different contexts"),
    ("launch across contexts", "launch: Err(CUDA_ERROR_INVALID_HANDLE)"),
    ("launch across contexts", "is of another context than the current one"),
    ("wait for a context in a capture", "wait: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
    ("wait for a context in a capture", "end: Err(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)"),
    ("wait for a context in a capture", "cuCtxSynchronize: the stream is being captured"),
    ("destroyed in a capture", "cuStreamDestroy_v2: the stream is being captured"),
    ("destroyed in a capture", "wait: CUDA_SUCCESS"),
    ("context destroyed in a capture", "join: CUDA_SUCCESS\ndestroy: CUDA_SUCCESS"),
    ("context destroyed in a capture", "cuCtxDestroy_v2: the stream is being captured, which began with"),
    ("context destroyed in a capture", "1 found"),
    ("context reset in a capture", "cuDevicePrimaryCtxReset_v2: the stream is being captured, which began with"),
    ("context reset in a capture", "reset: CUDA_SUCCESS\nwait: CUDA_SUCCESS\n"),
    ("registered twice", "cuMemHostRegister_v2: of 8192 bytes at 0x"),
    ("registered twice", "cuMemHostUnregister: 0x"),
    (
        "registered twice",
        "first: CUDA_SUCCESS\noverlapping: CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED\nbeside it: CUDA_SUCCESS\nunregister: CUDA_SUCCESS\n\
         again: CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED\ninside: CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED\nthe other: CUDA_SUCCESS\n",
    ),
    ("registered twice", "3 found"),
    ("leak of a released context", "never given back: 16 bytes of device memory"),
    ("leak of a released context", "never given back: event"),
    (
        "more than there is",
        "fill: CUDA_ERROR_INVALID_VALUE\nrows: CUDA_ERROR_INVALID_VALUE\nrows in each other: CUDA_ERROR_INVALID_VALUE",
    ),
    (
        "more than there is",
        "register: CUDA_ERROR_INVALID_VALUE\ncopy: CUDA_ERROR_INVALID_VALUE\nstart: CUDA_ERROR_INVALID_VALUE",
    ),
    (
        "more than there is",
        "cuMemsetD32_v2: 1 rows of 4611686018427387904 values of 4 bytes are more than there are addresses for",
    ),
    (
        "memory in the order of a capture",
        "cuMemAllocAsync: CUDA_ERROR_NOT_SUPPORTED\nend: Err(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)",
    ),
    (
        "memory in the order of a capture",
        "cuMemFreeAsync: CUDA_ERROR_NOT_SUPPORTED\nend: Err(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)",
    ),
    ("memory in the order of a capture", "cuMemAllocAsync: nodes that allocate and free in a capture are not emulated"),
    ("default stream of the thread", "asked: CUDA_ERROR_NOT_SUPPORTED"),
    ("default stream of the thread", "name it by CU_STREAM_PER_THREAD"),
];

const CARDS: (&str, &str) = ("PTXSIM_CARD", "a100,a100");

#[test]
fn what_a_card_refuses_is_reported() {
    for (program, expected) in REFUSED {
        let out = run(program, &[CARDS]);
        let told = text(&out.stdout) + &text(&out.stderr);
        assert!(told.contains(expected), "{program}: {expected} is not in {told}");
        assert_eq!(out.status.code(), Some(99), "{program}: {told}");
    }
}

#[test]
fn copies_and_waits_may_be_of_other_contexts() {
    for seed in 0..20 {
        let out = run("copy and wait across contexts", &[CARDS, ("PTXSIM_SCHEDULE", &seed.to_string())]);
        let (told, wrong) = (text(&out.stdout), text(&out.stderr));
        assert!(told.contains("last 3") && !told.contains("ERROR") && out.status.success(), "{seed}: {told} {wrong}");
    }
}

/// A kernel that fails is the end of its context's streams and events, whichever context is current.
#[test]
fn what_failed_elsewhere_is_told_by_its_streams_and_events() {
    let told = text(&run("failed elsewhere", &[]).stdout);
    let failed = [
        "wait for what comes behind",
        "wait for the event",
        "ask the event",
        "record",
        "wait behind it",
        "fill",
        "call",
    ];
    for what in failed.into_iter().chain(["ask the stream"]) {
        assert!(told.contains(&format!("{what}: CUDA_ERROR_ILLEGAL_ADDRESS\n")), "{what}: {told}");
    }
    assert!(told.contains("own event: CUDA_SUCCESS\nown stream: CUDA_SUCCESS\n") && !told.contains("called"), "{told}");
}

#[test]
fn a_failure_that_cannot_come_stops_the_program() {
    for (asked, expected) in [
        (
            "cuMemAlloc:1",
            "PTXSIM_FAIL=cuMemAlloc: expected a function by its full name, as PTXSIM_CALLS lists it (is cuMemAlloc_v2 meant?)",
        ),
        ("cuNope:1", "PTXSIM_FAIL=cuNope: expected a function by its full name"),
        ("cuMemAlloc_v2:0", "PTXSIM_FAIL=cuMemAlloc_v2:0: expected FUNCTION:CALL"),
        ("cuMemAlloc_v2:1:CUDA_ERROR_UNKNOWN:2", "expected FUNCTION:CALL"),
        ("cuMemAlloc_v2:1:CUDA_ERROR_NOPE", "expected the name of an error, and CUDA_ERROR_NOPE is none"),
        ("cuMemAlloc_v2:1:CUDA_SUCCESS", "expected the name of an error, and CUDA_SUCCESS is none"),
        (
            "cuInit:2,cuMemAlloc_v2:1,cuInit:2:CUDA_ERROR_UNKNOWN",
            "expected each call once, and cuInit:2 is there twice",
        ),
    ] {
        let out = run("none", &[("PTXSIM_FAIL", asked)]);
        let told = text(&out.stderr);
        assert!(told.contains(expected) && out.status.code() == Some(2), "{asked}: {:?} {told}", out.status);
    }
    assert!(run("none", &[("PTXSIM_FAIL", "cuTexRefCreate:1,cuMemAlloc_v2:7")]).status.success());
}

#[test]
fn several_calls_of_a_function_fail() {
    let fail = "cuMemAlloc_v2:1,cuMemAlloc_v2:3:CUDA_ERROR_UNKNOWN";
    let told = text(&run("three allocations", &[("PTXSIM_FAIL", fail)]).stdout);
    assert!(told.contains("1: CUDA_ERROR_OUT_OF_MEMORY\n2: CUDA_SUCCESS\n3: CUDA_ERROR_UNKNOWN\n"), "{told}");
}

/// The legacy stream cannot be used while a stream that is ordered with it is captured, in whatever mode; whether it is may be asked.
#[test]
fn the_legacy_stream_rests_while_others_are_captured() {
    let out = run("legacy stream in a capture", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    for mode in [0, 2] {
        for use_of in ["sync", "query", "wait"] {
            let line =
                format!("{use_of} {mode}: CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED\n");
            assert!(said.contains(&line), "{line}: {said}{told}");
        }
        let line = format!("ask {mode}: CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, CUDA_SUCCESS\n");
        assert!(said.contains(&line), "{line}: {said}{told}");
    }
    let text = "the legacy stream is used while a stream that is ordered with it is captured";
    assert_eq!(told.matches(text).count(), 6, "{told}");
}

/// Asking for an event is one of the calls that modes of captures are about.
#[test]
fn events_are_not_asked_for_in_captures() {
    let out = run("event in a capture", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let refused = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    for (what, answer) in [
        ("global, another thread false", refused),
        ("global, another thread true", refused),
        ("local, another thread false", refused),
        ("local, another thread true", "CUDA_SUCCESS, CUDA_SUCCESS"),
        ("relaxed, another thread false", "CUDA_SUCCESS, CUDA_SUCCESS"),
        ("relaxed, another thread true", "CUDA_SUCCESS, CUDA_SUCCESS"),
        ("another stream", "CUDA_SUCCESS\nthe end: CUDA_SUCCESS"),
        ("wait", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED\nthe end of it: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
    ] {
        assert!(said.contains(&format!("{what}: {answer}\n")), "{what}: {answer}: {said}{told}");
    }
    assert!(told.contains("cuEventQuery: not while a stream is captured"), "{told}");
}

/// One capture that is over with a failure leaves the other alone.
#[test]
fn the_end_of_one_capture_fails() {
    let out = run("two captures", &[("PTXSIM_FAIL", "cuStreamEndCapture:1")]);
    let (told, wrong) = (text(&out.stdout), text(&out.stderr));
    let lines = "first: CUDA_ERROR_UNKNOWN\ngraph of it: false\nwait for it: CUDA_SUCCESS\nsecond: CUDA_SUCCESS\n";
    assert!(told.contains(lines) && out.status.success(), "{told}{wrong}");
}

#[test]
fn cards_do_not_reach_each_others_memory() {
    let out = run("another card's memory", &[CARDS]);
    let (told, wrong) = (text(&out.stdout), text(&out.stderr));
    assert!(told.contains("can 0, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED") && out.status.success(), "{told} {wrong}");
}

#[test]
fn what_is_set_is_told() {
    let out = run("flags", &[CARDS]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let lines = "primary: CUDA_SUCCESS 2\nown: CUDA_SUCCESS 4\nset: CUDA_SUCCESS 1\n\
        card 0: flags 2, active 1, bus 1 of 0000:01:00.0\ncard 1: flags 0, active 0, bus 2 of 0000:02:00.0\n";
    assert!(said.contains(lines) && out.status.success(), "{said}{told}");
}

/// Whatever code a program ends with, and whether or not anybody can be told what was found.
#[test]
fn the_exit_code_says_that_something_was_found() {
    let code = |program, environment: &[(&str, &str)]| run(program, environment).status.code();
    assert_eq!(code("own exit code", &[]), Some(3));
    assert_eq!(code("own exit code and a fault", &[]), Some(99));
    assert_eq!(code("own exit code and a fault", &[("PTXSIM_EXIT", "7")]), Some(7));
    assert_eq!(code("own exit code and a fault", &[("PTXSIM_EXIT", "0")]), Some(3));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let out = run_with("leak of a released context", &[], |command| {
        command.stderr(full);
    });
    assert_eq!(out.status.code(), Some(99), "{}", text(&out.stdout));
}

#[test]
fn settings_have_ranges() {
    for (name, value, expected) in [
        ("PTXSIM_EXIT", "-1", "an exit code from 1 to 255"),
        ("PTXSIM_EXIT", "256", "an exit code from 1 to 255"),
        ("PTXSIM_DRIVER", "-1.0", "the newest CUDA it supports, as 12.4, from 11.0 on"),
        ("PTXSIM_DRIVER", "9999999.0", "the newest CUDA it supports"),
        ("PTXSIM_DRIVER", "12.10", "the newest CUDA it supports"),
        ("PTXSIM_DRIVER", "0.0", "the newest CUDA it supports"),
        ("PTXSIM_MEMORY", "0", "a number of bytes, no more than 1 TiB"),
        ("PTXSIM_MEMORY", "18446744073709551615", "a number of bytes, no more than 1 TiB"),
        ("PTXSIM_SCHEDULE", "-1", "a seed"),
        ("PTXSIM_INSTRUCTIONS", "-1", "a number of instructions"),
    ] {
        let out = run("none", &[(name, value)]);
        let told = text(&out.stderr);
        let line = format!("{name}={value}: expected {expected}");
        assert!(told.contains(&line) && out.status.code() == Some(2), "{line}: {:?} {told}", out.status);
    }
    for (name, value) in [("PTXSIM_EXIT", "255"), ("PTXSIM_DRIVER", "11.0"), ("PTXSIM_MEMORY", "1099511627776")] {
        let out = run("none", &[(name, value)]);
        assert!(out.status.success(), "{name}={value}: {}", text(&out.stderr));
    }
}

/// An empty variable is one that is not set.
#[test]
fn empty_settings_are_not_set() {
    let all = ["CARD", "DRIVER", "MEMORY", "SCHEDULE", "FAIL", "CALLS", "FREE", "UNWRITTEN", "LEAKS", "EXIT"];
    let names = all.map(|name| format!("PTXSIM_{name}"));
    let out = run("three allocations", &names.each_ref().map(|name| (name.as_str(), "")));
    assert!(out.status.success(), "{}", text(&out.stderr));
}
