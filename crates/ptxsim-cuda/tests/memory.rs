//! Memory: who still uses the host's when a copy is going to write it, what is freed under a graph, which addresses a copy takes.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/says.rs"]
mod says;

use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys::{self, CUpointer_attribute as P, CUresult};
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

/// Addresses that a copy does not take, and some that it does.
fn wrong_addresses() -> Fallible {
    let (s, _) = open()?;
    let (device, pinned, managed) = (filled(7)?, host(false)?, host(true)?);
    let (mut here, there) = ([0u32; 1024], [1u32; 1024]);
    let (to, from) = (here.as_mut_ptr() as u64, there.as_ptr() as u64);
    unsafe {
        let short = result::malloc_host(100, 0)?;
        code("garbage", sys::cuMemcpyDtoH_v2(to as *mut c_void, 0x1234, 4));
        code("down", sys::cuMemcpyDtoH_v2(to as *mut c_void, from, 4));
        code("up", sys::cuMemcpyHtoD_v2(to, from as *const c_void, 4));
        code("across", sys::cuMemcpyDtoD_v2(device, from, 4));
        code("across to", sys::cuMemcpyDtoD_v2(to, device, 4));
        code("down in a stream", sys::cuMemcpyDtoHAsync_v2(to as *mut c_void, from, 4, s));
        let mut rows = MaybeUninit::<sys::CUDA_MEMCPY2D>::zeroed();
        let copy = rows.as_mut_ptr();
        let kind = (&raw mut (*copy).srcMemoryType).cast::<u32>();
        ((*copy).srcHost, (*copy).srcDevice, (*copy).dstDevice) = (from as *const c_void, from, device);
        ((*copy).WidthInBytes, (*copy).Height) = (4, 2);
        (*copy).dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        for number in [1, 2, 3, 4] {
            kind.write(number);
            code(&format!("rows of {number}"), sys::cuMemcpy2D_v2(copy));
        }
        code("too long", sys::cuMemcpyDtoHAsync_v2(short, device, BYTES, s));
        code("part of it", sys::cuMemcpyDtoHAsync_v2(short.byte_add(50), device, 50, s));
        code("unified", sys::cuMemcpy(to, from, 4));
        code("unified in a stream", sys::cuMemcpyAsync(to, device, 4, s));
        code("page-locked", sys::cuMemcpyDtoD_v2(pinned, device, BYTES));
        code("managed", sys::cuMemcpyHtoD_v2(managed, from as *const c_void, BYTES));
        code("nothing", sys::cuMemcpyDtoH_v2(to as *mut c_void, from, 0));
    }
    Ok(())
}

/// Copies of rows whose kinds of memory are no kinds.
fn no_kind_of_memory() -> Fallible {
    open()?;
    let device = filled(7)?;
    unsafe {
        let (mut rows, mut planes) =
            (MaybeUninit::<sys::CUDA_MEMCPY2D>::zeroed(), MaybeUninit::<sys::CUDA_MEMCPY3D>::zeroed());
        let (rows, planes) = (rows.as_mut_ptr(), planes.as_mut_ptr());
        ((*rows).srcDevice, (*rows).dstDevice, (*rows).WidthInBytes, (*rows).Height) = (device, device + 64, 16, 1);
        ((*planes).srcDevice, (*planes).dstDevice, (*planes).WidthInBytes) = (device, device + 64, 16);
        ((*planes).Height, (*planes).Depth) = (1, 1);
        for (from, to) in [(0, 0), (7, 9), (2, u32::MAX), (2, 2)] {
            (&raw mut (*rows).srcMemoryType).cast::<u32>().write(from);
            (&raw mut (*rows).dstMemoryType).cast::<u32>().write(to);
            (&raw mut (*planes).srcMemoryType).cast::<u32>().write(from);
            (&raw mut (*planes).dstMemoryType).cast::<u32>().write(to);
            code(&format!("rows {from} {to}"), sys::cuMemcpy2D_v2(rows));
            code(&format!("planes {from} {to}"), sys::cuMemcpy3D_v2(planes));
        }
    }
    Ok(())
}

