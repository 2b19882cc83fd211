//! What programs beyond the project's own use: linked texts, libraries, managed and page-locked memory in kernels, pools, what an
//! address is, functions of the host that wait.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/says.rs"]
mod says;

use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};

use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys::{self, CUjitInputType_enum as Input, CUpointer_attribute_enum as P};
use says::says;

type Fallible<T = ()> = Result<T, cudarc::driver::DriverError>;

const HEAD: &str = ".version 8.1\n.target sm_80\n.address_size 64\n";
/// Calls what another text defines for every word, and stores in it.
const CALLER: &str = "
.extern .func (.param .b32 r) change(.param .b32 a);
.visible .global .align 4 .u32 step = 3;
.visible .entry all(.param .u64 data) {
    .reg .b64 %rd<4>; .reg .b32 %r<4>;
    ld.param.u64 %rd1, [data];
    mov.u32 %r1, %tid.x;
    mad.wide.u32 %rd2, %r1, 4, %rd1;
    ld.u32 %r2, [%rd2];
    { .param .b32 a; .param .b32 r; st.param.b32 [a], %r2; call.uni (r), change, (a); ld.param.b32 %r2, [r]; }
    st.u32 [%rd2], %r2;
    ret;
}";
const CALLEE: &str = "
.extern .global .align 4 .u32 step;
.visible .func (.param .b32 r) change(.param .b32 a) {
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [a];
    ld.global.u32 %r2, [step];
    add.u32 %r1, %r1, %r2;
    st.param.b32 [r], %r1;
    ret;
}";
fn open() -> Fallible {
    result::init()?;
    let context = unsafe { result::primary_ctx::retain(result::device::get(0)?)? };
    unsafe { result::ctx::set_current(context) }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Links texts; the image, or what the log says.
fn link(texts: &[&str]) -> Fallible<Vec<u8>> {
    let mut log = [0u8; 500];
    let (mut keys, mut values) = (
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES],
        [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void],
    );
    let (mut state, mut image, mut bytes) = (null_mut(), null_mut(), 0);
    unsafe {
        sys::cuLinkCreate_v2(2, keys.as_mut_ptr(), values.as_mut_ptr(), &mut state).result()?;
        for text in texts {
            let text = c(&format!("{HEAD}{text}"));
            let (data, size) = (text.as_ptr().cast_mut().cast(), text.as_bytes().len());
            let kind = Input::CU_JIT_INPUT_PTX;
            sys::cuLinkAddData_v2(state, kind, data, size, c"part".as_ptr(), 0, null_mut(), null_mut()).result()?;
        }
        let linked = sys::cuLinkComplete(state, &mut image, &mut bytes).result();
        if linked.is_err() {
            println!(
                "log {} bytes: {}",
                values[1] as usize,
                CStr::from_bytes_until_nul(&log).unwrap().to_string_lossy()
            );
        }
        linked?;
        let image = std::slice::from_raw_parts(image.cast::<u8>(), bytes).to_vec();
        sys::cuLinkDestroy(state).result()?;
        Ok(image)
    }
}

/// A library's kernel, as the handle of a function that it is launched by.
fn kernel(image: &[u8], name: &CStr) -> Fallible<(sys::CUlibrary, sys::CUfunction)> {
    let (mut library, mut kernel) = (null_mut(), null_mut());
    let none: *mut c_void = null_mut();
    unsafe {
        let at = image.as_ptr().cast();
        sys::cuLibraryLoadData(&mut library, at, none.cast(), none.cast(), 0, none.cast(), none.cast(), 0).result()?;
        sys::cuLibraryGetKernel(&mut kernel, library, name.as_ptr()).result()?;
    }
    Ok((library, kernel.cast()))
}

fn launch(f: sys::CUfunction, data: u64, stream: sys::CUstream) -> Fallible {
    let mut data = data;
    unsafe { result::launch_kernel(f, (1, 1, 1), (4, 1, 1), 0, stream, &mut [(&raw mut data).cast()]) }
}

