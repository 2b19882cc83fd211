//! Memory: who still uses the host's when a copy is going to write it, what is freed under a graph, which addresses a copy takes.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/says.rs"]
mod says;

use std::ffi::{CString, c_void};

use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys::{self, CUresult};
use says::says;

type Fallible<T = ()> = Result<T, cudarc::driver::DriverError>;

/// Copies a word.
const WORD: &str = "
.version 8.1
.target sm_80
.address_size 64
.visible .entry word(.param .u64 from, .param .u64 to) {
    .reg .b64 %rd<3>; .reg .b32 %r;
    ld.param.u64 %rd1, [from];
    ld.param.u64 %rd2, [to];
    ld.global.u32 %r, [%rd1];
    st.global.u32 [%rd2], %r;
    ret;
}";
const BYTES: usize = 4096;

/// A stream, and the kernel.
fn open() -> Fallible<(sys::CUstream, sys::CUfunction)> {
    result::init()?;
    let (device, ptx) = (result::device::get(0)?, CString::new(WORD).unwrap());
    unsafe {
        result::ctx::set_current(result::primary_ctx::retain(device)?)?;
        let module = result::module::load_data(ptx.as_ptr().cast())?;
        let word = result::module::get_function(module, CString::new("word").unwrap())?;
        Ok((stream()?, word))
    }
}

fn stream() -> Fallible<sys::CUstream> {
    result::stream::create(StreamKind::NonBlocking)
}

fn launch(word: sys::CUfunction, mut from: u64, mut to: u64, stream: sys::CUstream) -> Fallible {
    let mut each: [*mut c_void; 2] = [(&raw mut from).cast(), (&raw mut to).cast()];
    unsafe { result::launch_kernel(word, (1, 1, 1), (1, 1, 1), 0, stream, &mut each) }
}

/// Device memory that is filled.
fn filled(value: u8) -> Fallible<u64> {
    unsafe {
        let at = result::malloc_sync(BYTES)?;
        result::memset_d8_sync(at, value, BYTES)?;
        result::ctx::synchronize()?;
        Ok(at)
    }
}

fn host(managed: bool) -> Fallible<u64> {
    match managed {
        true => unsafe { result::malloc_managed(BYTES, sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL) },
        false => unsafe { result::malloc_host(BYTES, 0) }.map(|at| at as u64),
    }
}

fn free_host(at: u64, managed: bool) -> Fallible {
    if managed { unsafe { result::memory_free(at) } } else { unsafe { result::free_host(at as *mut c_void) } }
}

fn word_at(device: u64) -> Fallible<u32> {
    let mut bytes = [0; 4];
    unsafe { result::memcpy_dtoh_sync(&mut bytes, device)? };
    Ok(u32::from_le_bytes(bytes))
}

fn code(what: &str, answer: CUresult) {
    println!("{what}: {answer:?}");
}

/// A kernel reads the host's memory and a copy writes it, one after the other.
fn read_before_written(managed: bool, graph: bool) -> Fallible {
    let (s, word) = open()?;
    let (device, other, at) = (filled(1)?, filled(2)?, host(managed)?);
    unsafe {
        (at as *mut u32).write(42);
        if graph {
            result::stream::begin_capture(s, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        }
        launch(word, at, device, s)?;
        sys::cuMemcpyAsync(at, other, BYTES, s).result()?;
        if graph {
            let graph = result::stream::end_capture(s)?;
            let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
            result::graph::launch(ready, s)?;
            result::stream::synchronize(s)?;
            result::graph::exec_destroy(ready)?;
            result::graph::destroy(graph)?;
        }
        result::stream::synchronize(s)?;
        println!("read {:#x}, written {:#x}", word_at(device)?, (at as *const u32).read());
        free_host(at, managed)?;
        result::free_sync(device)?;
        result::free_sync(other)?;
        result::stream::destroy(s)
    }
}

/// The memory that a graph copies from, or fills, is freed before it is launched.
fn freed_under_a_graph(managed: bool, fill: bool) -> Fallible {
    let (s, _) = open()?;
    let (device, at) = (filled(1)?, host(managed)?);
    unsafe {
        (at as *mut u8).write_bytes(1, BYTES);
        result::stream::begin_capture(s, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        match fill {
            true => sys::cuMemsetD8Async(at, 5, BYTES, s).result()?,
            false => sys::cuMemcpyAsync(device, at, BYTES, s).result()?,
        }
        let graph = result::stream::end_capture(s)?;
        let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
        free_host(at, managed)?;
        code("launch", sys::cuGraphLaunch(ready, s));
        code("wait", sys::cuStreamSynchronize(s));
    }
    Ok(())
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    let (managed, graph) = (name.contains("managed"), name.contains("graph"));
    let done = match name.split(',').next().unwrap_or("") {
        "read before written" => read_before_written(managed, graph),
        "freed under a graph" => freed_under_a_graph(managed, name.contains("fill")),
        other => panic!("no program is called {other}"),
    };
    if let Err(e) = done {
        println!("{name} ends with {:?}", e.0);
    }
}

/// What a kernel still has to read is there until it has.
#[test]
fn kernels_read_what_is_written_behind_them() {
    for name in ["", ", managed", ", graph", ", managed, graph"] {
        says(&format!("read before written{name}"), &["read 0x2a, written 0x2020202"], None);
    }
}

#[test]
fn memory_is_not_freed_under_a_graph() {
    for (name, call) in [("", "cuMemFreeHost"), (", managed", "cuMemFree_v2"), (", fill", "cuMemFreeHost")] {
        let name = format!("freed under a graph{name}");
        let out = run(&name, &[]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        assert!(said.contains("launch: CUDA_SUCCESS\nwait: CUDA_ERROR_ILLEGAL_ADDRESS\n"), "{name}: {said}{told}");
        assert!(
            told.contains(" was freed: CUDA_ERROR_ILLEGAL_ADDRESS") && told.contains(&format!("{call}, called at")),
            "{told}"
        );
        assert_eq!(out.status.code(), Some(99), "{name}: {told}");
    }
}