const MIB: usize = 1 << 20;

/// A card of 8 MiB has 5 of them again and again, since they are freed in between.
fn freed_in_order(plain: bool) -> Fallible {
    let (s, _) = open()?;
    for i in 0..3 {
        let mut at = 0;
        unsafe {
            match plain && i > 0 {
                true => sys::cuMemAlloc_v2(&mut at, 5 * MIB).result()?,
                false => sys::cuMemAllocAsync(&mut at, 5 * MIB, s).result()?,
            }
            sys::cuMemsetD8Async(at, i, 4, s).result()?;
            sys::cuMemFreeAsync(at, s).result()?;
        }
    }
    let mut at = 0;
    println!("all {:?}", unsafe { sys::cuMemAlloc_v2(&mut at, 9 * MIB) });
    unsafe {
        result::stream::synchronize(s)?;
        result::stream::destroy(s)
    }
}

/// Memory that is allocated in the order of one stream is used in another.
fn allocated_elsewhere(how: &str) -> Fallible {
    let (s, word) = open()?;
    let (t, device, mut at) = (stream()?, filled(1)?, 0);
    let made = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
    unsafe {
        sys::cuMemAllocAsync(&mut at, BYTES, s).result()?;
        if how.contains("waits") {
            result::event::record(made, s)?;
            result::stream::wait_event(t, made, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)?;
        }
        if how.contains("used") {
            result::memset_d8_async(at, 7, BYTES, t)?;
            launch(word, at, device, t)?;
        }
        match how.contains("in order") {
            true => sys::cuMemFreeAsync(at, t).result()?,
            false => {
                // What is never used may be freed without a wait; what is used may not.
                if how.contains("used") {
                    result::stream::synchronize(t)?;
                }
                result::free_sync(at)?;
            }
        }
        result::ctx::synchronize()?;
        result::event::destroy(made)?;
        result::free_sync(device)?;
        result::stream::destroy(s)?;
        result::stream::destroy(t)
    }
}

/// What is used of pools, and whose memory they give, with two cards.
fn pools_told_apart() -> Fallible {
    let (s, _) = open()?;
    let device = filled(1)?;
    unsafe {
        let (mut own, mut other, mut current, mut at) = (null_mut(), null_mut(), null_mut(), [0; 3]);
        sys::cuDeviceGetDefaultMemPool(&mut own, 0).result()?;
        let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
        (properties.location.id, properties.location.type_) = (1, sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE);
        properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        sys::cuMemPoolCreate(&mut other, &properties).result()?;
        let of = |pool, number: u32| {
            let (mut value, which) = (0u64, std::mem::transmute::<u32, sys::CUmemPool_attribute>(number));
            sys::cuMemPoolGetAttribute(pool, which, (&raw mut value).cast()).result().map(|()| value)
        };
        println!("plain {} {}", of(own, 7)?, of(own, 5)?);
        sys::cuMemAllocAsync(&mut at[0], 100, s).result()?;
        sys::cuMemAllocFromPoolAsync(&mut at[1], 64, other, s).result()?;
        println!("used {} {}", of(own, 7)?, of(other, 7)?);
        for at in &at[..2] {
            let (mut card, mut pool) = (0u32, 0usize);
            sys::cuPointerGetAttribute((&raw mut card).cast(), P::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, *at).result()?;
            sys::cuPointerGetAttribute((&raw mut pool).cast(), P::CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, *at).result()?;
            println!("card {card}, of it: {}", pool == if card == 1 { other as usize } else { own as usize });
            result::free_async(*at, s)?;
        }
        result::stream::synchronize(s)?;
        println!("then {} {} {}", of(own, 7)?, of(other, 7)?, of(other, 8)?);
        let mut zero = 0u64;
        let high = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        sys::cuMemPoolSetAttribute(other, high, (&raw mut zero).cast()).result()?;
        println!("high {}", of(other, 8)?);
        // No enumeration of an older header has this one, which programs may ask for all the same.
        type Ask = unsafe extern "C" fn(sys::CUmemoryPool, u32, *mut u64) -> CUresult;
        let library = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY);
        let ask = libc::dlsym(library, c"cuMemPoolGetAttribute".as_ptr());
        code("unknown", std::mem::transmute::<*mut c_void, Ask>(ask)(own, 99, &mut zero));
        sys::cuDeviceGetMemPool(&mut current, 0).result()?;
        println!("current {}", current == own);
        sys::cuMemPoolDestroy(other).result()?;
        result::free_sync(device)?;
        result::stream::destroy(s)
    }
}