fn linked() -> Fallible {
    open()?;
    println!("{:?}", link(&[CALLER]).map_err(|e| e.0));
    let (library, all) = kernel(&link(&[CALLER, CALLEE])?, c"all")?;
    unsafe {
        let data = result::malloc_sync(16)?;
        result::memcpy_htod_sync(data, &[1u32, 2, 3, 4])?;
        let (mut step, mut bytes) = (0, 0);
        sys::cuLibraryGetGlobal(&mut step, &mut bytes, library, c"step".as_ptr()).result()?;
        result::memcpy_htod_sync(step, &[10u32])?;
        launch(all, data, null_mut())?;
        let mut back = [0u32; 4];
        result::memcpy_dtoh_sync(&mut back, data)?;
        println!("{bytes} bytes of step, {back:?}");
        result::free_sync(data)?;
        sys::cuLibraryUnload(library).result()?;
        println!("{:?}", launch(all, data, null_mut()).map_err(|e| e.0));
        Ok(())
    }
}

/// Kernels work on the host's memory, at its own addresses.
fn host_memory() -> Fallible {
    open()?;
    let (_, all) = kernel(&link(&[CALLER, CALLEE])?, c"all")?;
    unsafe {
        let stream = result::stream::create(StreamKind::NonBlocking)?;
        let managed = result::malloc_managed(16, sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL)?;
        let locked = result::malloc_host(16, sys::CU_MEMHOSTALLOC_DEVICEMAP)?;
        let mut own = vec![0u32; 1024];
        sys::cuMemHostRegister_v2(own[1..].as_mut_ptr().cast(), 16, 0).result()?;
        let (mut known, bytes) = (0, locked);
        sys::cuMemHostGetDevicePointer_v2(&mut known, bytes, 0).result()?;
        for (name, host) in [("managed", managed), ("locked", known), ("registered", own[1..].as_ptr() as u64)] {
            let words = std::slice::from_raw_parts_mut(host as *mut u32, 4);
            result::memset_d8_async(host, 0, 16, stream)?;
            result::stream::synchronize(stream)?;
            words[3] = 5;
            launch(all, host, stream)?;
            result::stream::synchronize(stream)?;
            println!("{name} {words:?}");
        }
        let attribute = |which: P, at: u64| {
            let mut value = 0u64;
            sys::cuPointerGetAttribute((&raw mut value).cast(), which, at).result().map(|()| value).map_err(|e| e.0)
        };
        let device = result::malloc_sync(16)?;
        for (name, at) in
            [("managed", managed + 4), ("locked", known), ("device", device + 4), ("own", own.as_ptr() as u64)]
        {
            let [kind, is_managed] = [P::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, P::CU_POINTER_ATTRIBUTE_IS_MANAGED]
                .map(|which| attribute(which, at));
            let start = attribute(P::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at).map(|start| at - start);
            println!("{name} {kind:?} {is_managed:?} {start:?}");
        }
        sys::cuMemHostUnregister(own[1..].as_mut_ptr().cast()).result()?;
        result::free_host(locked)?;
        result::memory_free(managed)?;
        result::free_sync(device)?;
        result::stream::destroy(stream)
    }
}

fn pools() -> Fallible {
    open()?;
    unsafe {
        let (mut own, mut current, mut device) = (null_mut(), null_mut(), 0);
        sys::cuDeviceGetDefaultMemPool(&mut own, 0).result()?;
        sys::cuDeviceGetMemPool(&mut current, 0).result()?;
        let mut threshold = u64::MAX;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(own, which, (&raw mut threshold).cast()).result()?;
        threshold = 0;
        sys::cuMemPoolGetAttribute(own, which, (&raw mut threshold).cast()).result()?;
        sys::cuMemAllocFromPoolAsync(&mut device, 64, own, null_mut()).result()?;
        result::free_async(device, null_mut())?;
        println!("{} {threshold:#x} {:?}", own == current, sys::cuMemPoolDestroy(own));
    }
    result::ctx::synchronize()
}

unsafe extern "C" fn wait(data: *mut c_void) {
    let receiver = unsafe { Box::from_raw(data.cast::<Receiver<()>>()) };
    let _ = receiver.recv();
}

unsafe extern "C" fn called(_stream: sys::CUstream, status: sys::CUresult, data: *mut c_void) {
    println!("called {status:?} {}", data as usize);
}

/// A function of the host that waits for what the program does after asking whether it is done.
fn asks_first() -> Fallible {
    open()?;
    unsafe {
        let stream = result::stream::create(StreamKind::NonBlocking)?;
        let done = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        let (send, receive) = channel::<()>();
        let receive = Box::into_raw(Box::new(receive));
        sys::cuLaunchHostFunc(stream, Some(wait), receive.cast()).result()?;
        sys::cuStreamAddCallback(stream, Some(called), 7 as *mut c_void, 0).result()?;
        result::event::record(done, stream)?;
        println!("{:?}", result::event::query(done).map_err(|e| e.0));
        send.send(()).unwrap();
        while result::event::query(done).is_err() {}
        println!("done");
        result::event::destroy(done)?;
        result::stream::destroy(stream)
    }
}

