//! Programs with a fault of each kind planted in them, written as programs on cudarc's `result` layer are: what only works by luck on a
//! card is reported. And the same programs as they should be: nothing is, whatever the order that work is done in.

#![cfg(target_os = "linux")]

#[path = "common/adder.rs"]
mod adder;
mod common;

use adder::{BYTES, COUNT, Card, load, locked, open};
use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;

type Fallible = Result<(), cudarc::driver::DriverError>;

fn stream() -> Result<sys::CUstream, cudarc::driver::DriverError> {
    result::stream::create(StreamKind::NonBlocking)
}

// A frame of its own in what is reported.
#[inline(never)]
fn launch(add: sys::CUfunction, data: u64, count: u32, shared: u32, stream: sys::CUstream) -> Fallible {
    let (mut data, mut count) = (data, count);
    let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
    unsafe { result::launch_kernel(add, (4, 1, 1), (256, 1, 1), shared, stream, &mut each) }
}

fn bytes(words: &[u32]) -> &[u8] {
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 4 * words.len()) }
}

fn bytes_mut(words: &mut [u32]) -> &mut [u8] {
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 4 * words.len()) }
}

fn event() -> Result<sys::CUevent, cudarc::driver::DriverError> {
    result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
}

const WAIT: sys::CUevent_wait_flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
const LOCAL: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

/// Up on one stream, a kernel on another, down on a third: with both waits, or without one of them.
fn pipeline(wait_up: bool, wait_down: bool, early: bool) -> Fallible {
    let Card { add, .. } = open()?;
    let (host, device) = (locked(41)?, unsafe { result::malloc_sync(BYTES)? });
    let [up, work, down] = [stream()?, stream()?, stream()?];
    let [there, done] = [event()?, event()?];
    unsafe {
        result::memcpy_htod_async(device, bytes(host), up)?;
        result::event::record(there, up)?;
        if early {
            host.fill(7);
        }
        if wait_up {
            result::stream::wait_event(work, there, WAIT)?;
        }
        launch(add, device, COUNT as u32, 0, work)?;
        result::event::record(done, work)?;
        if wait_down {
            result::stream::wait_event(down, done, WAIT)?;
        }
        let back = locked(0)?;
        result::memcpy_dtoh_async(bytes_mut(back), device, down)?;
        result::stream::synchronize(down)?;
        // Whatever was not waited for.
        result::ctx::synchronize()?;
        println!("first {}", back[0]);
        for s in [up, work, down] {
            result::stream::destroy(s)?;
        }
        result::event::destroy(there)?;
        result::event::destroy(done)?;
        result::free_host(back.as_mut_ptr().cast())?;
        result::free_host(host.as_mut_ptr().cast())?;
        result::free_sync(device)
    }
}

/// A graph whose two halves are on two streams that are joined, replayed three times.
fn graph() -> Fallible {
    let Card { add, .. } = open()?;
    let (host, back) = (locked(10)?, locked(0)?);
    let (a, b) = unsafe { (result::malloc_sync(BYTES)?, result::malloc_sync(BYTES)?) };
    let [first, second] = [stream()?, stream()?];
    let [fork, join] = [event()?, event()?];
    unsafe {
        result::stream::begin_capture(first, LOCAL)?;
        result::memcpy_htod_async(a, bytes(host), first)?;
        result::event::record(fork, first)?;
        result::stream::wait_event(second, fork, WAIT)?;
        result::memcpy_htod_async(b, bytes(host), second)?;
        launch(add, b, COUNT as u32, 0, second)?;
        launch(add, a, COUNT as u32, 0, first)?;
        result::event::record(join, second)?;
        result::stream::wait_event(first, join, WAIT)?;
        launch(add, b, COUNT as u32, 0, first)?;
        result::memcpy_dtoh_async(bytes_mut(back), b, first)?;
        let graph = result::stream::end_capture(first)?;
        let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
        for round in 0..3 {
            host.fill(10 * round);
            result::graph::launch(ready, first)?;
            result::stream::synchronize(first)?;
            println!("round {}", back[COUNT - 1]);
        }
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph)?;
        result::event::destroy(fork)?;
        result::event::destroy(join)?;
        result::stream::destroy(first)?;
        result::stream::destroy(second)?;
        result::free_host(host.as_mut_ptr().cast())?;
        result::free_host(back.as_mut_ptr().cast())?;
        result::free_sync(a)?;
        result::free_sync(b)
    }
}

