//! Functions of the host, other threads, and ends: what waits for what, who may call, what is found when a process ends in the middle.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/says.rs"]
mod says;

use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys;
use says::says;

type Fallible<T = ()> = Result<T, cudarc::driver::DriverError>;

/// A kernel without an end.
const SPIN: &str = ".version 8.1\n.target sm_80\n.address_size 64\n.visible .entry spin() { L: bra L; }";

/// A kernel that writes where nothing is.
const BAD: &str = ".version 8.1\n.target sm_80\n.address_size 64\n.visible .entry bad() { .reg .b64 %rd; mov.b64 %rd, 16; st.global.u32 [%rd], 0; ret; }";

fn open() -> Fallible {
    result::init()?;
    let context = unsafe { result::primary_ctx::retain(result::device::get(0)?)? };
    unsafe { result::ctx::set_current(context) }
}

fn spin() -> Fallible<sys::CUfunction> {
    let text = CString::new(SPIN).unwrap();
    unsafe {
        let module = result::module::load_data(text.as_ptr().cast())?;
        result::module::get_function(module, CString::new("spin").unwrap())
    }
}

static FLAG: AtomicBool = AtomicBool::new(false);

/// Waits for a flag.
unsafe extern "C" fn until_flag(_: *mut c_void) {
    while !FLAG.load(Relaxed) {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// A function of the host that waits for what the program does without waiting for it.
fn goes_on() -> Fallible {
    open()?;
    unsafe {
        let stream = result::stream::create(StreamKind::NonBlocking)?;
        sys::cuLaunchHostFunc(stream, Some(until_flag), null_mut()).result()?;
        for _ in 0..20 {
            result::free_sync(result::malloc_sync(64)?)?;
        }
        FLAG.store(true, Relaxed);
        result::stream::synchronize(stream)?;
        println!("done");
        result::stream::destroy(stream)
    }
}

/// Calls the driver in another thread and then raises the flag.
fn calls_elsewhere(context: usize) -> std::thread::JoinHandle<Fallible> {
    std::thread::spawn(move || unsafe {
        std::thread::sleep(std::time::Duration::from_millis(100));
        result::ctx::set_current(context as sys::CUcontext)?;
        result::free_sync(result::malloc_sync(64)?)?;
        FLAG.store(true, Relaxed);
        Ok(())
    })
}

/// Functions of the host, and of a user object's end, that wait for what another thread calls before it lets them go on.
fn waits_for_another_thread() -> Fallible {
    open()?;
    unsafe {
        let mut context = null_mut();
        sys::cuCtxGetCurrent(&mut context).result()?;
        let stream = result::stream::create(StreamKind::NonBlocking)?;
        sys::cuLaunchHostFunc(stream, Some(until_flag), null_mut()).result()?;
        let other = calls_elsewhere(context as usize);
        result::stream::synchronize(stream)?;
        other.join().unwrap()?;
        FLAG.store(false, Relaxed);
        let mut object = null_mut();
        sys::cuUserObjectCreate(&mut object, null_mut(), Some(until_flag), 1, 1).result()?;
        let other = calls_elsewhere(context as usize);
        sys::cuUserObjectRelease(object, 1).result()?;
        other.join().unwrap()?;
        println!("done");
        result::stream::destroy(stream)
    }
}

unsafe extern "C" fn call(_: *mut c_void) {
    println!("{:?}", unsafe { result::malloc_sync(16) }.map_err(|e| e.0));
}

fn calls_in_a_function() -> Fallible {
    open()?;
    unsafe { sys::cuLaunchHostFunc(null_mut(), Some(call), null_mut()).result()? };
    result::ctx::synchronize()
}

/// Gives memory back.
unsafe extern "C" fn give_back(at: *mut c_void) {
    println!("{:?}", unsafe { sys::cuMemFree_v2(at as u64) });
}

/// A thread that gives memory back when what it has of its own is gone.
fn ends_in_a_thread() -> Fallible {
    open()?;
    let (mut context, mut key) = (null_mut(), 0);
    unsafe {
        sys::cuCtxGetCurrent(&mut context).result()?;
        assert_eq!(libc::pthread_key_create(&mut key, Some(give_back)), 0);
    }
    let context = context as usize;
    let done = std::thread::spawn(move || unsafe {
        result::ctx::set_current(context as sys::CUcontext)?;
        let at = result::malloc_sync(16)?;
        assert_eq!(libc::pthread_setspecific(key, at as *const c_void), 0);
        Ok(())
    });
    done.join().unwrap()
}

/// Waits for a kernel without an end.
fn endless() -> Fallible {
    open()?;
    let f = spin()?;
    unsafe {
        result::launch_kernel(f, (1, 1, 1), (1, 1, 1), 0, null_mut(), &mut [])?;
        println!("{:?}", result::ctx::synchronize().map_err(|e| e.0));
    }
    Ok(())
}

/// The process ends while another thread is in a call that does not.
fn exits_in_a_call() -> Fallible {
    open()?;
    let f = spin()? as usize;
    unsafe {
        sys::cuStreamSynchronize(0x99_9990 as sys::CUstream);
        let mut context = null_mut();
        sys::cuCtxGetCurrent(&mut context).result()?;
        let context = context as usize;
        std::thread::spawn(move || {
            result::ctx::set_current(context as sys::CUcontext).unwrap();
            let f = f as sys::CUfunction;
            result::launch_kernel(f, (1, 1, 1), (1, 1, 1), 0, null_mut(), &mut []).unwrap();
            result::ctx::synchronize()
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    Ok(())
}

/// Unloads the library after a wrong call, and goes on.
fn unloads() -> Fallible {
    type Init = unsafe extern "C" fn(u32) -> sys::CUresult;
    type Wait = unsafe extern "C" fn() -> sys::CUresult;
    // SAFETY: the functions have these types, and are not called after the library was closed.
    unsafe {
        let library = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW);
        let find = |name: &std::ffi::CStr| libc::dlsym(library, name.as_ptr());
        let init = std::mem::transmute::<*mut c_void, Init>(find(c"cuInit"));
        let wait = std::mem::transmute::<*mut c_void, Wait>(find(c"cuCtxSynchronize"));
        println!("{:?} {:?} {}", init(0), wait(), libc::dlclose(library));
    }
    println!("goes on");
    Ok(())
}

/// Two processes that are forked off: one only ends, one goes on as if the driver were its own.
fn forks() -> Fallible {
    open()?;
    let (device, mut host) = (unsafe { result::malloc_sync(64)? }, [0u8; 64]);
    // SAFETY: the new processes call the driver and end.
    let wait = |child| unsafe {
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        libc::WEXITSTATUS(status)
    };
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::exit(0);
        }
        println!("one that only ends: {}", wait(child));
        let child = libc::fork();
        if child == 0 {
            println!("again {:?}", sys::cuInit(0));
            println!("wait {:?}", sys::cuCtxSynchronize());
            println!("copy {:?}", sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), device, 64));
            let mut text = std::ptr::null();
            println!("name {:?}", sys::cuGetErrorName(sys::CUresult::CUDA_ERROR_NOT_INITIALIZED, &mut text));
            libc::exit(0);
        }
        println!("one that goes on: {}", wait(child));
        result::free_sync(device)
    }
}