/// A copy of every other 32 bytes from page-locked memory to a card's, or back.
fn columns(card: u64, host: u64, up: bool, stream: sys::CUstream) -> Fallible {
    unsafe {
        let mut copy: sys::CUDA_MEMCPY2D = {
            let mut zero = MaybeUninit::<sys::CUDA_MEMCPY2D>::zeroed();
            (*zero.as_mut_ptr()).srcMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_UNIFIED;
            (*zero.as_mut_ptr()).dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_UNIFIED;
            zero.assume_init()
        };
        (copy.srcDevice, copy.dstDevice) = if up { (host, card) } else { (card, host) };
        (copy.srcPitch, copy.dstPitch, copy.WidthInBytes, copy.Height) = (64, 64, 32, 16);
        sys::cuMemcpy2DAsync_v2(&copy, stream).result()
    }
}

/// Bytes of page-locked memory that the program changes, or a copy, before a copy of rows has read them.
fn rows_apart(how: &str) -> Fallible {
    let (s, _) = open()?;
    let (t, device, other, at) = (stream()?, filled(1)?, filled(2)?, host(false)?);
    unsafe {
        (at as *mut u8).write_bytes(3, BYTES);
        columns(device, at, true, s)?;
        if how.contains("copied") {
            columns(other + 32, at + 32, false, t)?;
            result::stream::synchronize(t)?;
        }
        match () {
            () if how.contains("inside") => (at as *mut u8).add(3 * 64 + 31).write(9),
            () if how.contains("between") => (at as *mut u8).add(3 * 64 + 32).write(9),
            () => {}
        }
        result::stream::synchronize(s)?;
        println!("first {:#x}, beside it {:#x}", word_at(device)?, word_at(device + 32)?);
        free_host(at, false)?;
        result::free_sync(device)?;
        result::free_sync(other)?;
        result::stream::destroy(s)?;
        result::stream::destroy(t)
    }
}