/// Launches of a graph with two branches that nobody waits for until the end, and memory that is freed again and again.
fn goes_on_and_on() -> Fallible {
    open()?;
    let [first, second] = [stream()?, stream()?];
    let [fork, join] = [event()?, event()?];
    let [a, b] = unsafe { [result::malloc_sync(BYTES)?, result::malloc_sync(BYTES)?] };
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
    };
    unsafe {
        let before = resident();
        for _ in 0..40_000 {
            result::free_sync(result::malloc_sync(16)?)?;
        }
        println!("frees take {} MiB", resident() - before);
        result::stream::begin_capture(first, LOCAL)?;
        result::event::record(fork, first)?;
        result::stream::wait_event(second, fork, WAIT)?;
        result::memset_d8_async(a, 1, BYTES, first)?;
        result::memset_d8_async(b, 1, BYTES, second)?;
        result::event::record(join, second)?;
        result::stream::wait_event(first, join, WAIT)?;
        let graph = result::stream::end_capture(first)?;
        let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
        let before = resident();
        for _ in 0..3000 {
            result::graph::launch(ready, first)?;
        }
        println!("launches take {} MiB", resident() - before);
        result::stream::synchronize(first)?;
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph)?;
        [fork, join].into_iter().try_for_each(|event| result::event::destroy(event))?;
        [first, second].into_iter().try_for_each(|stream| result::stream::destroy(stream))?;
        [a, b].into_iter().try_for_each(|at| result::free_sync(at))
    }
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
    let null: *mut c_void = std::ptr::null_mut();
    match name {
        "right" => pipeline(true, true, false)?,
        "rows beside each other" => unsafe {
            open()?;
            let (device, s) = (result::malloc_sync(64)?, stream()?);
            result::memset_d8_async(device, 5, 64, s)?;
            let copy = sys::CUDA_MEMCPY2D {
                srcXInBytes: 0,
                srcY: 0,
                srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                srcHost: null,
                srcDevice: device,
                srcArray: null.cast(),
                srcPitch: 16,
                dstXInBytes: 8,
                dstY: 0,
                dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                dstHost: null,
                dstDevice: device,
                dstArray: null.cast(),
                dstPitch: 16,
                WidthInBytes: 8,
                Height: 4,
            };
            sys::cuMemcpy2DAsync_v2(&copy, s).result()?;
            result::stream::synchronize(s)?;
            result::stream::destroy(s)?;
            result::free_sync(device)?;
            println!("copied");
        },
        "destroyed before the wait" => unsafe {
            let Card { add, .. } = open()?;
            let (device, s) = (result::malloc_sync(BYTES)?, result::stream::create(StreamKind::Default)?);
            result::memset_d8_async(device, 0, BYTES, s)?;
            launch(add, device, COUNT as u32, 0, s)?;
            result::stream::destroy(s)?;
            launch(add, device, COUNT as u32, 0, null.cast())?;
            let mut back = [0; COUNT];
            result::memcpy_dtoh_sync(bytes_mut(&mut back), device)?;
            result::ctx::synchronize()?;
            result::free_sync(device)?;
            let mut module = std::ptr::null_mut();
            sys::cuFuncGetModule(&mut module, add).result()?;
            result::module::unload(module)?;
            println!("both {}", back[0]);
        },
        "graph" => graph()?,
        "goes on and on" => goes_on_and_on()?,
        "no wait for the upload" => pipeline(false, true, false)?,
        "no wait for the kernel" => pipeline(true, false, false)?,
        "staging changed" => pipeline(true, true, true)?,
        "read too early" => unsafe {
            let Card { add, .. } = open()?;
            let (back, device, s) = (locked(5)?, result::malloc_sync(BYTES)?, stream()?);
            result::memset_d8_async(device, 0, BYTES, s)?;
            launch(add, device, COUNT as u32, 0, s)?;
            result::memcpy_dtoh_async(bytes_mut(back), device, s)?;
            println!("first {:#x}", back[0]);
            result::stream::synchronize(s)?;
            println!("then {:#x}", back[0]);
        },
        "freed in use" | "freed in use, nobody waits" | "freed in use, released" => unsafe {
            let Card { add, .. } = open()?;
            let (device, s) = (result::malloc_sync(BYTES)?, stream()?);
            result::memset_d8_async(device, 0, BYTES, s)?;
            result::stream::synchronize(s)?;
            launch(add, device, COUNT as u32, 0, s)?;
            result::free_sync(device)?;
            match name.split_once(", ") {
                None => result::stream::synchronize(s)?,
                Some((_, then)) => {
                    result::stream::destroy(s)?;
                    if then == "released" {
                        result::primary_ctx::release(result::device::get(0)?)?;
                    }
                }
            }
        },
        "out of bounds, nobody waits" => {
            let Card { add, .. } = open()?;
            launch(add, 0x1000, 1, 0, null.cast())?;
        }
        "out of bounds, destroyed" => unsafe {
            open()?;
            let mut own = std::ptr::null_mut();
            sys::cuCtxCreate_v2(&mut own, 0, 0).result()?;
            launch(load()?, 0x1000, 1, 0, null.cast())?;
            sys::cuCtxDestroy_v2(own).result()?;
        },
        "out of bounds, reset" => unsafe {
            let Card { add, .. } = open()?;
            launch(add, 0x1000, 1, 0, null.cast())?;
            sys::cuDevicePrimaryCtxReset_v2(0).result()?;
        },
        "module unloaded in use" => unsafe {
            let Card { add, .. } = open()?;
            let (device, s, mut module) = (result::malloc_sync(BYTES)?, stream()?, std::ptr::null_mut());
            result::memset_d8_async(device, 0, BYTES, s)?;
            launch(add, device, COUNT as u32, 0, s)?;
            sys::cuFuncGetModule(&mut module, add).result()?;
            result::module::unload(module)?;
            result::stream::synchronize(s)?;
        },
        "module of a graph unloaded" => unsafe {
            let Card { add, .. } = open()?;
            let (device, s, mut module) = (result::malloc_sync(BYTES)?, stream()?, std::ptr::null_mut());
            result::stream::begin_capture(s, LOCAL)?;
            launch(add, device, COUNT as u32, 0, s)?;
            let graph = result::stream::end_capture(s)?;
            let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
            sys::cuFuncGetModule(&mut module, add).result()?;
            result::module::unload(module)?;
            println!("{:?}", result::graph::launch(ready, s).map_err(|e| e.0));
        },
        "copy onto what is copied" => unsafe {
            open()?;
            let device = result::malloc_sync(BYTES)?;
            result::memset_d8_sync(device, 0, BYTES)?;
            result::memcpy_dtod_sync(device + 4, device, BYTES - 4)?;
        },
        "context left" => unsafe {
            open()?;
            let mut own = std::ptr::null_mut();
            sys::cuCtxCreate_v2(&mut own, 0, 0).result()?;
        },
        "page-locked memory freed in use" => unsafe {
            open()?;
            let (host, device, s) = (locked(1)?, result::malloc_sync(BYTES)?, stream()?);
            result::memcpy_htod_async(device, bytes(host), s)?;
            result::free_host(host.as_mut_ptr().cast())?;
            result::stream::synchronize(s)?;
        },
        "free of something else" => unsafe {
            let Card { add, .. } = open()?;
            let (host, other, device) = (locked(1)?, locked(1)?, result::malloc_sync(BYTES)?);
            let [up, work] = [stream()?, stream()?];
            result::memcpy_htod_async(device, bytes(host), up)?;
            result::free_host(other.as_mut_ptr().cast())?;
            launch(add, device, COUNT as u32, 0, work)?;
            result::ctx::synchronize()?;
        },
        "fill not waited for" => unsafe {
            let Card { add, .. } = open()?;
            let (device, s) = (result::malloc_sync(BYTES)?, stream()?);
            result::memset_d8_sync(device, 0, BYTES)?;
            launch(add, device, COUNT as u32, 0, s)?;
            result::ctx::synchronize()?;
        },
        "copy not waited for" => unsafe {
            let Card { add, .. } = open()?;
            let (from, to, s) = (result::malloc_sync(BYTES)?, result::malloc_sync(BYTES)?, stream()?);
            result::memset_d8_async(from, 0, BYTES, s)?;
            result::stream::synchronize(s)?;
            result::memcpy_dtod_sync(to, from, BYTES)?;
            launch(add, to, COUNT as u32, 0, s)?;
            result::ctx::synchronize()?;
        },
        "asked once" => unsafe {
            let Card { add, .. } = open()?;
            let (host, device, up, work) = (locked(1)?, result::malloc_sync(BYTES)?, stream()?, stream()?);
            result::memcpy_htod_async(device, bytes(host), up)?;
            let _ = sys::cuStreamQuery(up);
            launch(add, device, COUNT as u32, 0, work)?;
            result::ctx::synchronize()?;
        },
        "two kernels" => unsafe {
            let Card { add, .. } = open()?;
            let (device, a, b) = (result::malloc_sync(BYTES)?, stream()?, stream()?);
            result::memset_d8_sync(device, 0, BYTES)?;
            result::ctx::synchronize()?;
            launch(add, device, COUNT as u32, 0, a)?;
            launch(add, device, COUNT as u32, 0, b)?;
            result::ctx::synchronize()?;
        },
        "allocation in a capture" => unsafe {
            open()?;
            let s = stream()?;
            result::stream::begin_capture(s, LOCAL)?;
            println!("{:?}", result::malloc_sync(16).map_err(|e| e.0));
            result::stream::end_capture(s)?;
        },
        "pageable in a capture" => unsafe {
            open()?;
            let (device, s, host) = (result::malloc_sync(BYTES)?, stream()?, vec![0u8; BYTES]);
            result::stream::begin_capture(s, LOCAL)?;
            result::memcpy_htod_async(device, &host, s)?;
            result::graph::destroy(result::stream::end_capture(s)?)?;
        },
        "wait in a capture" => unsafe {
            open()?;
            let s = stream()?;
            result::stream::begin_capture(s, LOCAL)?;
            result::stream::synchronize(s)?;
        },
        "not joined" => unsafe {
            let Card { add, .. } = open()?;
            let (device, a, b, fork) = (result::malloc_sync(BYTES)?, stream()?, stream()?, event()?);
            result::stream::begin_capture(a, LOCAL)?;
            result::event::record(fork, a)?;
            result::stream::wait_event(b, fork, WAIT)?;
            launch(add, device, COUNT as u32, 0, b)?;
            result::stream::end_capture(a)?;
        },
        "no context" => unsafe {
            open()?;
            result::ctx::set_current(null.cast())?;
            result::malloc_sync(16)?;
        },
        "another context" => unsafe {
            let Card { add, .. } = open()?;
            let device = result::device::get(1)?;
            result::ctx::set_current(result::primary_ctx::retain(device)?)?;
            launch(add, 0, 0, 0, stream()?)?;
        },
        "waited in another context" => unsafe {
            open()?;
            let (host, device, s) = (locked(1)?, result::malloc_sync(BYTES)?, stream()?);
            result::memcpy_htod_async(device, bytes(host), s)?;
            result::ctx::set_current(result::primary_ctx::retain(result::device::get(1)?)?)?;
            result::ctx::synchronize()?;
            host.fill(7);
            result::stream::synchronize(s)?;
        },
        "shared memory" => {
            let Card { add, .. } = open()?;
            launch(add, 0, 0, 50 << 10, null.cast())?;
        }
        "stale" => unsafe {
            open()?;
            let e = event()?;
            result::event::destroy(e)?;
            result::event::record(e, stream()?)?;
        },
        "freed twice" => unsafe {
            open()?;
            let device = result::malloc_sync(16)?;
            result::free_sync(device)?;
            result::free_sync(device)?;
        },
        "host access" => unsafe {
            open()?;
            let device = result::malloc_sync(16)?;
            println!("{}", *(device as *const u32));
        },
        "leak" => unsafe {
            open()?;
            result::malloc_sync(16)?;
            stream()?;
        },
        "out of bounds" => unsafe {
            let Card { add, context } = open()?;
            let (device, s) = (result::malloc_sync(BYTES)?, stream()?);
            result::memset_d8_async(device, 0, BYTES, s)?;
            let e = event()?;
            launch(add, device, COUNT as u32 + 1, 0, s)?;
            println!("launched");
            println!("{:?}", result::stream::synchronize(s).map_err(|e| e.0));
            result::ctx::set_current(context)?;
            println!("{:?}", result::malloc_sync(16).map_err(|e| e.0));
            println!("{:?}", result::event::destroy(e).map_err(|e| e.0));
            println!("{:?}", result::stream::destroy(s).map_err(|e| e.0));
        },
        "never written" => unsafe {
            open()?;
            let (device, back) = (result::malloc_sync(BYTES)?, locked(0)?);
            result::memcpy_dtoh_sync(bytes_mut(back), device)?;
        },
        "cubin" => unsafe {
            open()?;
            result::module::load_data(c"\x7fELF\x02\x01\x01 and so on".as_ptr().cast())?;
        },
        other => panic!("no program is called {other}"),
    }
    Ok(())
}