unsafe extern "C" fn told(stream: sys::CUstream, status: sys::CUresult, data: *mut c_void) {
    println!("{} is told {status:?}, by a stream: {}", data as usize, !stream.is_null());
}

unsafe extern "C" fn never(_: *mut c_void) {
    println!("called behind a failure");
}

/// Callbacks behind a kernel that fails, and in another stream of its context.
fn told_of_a_failure(waits: bool) -> Fallible {
    open()?;
    let bad = CString::new(BAD).unwrap();
    unsafe {
        let module = result::module::load_data(bad.as_ptr().cast())?;
        let bad = result::module::get_function(module, CString::new("bad").unwrap())?;
        let [s, t] =
            [result::stream::create(StreamKind::NonBlocking)?, result::stream::create(StreamKind::NonBlocking)?];
        let add = |stream, n: usize| {
            println!("{n} is added: {:?}", sys::cuStreamAddCallback(stream, Some(told), n as *mut c_void, 0));
        };
        add(s, 1);
        result::stream::synchronize(s)?;
        result::launch_kernel(bad, (1, 1, 1), (1, 1, 1), 0, s, &mut [])?;
        // With a seed, it may have failed by now.
        add(s, 2);
        let _ = sys::cuLaunchHostFunc(s, Some(never), null_mut());
        add(s, 3);
        if waits {
            println!("wait {:?}", sys::cuStreamSynchronize(s));
        } else {
            println!("wait {:?}", sys::cuCtxSynchronize());
        }
        add(t, 4);
    }
    Ok(())
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    let done = match name.as_str() {
        "goes on" => goes_on(),
        "waits for another thread" => waits_for_another_thread(),
        "calls in a function" => calls_in_a_function(),
        "ends in a thread" => ends_in_a_thread(),
        "endless" => endless(),
        "exits in a call" => exits_in_a_call(),
        "forks" => forks(),
        "unloads" => unloads(),
        "told of a failure" => told_of_a_failure(true),
        "told of a failure, context" => told_of_a_failure(false),
        other => panic!("no program is called {other}"),
    };
    if let Err(e) = done {
        println!("{name} ends with {:?}", e.0);
    }
}