static FUNCTION: AtomicUsize = AtomicUsize::new(0);

/// Dynamic shared memory as the kernel's own attribute says.
unsafe extern "C" fn shared(_threads: std::ffi::c_int) -> usize {
    let mut bytes = 0;
    let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
    let done = unsafe { sys::cuFuncGetAttribute(&mut bytes, which, FUNCTION.load(Relaxed) as sys::CUfunction) };
    assert_eq!(done, sys::CUresult::CUDA_SUCCESS);
    bytes as usize
}

fn asks_for_shared_memory() -> Fallible {
    open()?;
    let (_, all) = kernel(&link(&[CALLER, CALLEE])?, c"all")?;
    FUNCTION.store(all as usize, Relaxed);
    let (mut grid, mut block) = (0, 0);
    unsafe { sys::cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, all, Some(shared), 0, 0).result()? };
    println!("{grid} {block}");
    Ok(())
}

/// What an older driver has by these names, and which PTX it reads.
fn older_driver() -> Fallible {
    open()?;
    for name in [
        c"cuStreamGetDevice",
        c"cuLibraryLoadData",
        c"cuGraphAddNode",
        c"cuLaunchKernel",
        c"cuGetProcAddress",
        c"cuMemAddressReserve",
        c"cuCtxWaitEvent",
    ] {
        let (mut at, mut state) = (null_mut(), sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS);
        let answer = unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut at, 13_000, 0, &mut state) };
        println!("{} {answer:?} {state:?}", name.to_string_lossy());
        let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY) };
        println!("dlsym {} {}", name.to_string_lossy(), !unsafe { libc::dlsym(library, name.as_ptr()) }.is_null());
    }
    let new = c".version 8.9\n.target sm_80\n.address_size 64\n.visible .entry none() { ret; }";
    println!("{:?}", unsafe { result::module::load_data(new.as_ptr().cast()) }.map_err(|e| e.0));
    Ok(())
}

/// Functions that are not emulated, as programs get them that ask for all; and one of two forms that is.
fn asked_for_by_name() -> Fallible {
    open()?;
    type Absent = unsafe extern "C" fn() -> sys::CUresult;
    type Of = unsafe extern "C" fn(sys::CUstream, *mut sys::CUcontext, *mut *mut c_void) -> sys::CUresult;
    let find = |name: &std::ffi::CStr, version| {
        let mut at = null_mut();
        let answer = unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut at, version, 0, null_mut()) };
        println!("{} {answer:?}", name.to_string_lossy());
        at
    };
    unsafe {
        for (name, version) in
            [(c"cuArrayCreate", 12_000), (c"cuStreamWaitValue32", 11_000), (c"cuStreamWaitValue32", 12_000)]
        {
            let function = std::mem::transmute::<*mut c_void, Absent>(find(name, version));
            println!("called {:?}", function());
        }
        let of = std::mem::transmute::<*mut c_void, Of>(find(c"cuStreamGetCtx", 12_050));
        let (mut context, mut current, mut green) = (null_mut(), null_mut(), std::ptr::dangling_mut());
        println!("called {:?}", of(null_mut(), &mut context, &mut green));
        sys::cuCtxGetCurrent(&mut current).result()?;
        println!("{} {}", context == current, green.is_null());
        println!("null {}", find(c"cuNope", 12_000).is_null());
    }
    Ok(())
}

/// What a driver of the usual version lacks, and an attribute of a device that only newer ones have.
fn usual_driver() -> Fallible {
    open()?;
    unsafe {
        let library = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY);
        let find = |name: &std::ffi::CStr| libc::dlsym(library, name.as_ptr());
        println!("of 13.2: {}", !find(c"cuGraphNodeGetParams").is_null());
        println!("of 12.8: {}", !find(c"cuStreamGetDevice").is_null());
        // No enumeration of an older header has this one.
        type Ask = unsafe extern "C" fn(*mut i32, u32, i32) -> sys::CUresult;
        let ask = std::mem::transmute::<*mut c_void, Ask>(find(c"cuDeviceGetAttribute"));
        let mut value = 0;
        println!("attribute {:?}", ask(&mut value, 148, 0));
    }
    Ok(())
}