/// What each must be told, on either stream.
const FAULTS: &[(&str, &str)] = &[
    ("no wait for the upload", "race on|was never written|uninitialised read in kernel add"),
    ("no wait for the kernel", "race on|was never written"),
    ("staging changed", "the host changed these bytes before they were copied"),
    ("read too early", "first 0xa5a5a5a5"),
    ("freed in use", "that memory was freed: CUDA_ERROR_ILLEGAL_ADDRESS|kernel add uses"),
    ("freed in use, nobody waits", "that memory was freed: CUDA_ERROR_ILLEGAL_ADDRESS|kernel add uses"),
    ("freed in use, released", "that memory was freed: CUDA_ERROR_ILLEGAL_ADDRESS|kernel add uses"),
    ("out of bounds, nobody waits", "out of bounds in kernel add"),
    ("out of bounds, destroyed", "out of bounds in kernel add"),
    ("out of bounds, reset", "out of bounds in kernel add"),
    ("module unloaded in use", "cuModuleUnload: kernel add is of this module, and nobody has waited for it"),
    ("module of a graph unloaded", "Err(CUDA_ERROR_INVALID_HANDLE)"),
    ("module of a graph unloaded", "cuGraphLaunch: the module of kernel add was unloaded"),
    ("copy onto what is copied", "and the two overlap: what comes of it is not defined"),
    ("context left", "never given back: context"),
    ("page-locked memory freed in use", "cuMemFreeHost: copy of 4000 bytes"),
    ("free of something else", "race on|was never written|uninitialised read in kernel add"),
    ("fill not waited for", "race on|uninitialised read in kernel add"),
    ("copy not waited for", "race on|uninitialised read in kernel add"),
    ("asked once", "race on|was never written|uninitialised read in kernel add"),
    ("two kernels", "kernel add reads it and kernel add writes it, in no order"),
    ("allocation in a capture", "cuMemAlloc_v2: not while a stream is captured, which does not see it"),
    ("allocation in a capture", "ends with CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
    ("pageable in a capture", "a captured copy of pageable memory"),
    ("wait in a capture", "cuStreamSynchronize: the stream is being captured"),
    ("not joined", "streams that joined the capture were not joined back"),
    ("no context", "cuMemAlloc_v2: no context is current in this thread"),
    ("another context", "add is of another context than the current one"),
    ("waited in another context", "the host changed these bytes before they were copied"),
    ("shared memory", "51200 bytes of dynamic shared memory, its attribute allows 49152"),
    ("stale", "was destroyed before"),
    ("freed twice", "was freed before"),
    ("leak", "never given back: 16 bytes of device memory"),
    ("leak", "never given back: stream"),
    ("out of bounds", "launched\nErr(CUDA_ERROR_ILLEGAL_ADDRESS)\nErr(CUDA_ERROR_ILLEGAL_ADDRESS)"),
    (
        "out of bounds",
        "Err(CUDA_ERROR_ILLEGAL_ADDRESS)\nErr(CUDA_ERROR_ILLEGAL_ADDRESS)\nErr(CUDA_ERROR_ILLEGAL_ADDRESS)\nErr(CUDA_ERROR_ILLEGAL_ADDRESS)\n",
    ),
    ("out of bounds", "out of bounds in kernel add, PTX line"),
    ("never written", "was never written"),
    ("cubin", "a cubin is machine code, which is not emulated"),
];

/// Only seen where work is done late: in other orders it may be done before the host comes, or asks.
const LATE: &[&str] = &["staging changed", "waited in another context", "read too early", "asked once"];

/// Under 20 seeds, as many at once as there are processors: the programs are small.
fn in_any_order(check: impl Fn(u64) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let check = &check;
        (0..threads).for_each(|first| drop(scope.spawn(move || (first as u64..20).step_by(threads).for_each(check))));
    });
}