#[test]
fn functions_of_the_host_wait_for_whatever_they_like() {
    says("goes on", &["done"], None);
    says("waits for another thread", &["done"], None);
    says("calls in a function", &["CUDA_ERROR_NOT_PERMITTED"], Some("is called from a function that a stream runs"));
}

#[test]
fn what_was_found_is_told_at_exit_whoever_calls() {
    let out = run("exits in a call", &[]);
    assert_eq!(out.status.code(), Some(99), "{}", text(&out.stderr));
}

#[test]
fn a_program_that_unloads_the_library_goes_on() {
    let out = run("unloads", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("CUDA_SUCCESS CUDA_ERROR_INVALID_CONTEXT 0\ngoes on\n"), "{said}{told}");
    assert!(told.contains("no context is current") && told.contains("1 found; exit code 99"), "{told}");
    assert_eq!(out.status.code(), Some(99), "{told}");
}

#[test]
fn kernels_end_after_so_many_instructions() {
    let out = run("endless", &[("PTXSIM_INSTRUCTIONS", "100000")]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("Err(CUDA_ERROR_LAUNCH_TIMEOUT)"), "{said}{told}");
    assert!(told.contains("instruction budget used up in kernel spin"), "{told}");
}

#[test]
fn threads_call_until_their_end() {
    says("ends in a thread", &["CUDA_SUCCESS"], None);
}

/// A process that is forked off has none of the driver's work, and none of its leaks.
#[test]
fn what_is_forked_off_has_no_driver() {
    let calls = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{}", std::process::id()));
    let out = run("forks", &[("PTXSIM_CALLS", calls.to_str().unwrap())]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    for line in [
        "one that only ends: 0\n",
        "again CUDA_ERROR_NOT_INITIALIZED\nwait CUDA_ERROR_NOT_INITIALIZED\ncopy CUDA_ERROR_NOT_INITIALIZED\nname CUDA_SUCCESS\n",
        "one that goes on: 99\n",
    ] {
        assert!(said.contains(line), "{line}: {said}{told}");
    }
    assert_eq!(told.matches("this process was forked off by one that uses the driver").count(), 2, "{told}");
    assert!(out.status.success() && !told.contains("never given back"), "{told}");
    let calls = std::fs::read_to_string(calls).unwrap();
    assert!(calls.contains("cuMemFree_v2 1\n"), "{calls}");
}

/// A driver calls the callbacks of a stream in any case; functions that are told nothing are left out.
#[test]
fn callbacks_are_told_of_failures() {
    for name in ["told of a failure", "told of a failure, context"] {
        for seed in ["0", "1", "2", "3"] {
            let out = run(name, &[("PTXSIM_SCHEDULE", seed)]);
            let (said, found) = (text(&out.stdout), text(&out.stderr));
            for (who, status) in [(1, "SUCCESS"), (2, "ERROR_ILLEGAL_ADDRESS"), (3, "ERROR_ILLEGAL_ADDRESS")] {
                let line = format!("{who} is told CUDA_{status}, by a stream: true\n");
                let added = said.matches(&format!("{who} is added: CUDA_SUCCESS\n")).count();
                assert!(added == 1 || seed != "0", "{name}, {seed}, {who}: {said}{found}");
                assert_eq!(said.matches(&line).count(), added, "{name}, {seed}, {line}: {said}{found}");
            }
            let end = "wait CUDA_ERROR_ILLEGAL_ADDRESS\n4 is added: CUDA_ERROR_ILLEGAL_ADDRESS\n";
            assert!(said.contains(end) && !said.contains("called behind"), "{name}, {seed}: {said}{found}");
        }
    }
}