/// Fat binaries in files: a right one, and some whose sizes are of no use.
fn fat_files() -> Fallible {
    open()?;
    let text = c".version 8.1\n.target sm_80\n.address_size 64\n.visible .entry none() { ret; }".to_bytes_with_nul();
    let fat = |size: u64, head: u32, len: u64| {
        let mut bytes = [0xba55_ed50u32.to_le_bytes(), [1, 0, 16, 0]].concat();
        bytes.extend(size.to_le_bytes());
        let mut entry = [[1u8, 0, 1, 1], head.to_le_bytes()].concat();
        entry.extend(len.to_le_bytes());
        entry.resize(64, 0);
        [bytes, entry, text.to_vec()].concat()
    };
    let len = text.len() as u64;
    let path = std::env::temp_dir().join(format!("ptxsim-fat-{}", std::process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    for (what, bytes) in [
        ("right", fat(64 + len, 64, len)),
        ("long", fat(1 << 31, 64, len)),
        ("longest", fat(u64::MAX, 64, len)),
        ("long text", fat(64 + len, 64, 1 << 31)),
        ("no entry", fat(64 + len, 0, 0)),
        ("header", fat(64 + len, 64, len)[..12].to_vec()),
        ("pointer", [0x4662_43b1u32.to_le_bytes(), [0xff; 4], [0xff; 4], [0xff; 4]].concat()),
        ("no text", vec![b'.'; 3]),
        ("nothing", vec![]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let mut module = null_mut();
        println!("{what} {:?}", unsafe { sys::cuModuleLoad(&mut module, name.as_ptr()) });
    }
    std::fs::remove_file(&path).unwrap();
    Ok(())
}

/// A cooperative launch of what the card does not hold at once.
fn too_many_blocks() -> Fallible {
    open()?;
    let (_, all) = kernel(&link(&[CALLER, CALLEE])?, c"all")?;
    let (mut data, none) = (unsafe { result::malloc_sync(16)? }, null_mut());
    let mut each: [*mut c_void; 1] = [(&raw mut data).cast()];
    for grid in [1, 100_000] {
        let done = unsafe {
            result::memset_d8_sync(data, 0, 16)?;
            sys::cuLaunchCooperativeKernel(all, grid, 1, 1, 4, 1, 1, 0, none, each.as_mut_ptr())
        };
        println!("{grid} {done:?}");
    }
    result::ctx::synchronize()?;
    unsafe { result::free_sync(data) }
}

const WAIT: sys::CUevent_wait_flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;

/// The graph that a capture becomes is known before it ends; entry points are those of the CUDA that is asked for.
fn asked_for_its_graph() -> Fallible {
    open()?;
    unsafe {
        let stream = result::stream::create(StreamKind::NonBlocking)?;
        result::stream::begin_capture(stream, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        let (mut at, mut state, mut id, mut graph) = (null_mut(), 0u32, 0u64, null_mut());
        let name = c"cuStreamGetCaptureInfo";
        sys::cuGetProcAddress_v2(name.as_ptr(), &mut at, 12030, 0, null_mut()).result()?;
        let [mut nodes, mut edges, mut count] = [9usize; 3];
        type Info = unsafe extern "C" fn(
            sys::CUstream,
            *mut u32,
            *mut u64,
            *mut sys::CUgraph,
            *mut usize,
            *mut usize,
            *mut usize,
        ) -> sys::CUresult;
        let info: Info = std::mem::transmute(at);
        info(stream, &mut state, &mut id, &mut graph, &mut nodes, &mut edges, &mut count).result()?;
        println!("{} {state} {nodes} {edges} {count}", !graph.is_null());
        // What the next node comes behind: two streams' last ones.
        let (other, fork) = (
            result::stream::create(StreamKind::NonBlocking)?,
            result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?,
        );
        result::event::record(fork, stream)?;
        result::stream::wait_event(other, fork, WAIT)?;
        let device = result::malloc_sync(16)?;
        result::memset_d8_async(device, 1, 8, stream)?;
        result::memset_d8_async(device + 8, 2, 8, other)?;
        result::event::record(fork, other)?;
        result::stream::wait_event(stream, fork, WAIT)?;
        info(stream, &mut state, &mut id, &mut graph, &mut nodes, &mut edges, &mut count).result()?;
        let behind = std::slice::from_raw_parts(nodes as *const sys::CUgraphNode, count);
        let data = std::slice::from_raw_parts(edges as *const u64, count);
        for node in behind {
            let mut fill: sys::CUDA_MEMSET_NODE_PARAMS = std::mem::zeroed();
            sys::cuGraphMemsetNodeGetParams(*node, &mut fill).result()?;
            println!("behind a fill with {}", fill.value);
        }
        let mut all = 0;
        sys::cuGraphGetNodes(graph, null_mut(), &mut all).result()?;
        println!("{all} nodes, edges {data:?}");
        let ended = result::stream::end_capture(stream)?;
        println!("the same graph: {}", graph == ended);
        result::graph::destroy(ended)?;
        result::free_sync(device)?;
        result::event::destroy(fork)?;
        result::stream::destroy(other)?;
        result::stream::destroy(stream)
    }
}

/// Events of a capture that are recorded and waited for at every launch.
fn external_events() -> Fallible {
    open()?;
    unsafe {
        let [first, other] =
            [result::stream::create(StreamKind::NonBlocking)?, result::stream::create(StreamKind::NonBlocking)?];
        let make = || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let [there, done] = [make()?, make()?];
        let device = result::malloc_sync(16)?;
        let external = sys::CUevent_wait_flags::CU_EVENT_WAIT_EXTERNAL;
        result::stream::begin_capture(first, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        result::stream::wait_event(first, there, external)?;
        let (mut back, locked) = ([0u8; 16], result::malloc_host(16, 0)?);
        sys::cuMemcpyDtoHAsync_v2(locked, device, 16, first).result()?;
        sys::cuEventRecordWithFlags(done, first, 1).result()?;
        let graph = result::stream::end_capture(first)?;
        let mut count = 0;
        sys::cuGraphGetNodes(graph, null_mut(), &mut count).result()?;
        let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0))?;
        for round in 1..=2 {
            result::memset_d8_async(device, round, 16, other)?;
            result::event::record(there, other)?;
            result::graph::launch(ready, first)?;
            result::event::synchronize(done)?;
            back.copy_from_slice(std::slice::from_raw_parts(locked.cast(), 16));
            println!("{count} nodes, round {}", back[15]);
        }
        println!("{:?}", sys::cuEventRecordWithFlags(done, first, 1));
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph)?;
        result::free_host(locked)?;
        result::free_sync(device)?;
        [there, done].into_iter().try_for_each(|e| result::event::destroy(e))?;
        [first, other].into_iter().try_for_each(|s| result::stream::destroy(s))
    }
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    let done = match name.as_str() {
        "linked" => linked(),
        "host memory" => host_memory(),
        "pools" => pools(),
        "asks first" => asks_first(),
        "external events" => external_events(),
        "asked for its graph" => asked_for_its_graph(),
        "too many blocks" => too_many_blocks(),
        "asked for by name" => asked_for_by_name(),
        "older driver" => older_driver(),
        "usual driver" => usual_driver(),
        "fat files" => fat_files(),
        "asks for shared memory" => asks_for_shared_memory(),
        other => panic!("no program is called {other}"),
    };
    if let Err(e) = done {
        println!("{name} ends with {:?}", e.0);
    }
}

#[test]
fn texts_are_linked_and_loaded_as_libraries() {
    let lines = [
        "bytes: linked.ptx:",
        "call of `change`, which has no body in this module",
        "Err(CUDA_ERROR_INVALID_PTX)",
        "4 bytes of step, [11, 12, 13, 14]",
        "Err(CUDA_ERROR_INVALID_HANDLE)",
    ];
    says("linked", &lines, Some("was destroyed before"));
}

#[test]
fn kernels_use_the_hosts_memory() {
    let lines = [
        "managed [3, 3, 3, 8]",
        "locked [3, 3, 3, 8]",
        "registered [3, 3, 3, 8]",
        "managed Ok(2) Ok(1) Ok(4)",
        "locked Ok(1) Ok(0) Ok(0)",
        "device Ok(2) Ok(0) Ok(4)",
        "own Err(CUDA_ERROR_INVALID_VALUE)",
    ];
    says("host memory", &lines, None);
}

#[test]
fn memory_comes_from_pools() {
    says("pools", &["true 0xffffffffffffffff CUDA_ERROR_INVALID_VALUE"], Some("a pool that a card has from the start"));
}

#[test]
fn a_query_does_not_wait_for_the_host() {
    let out = run("asks first", &[]);
    let said = text(&out.stdout);
    assert!(said.contains("Err(CUDA_ERROR_NOT_READY)\ncalled CUDA_SUCCESS 7\ndone"), "{said}");
}

#[test]
fn functions_that_are_asked_for_sizes_may_call() {
    says("asks for shared memory", &["216 1024"], None);
}

#[test]
fn an_older_driver_lacks_what_is_newer() {
    let out = run("older driver", &[("PTXSIM_DRIVER", "12.1")]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let absent = "CUDA_ERROR_NOT_FOUND CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND";
    let there = "CUDA_SUCCESS CU_GET_PROC_ADDRESS_SUCCESS";
    for (name, answer) in [
        ("cuStreamGetDevice", absent),
        ("cuLibraryLoadData", there),
        ("cuGraphAddNode", absent),
        ("cuLaunchKernel", there),
        ("cuGetProcAddress", there),
        ("cuMemAddressReserve", there),
        ("cuCtxWaitEvent", absent),
    ] {
        assert!(said.contains(&format!("{name} {answer}\n")), "{name}: {said}{told}");
        assert!(said.contains(&format!("dlsym {name} {}\n", answer == there)), "{name}: {said}{told}");
    }
    assert!(said.contains("Err(CUDA_ERROR_UNSUPPORTED_PTX_VERSION)"), "{said}");
    let why = "PTX .version 8.9 is newer than this driver, which supports CUDA 12.1 and reads .version 8.1: set PTXSIM_DRIVER to the CUDA";
    assert!(told.contains(why), "{told}");
}

/// What is not emulated names itself when it is called, not when it is asked for.
#[test]
fn functions_are_found_whether_or_not_they_are_real() {
    let out = run("asked for by name", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let (there, refused) = ("CUDA_SUCCESS", "called CUDA_ERROR_NOT_SUPPORTED");
    let lines = format!(
        "cuArrayCreate {there}\n{refused}\ncuStreamWaitValue32 {there}\n{refused}\ncuStreamWaitValue32 {there}\n{refused}\n\
         cuStreamGetCtx {there}\ncalled {there}\ntrue true\ncuNope CUDA_ERROR_NOT_FOUND\nnull true\n"
    );
    assert!(said.contains(&lines), "{said}{told}");
    for name in ["cuArrayCreate_v2", "cuStreamWaitValue32", "cuStreamWaitValue32_v2"] {
        assert!(told.contains(&format!("ptxsim-cuda: {name}: not emulated")), "{name}: {told}");
    }
    assert!(told.contains("3 found; exit code 99"), "{told}");
}

/// What a file says of its own sizes is followed no further than it goes.
#[test]
fn files_end_where_they_end() {
    let out = run("fat files", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("right CUDA_SUCCESS\n"), "{said}{told}");
    for what in ["long", "longest", "long text", "no entry", "header", "pointer"] {
        assert!(said.contains(&format!("{what} CUDA_ERROR_NO_BINARY_FOR_GPU\n")), "{what}: {said}{told}");
    }
    for what in ["no text", "nothing"] {
        assert!(said.contains(&format!("{what} CUDA_ERROR_INVALID_IMAGE\n")), "{what}: {said}{told}");
    }
}

/// Also where nobody asks for a version.
#[test]
fn the_usual_driver_lacks_what_is_newer() {
    for (driver, newer) in [("", false), ("12.9", false), ("13.1", false), ("13.5", true)] {
        let out = run("usual driver", &[("PTXSIM_DRIVER", driver)]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        let lines = format!("of 13.2: {newer}\nof 12.8: true\nattribute CUDA_ERROR_INVALID_VALUE\n");
        assert!(said.contains(&lines) && out.status.success(), "{driver}: {said}{told}");
    }
}

#[test]
fn cooperative_launches_fit_on_the_card() {
    let lines = ["1 CUDA_SUCCESS", "100000 CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"];
    says("too many blocks", &lines, Some("100000 blocks at once, the card holds 3456"));
}

#[test]
fn a_captures_graph_is_known_before_it_ends() {
    let lines =
        ["true 1 0 0 0", "behind a fill with 2\nbehind a fill with 1\n2 nodes, edges [0, 0]\n", "the same graph: true"];
    says("asked for its graph", &lines, None);
}

#[test]
fn captures_have_events_of_the_outside() {
    let lines = ["3 nodes, round 1\n3 nodes, round 2\nCUDA_ERROR_INVALID_VALUE"];
    says("external events", &lines, Some("the flag for external events is for captures alone"));
}