#[test]
fn faults_are_reported_in_any_order() {
    in_any_order(|seed| {
        for (program, expected) in FAULTS.iter().filter(|(program, _)| seed == 0 || !LATE.contains(program)) {
            let out = run(program, &[("PTXSIM_CARD", "a100,a100"), ("PTXSIM_SCHEDULE", &seed.to_string())]);
            let told = text(&out.stdout) + &text(&out.stderr);
            let found = expected.split('|').any(|e| told.contains(e));
            assert!(found, "{program}, seed {seed}: {expected} is not in {told}");
            // Some are errors that a card reports, too, and "read too early" is seen by the program itself.
            let silent = ["read too early", "cubin"].contains(program);
            assert!(silent || out.status.code() == Some(99), "{program}: {:?} {told}", out.status);
        }
    });
}

/// The call that a fault is about is named with where it was made.
#[test]
fn reports_name_the_call() {
    let told = text(&run("two kernels", &[]).stderr);
    assert_eq!(told.matches("cuLaunchKernel, called at").count(), 2, "once for each of the two: {told}");
    assert!(told.contains("planted::launch"), "{told}");
}

/// Memory, and with it time, grows no faster than with what is waiting to be done.
#[test]
fn what_is_over_takes_no_memory() {
    let out = run("goes on and on", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    for what in ["launches", "frees"] {
        let takes = said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(" take ")?.strip_suffix(" MiB"));
        assert!(takes.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n < 40), "{what}: {said}{told}");
    }
    assert!(out.status.success(), "{told}");
}

#[test]
fn the_host_cannot_touch_device_memory() {
    assert_eq!(run("host access", &[]).status.signal(), Some(11));
}

#[test]
fn right_programs_are_left_alone_in_any_order() {
    in_any_order(|seed| {
        let seed = seed.to_string();
        for (program, expected) in [
            ("right", "first 42\n"),
            ("graph", "round 2\nround 12\nround 22\n"),
            ("destroyed before the wait", "both 2\n"),
            ("rows beside each other", "copied\n"),
        ] {
            let out = run(program, &[("PTXSIM_SCHEDULE", &seed)]);
            let (told, wrong) = (text(&out.stdout), text(&out.stderr));
            assert!(told.contains(expected) && out.status.success(), "{program}, seed {seed}: {told} {wrong}");
        }
    });
}