/// A free, and a record of an event, that a capture refuses, and again when that is over.
fn refused_in_a_capture(freed: bool) -> Fallible {
    open()?;
    let s = result::stream::create(StreamKind::Default)?;
    let [first, last] = [0; 2].map(|_| result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap());
    let (mut at, mut graph, legacy) = (0, null_mut(), null_mut());
    unsafe {
        sys::cuMemAllocAsync(&mut at, BYTES, s).result()?;
        result::event::record(first, s)?;
        result::stream::begin_capture(s, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        code("free", sys::cuMemFreeAsync(at, legacy));
        code("record", sys::cuEventRecord(first, legacy));
        sys::cuStreamEndCapture(s, &mut graph);
        if freed {
            code("free again", sys::cuMemFreeAsync(at, s));
        }
        result::event::record(last, s)?;
        result::stream::synchronize(s)?;
        println!("time {:?}", result::event::elapsed(first, last).map(|ms| ms >= 0.0).map_err(|e| e.0));
        result::event::destroy(first)?;
        result::event::destroy(last)?;
        result::stream::destroy(s)
    }
}

/// Pages that this process has in all, and in memory.
fn pages() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

/// More device memory than is touched, and more than the machine gives.
fn much_memory() -> Fallible {
    let (s, _) = open()?;
    unsafe {
        let before = pages()[1];
        let at = result::malloc_sync(2048 * MIB)?;
        result::memset_d8_sync(at + 1024 * MIB as u64, 7, 4096)?;
        println!("last {:#x}", word_at(at + 1024 * MIB as u64 + 4092)?);
        println!("{} MiB", (pages()[1] - before) * 4096 / MIB as u64);
        result::free_sync(at)?;
        let all = pages()[0] * 4096 + 256 * MIB as u64;
        let limit = libc::rlimit { rlim_cur: all, rlim_max: all };
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
        println!("too much: {:?}", result::malloc_sync(1024 * MIB).map_err(|e| e.0));
        result::free_sync(result::malloc_sync(64 * MIB)?)?;
        result::stream::destroy(s)
    }
}

/// Allocations that are freed again, of so many bytes in all that a card runs out of addresses.
fn many_bytes() -> Fallible {
    let (s, _) = open()?;
    let done = (0..).find_map(|round| unsafe {
        let freed = result::malloc_sync(2048 * MIB).and_then(|at| {
            result::memset_d8_async(at, 1, 16, s)?;
            result::stream::synchronize(s)?;
            result::free_sync(at)
        });
        freed.err().map(|e| (round, e))
    });
    let (rounds, e) = done.unwrap();
    println!("{:?} after many rounds: {}", e.0, rounds > 100);
    unsafe { result::stream::destroy(s) }
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    let (managed, graph) = (name.contains("managed"), name.contains("graph"));
    let done = match name.split(',').next().unwrap_or("") {
        "read before written" => read_before_written(managed, graph),
        "freed under a graph" => freed_under_a_graph(managed, name.contains("fill")),
        "pools told apart" => pools_told_apart(),
        "freed in order" => freed_in_order(name.contains("plain")),
        "allocated elsewhere" => allocated_elsewhere(&name),
        "rows apart" => rows_apart(&name),
        "refused in a capture" => refused_in_a_capture(name.contains("freed")),
        "much memory" => much_memory(),
        "many bytes" => many_bytes(),
        "wrong addresses" => wrong_addresses(),
        "no kind of memory" => no_kind_of_memory(),
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

/// What lies between the rows of a copy is no part of it, whoever changes it.
#[test]
fn copies_of_rows_leave_alone_what_is_between_them() {
    let changed = Some("the host changed these bytes before they were copied");
    for (how, found) in [
        ("", None),
        ("between", None),
        ("copied", None),
        ("copied, between", None),
        ("inside", changed),
        ("copied, inside", changed),
    ] {
        let out = run(&format!("rows apart, {how}"), &[]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        assert!(said.contains("first 0x3030303, beside it 0x1010101\n"), "{how}: {said}{told}");
        assert_eq!(out.status.success(), found.is_none(), "{how}: {told}");
        assert!(told.contains(found.unwrap_or("")), "{how}: {told}");
    }
}

#[test]
fn what_was_refused_is_not_done() {
    let implicit = "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT";
    for (name, answer) in [("refused in a capture, freed", "free again: CUDA_SUCCESS\n"), ("refused in a capture", "")]
    {
        let out = run(name, &[]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        let lines = format!("free: {implicit}\nrecord: {implicit}\n{answer}time Ok(true)\n");
        assert!(said.contains(&lines), "{name}: {said}{told}");
        assert_eq!(told.contains("never given back: 4096 bytes"), answer.is_empty(), "{name}: {told}");
    }
}

/// What is allocated takes the machine's memory as it is touched, and what that does not have is an error of the call.
#[test]
fn allocations_take_what_is_touched() {
    let out = run("much memory", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let number = said.lines().find_map(|line| line.strip_suffix(" MiB"));
    assert!(said.contains("last 0x7070707\n") && out.status.success(), "{said}{told}");
    assert!(number.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n < 64), "{said}");
    assert!(said.contains("too much: Err(CUDA_ERROR_OUT_OF_MEMORY)\n"), "{said}{told}");
}

#[test]
fn a_card_without_addresses_gives_no_memory() {
    let out = run("many bytes", &[("PTXSIM_CARD", &["a100"; 16].join(","))]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("CUDA_ERROR_OUT_OF_MEMORY after many rounds: true\n"), "{said}{told}");
    assert!(told.contains("no addresses are left for this card") && told.contains("1 found"), "{told}");
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

/// A card without access to pageable memory takes none for its own; calls that name no side for the card's take any.
#[test]
fn the_cards_side_of_a_copy_is_the_cards() {
    let out = run("wrong addresses", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let (refused, fine) = ("CUDA_ERROR_INVALID_VALUE", "CUDA_SUCCESS");
    for (what, answer) in [
        ("garbage", refused),
        ("down", refused),
        ("up", refused),
        ("across", refused),
        ("across to", refused),
        ("down in a stream", refused),
        ("rows of 1", fine),
        ("rows of 2", refused),
        ("rows of 3", "CUDA_ERROR_NOT_SUPPORTED"),
        ("rows of 4", fine),
        ("too long", refused),
        ("part of it", fine),
        ("unified", fine),
        ("unified in a stream", fine),
        ("page-locked", fine),
        ("managed", fine),
        ("nothing", fine),
    ] {
        assert!(said.contains(&format!("\n{what}: {answer}\n")), "{what}: {said}{told}");
    }
    assert!(told.contains("cuMemcpyDtoH_v2: 0x1234 is neither device memory nor page-locked"), "{told}");
    assert!(told.contains("some are in page-locked memory and others are not"), "{told}");
    assert_eq!(out.status.code(), Some(99), "{told}");
}

#[test]
fn kinds_of_memory_are_checked() {
    let said = text(&run("no kind of memory", &[]).stdout);
    for kinds in ["0 0", "7 9", "2 4294967295"] {
        let lines = format!("rows {kinds}: CUDA_ERROR_INVALID_VALUE\nplanes {kinds}: CUDA_ERROR_INVALID_VALUE\n");
        assert!(said.contains(&lines), "{kinds}: {said}");
    }
    assert!(said.contains("rows 2 2: CUDA_SUCCESS\nplanes 2 2: CUDA_SUCCESS\n"), "{said}");
}

#[test]
fn what_is_freed_in_the_order_of_streams_can_be_had_again() {
    for name in ["freed in order", "freed in order, plain"] {
        for seed in ["0", "1", "2", "3"] {
            let out = run(name, &[("PTXSIM_SCHEDULE", seed), ("PTXSIM_MEMORY", "8388608")]);
            let (said, told) = (text(&out.stdout), text(&out.stderr));
            assert!(said.contains("all CUDA_ERROR_OUT_OF_MEMORY\n") && out.status.success(), "{name}: {said}{told}");
        }
    }
}

#[test]
fn allocations_have_a_place_in_the_order_of_streams() {
    let races = Some("race on ");
    for (how, found) in [
        ("used, in order", races),
        ("used", races),
        ("freed in order", races),
        ("freed", None),
        ("used, waits, in order", None),
        ("used, waits", None),
    ] {
        says(&format!("allocated elsewhere, {how}"), &[], found);
    }
    let told = text(&run("allocated elsewhere, used", &[]).stderr);
    assert!(told.contains("fill of 4096 bytes") && told.contains("makes it, in no order"), "{told}");
}

#[test]
fn pools_are_told_apart() {
    let out = run("pools told apart", &[("PTXSIM_CARD", "a100,a100")]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let lines = "plain 0 0\nused 100 64\ncard 0, of it: true\ncard 1, of it: true\nthen 0 0 64\nhigh 0\n\
        unknown: CUDA_ERROR_INVALID_VALUE\ncurrent true\n";
    assert!(said.contains(lines) && out.status.success(), "{said}{told}");
}
