//! The functions of the CUDA driver API that we call, found in the library that `cudarc` opens, with the types that it declares.
//!
//! Only what they answer is ours: `cudarc` declares it as an enumeration, and a driver newer than that may answer a number that the
//! enumeration lacks, which no Rust program may ever hold. And a driver without a function is an error here, not a panic.

use cudarc::driver::sys;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::sync::OnceLock;

pub use sys::{CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream};

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The driver's own number.
    Code(u32),
    /// The driver has no such function.
    Missing(&'static str),
}

/// The name of the error and what it means, as the driver has them.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let code = match *self {
            Fault::Code(code) => code,
            Fault::Missing(name) => return write!(f, "the driver has no {name}: install a newer one"),
        };
        // SAFETY: each writes one pointer, to a text that is never freed, or none where it does not know the number.
        let [name, text] = unsafe {
            [got(std::ptr::null(), |p| cuGetErrorName(code, p)), got(std::ptr::null(), |p| cuGetErrorString(code, p))]
        }
        .map(|text| match text {
            // SAFETY: a text of the driver's, ended by a zero.
            Ok(text) if !text.is_null() => Some(unsafe { CStr::from_ptr(text) }.to_string_lossy()),
            _ => None,
        });
        match (name, text) {
            (Some(name), Some(text)) => write!(f, "{name}: {text}"),
            _ => write!(f, "error {code}, which the driver itself does not explain"),
        }
    }
}

pub type Answer<T = ()> = Result<T, Fault>;

/// Whether there is a driver library. Everything else here must not be called where there is none.
pub fn is_present() -> bool {
    // SAFETY: only looks for the library and opens it, as every later call would.
    unsafe { sys::is_culib_present() }
}

/// What a function writes through its first argument.
///
/// # Safety
/// That of the call.
pub unsafe fn got<T: Copy>(nothing: T, call: impl FnOnce(*mut T) -> Answer) -> Answer<T> {
    let mut value = nothing;
    call(&mut value).map(|()| value)
}

/// Declares functions of a library that answer a number, 0 where all is well.
macro_rules! functions {
    ($library:path: $(fn $name:ident($($parameter:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As NVIDIA's documentation of the driver API has it.
        #[allow(non_snake_case, clippy::too_many_arguments)]
        pub(super) unsafe fn $name($($parameter: $type),*) -> Answer {
            type F = unsafe extern "C" fn($($type),*) -> u32;
            static FOUND: OnceLock<Option<F>> = OnceLock::new();
            let name = stringify!($name);
            // SAFETY: the library is there, as the caller knows; the type is that of NVIDIA's header, as `cudarc` has it, but for
            // what it returns, which is an int there.
            let found = || unsafe { $library().get::<F>(name.as_bytes()) }.ok().map(|found| *found);
            let Some(f) = FOUND.get_or_init(found) else { return Err(Fault::Missing(name)) };
            // SAFETY: as the caller says.
            match unsafe { f($($parameter),*) } {
                0 => Ok(()),
                code => Err(Fault::Code(code)),
            }
        }
    )*};
}

#[cfg(feature = "cudnn")]
pub(super) use functions;

functions! {
    sys::culib:
    fn cuInit(flags: c_uint);
    fn cuDriverGetVersion(version: *mut c_int);
    fn cuGetErrorName(code: u32, name: *mut *const c_char);
    fn cuGetErrorString(code: u32, text: *mut *const c_char);
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGet(device: *mut CUdevice, index: c_int);
    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: CUdevice);
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: sys::CUdevice_attribute, device: CUdevice);
    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
    fn cuCtxSetCurrent(context: CUcontext);
    fn cuModuleLoadDataEx(
        module: *mut CUmodule, image: *const c_void, count: c_uint, options: *mut sys::CUjit_option, values: *mut *mut c_void
    );
    fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
    fn cuFuncGetAttribute(value: *mut c_int, attribute: sys::CUfunction_attribute, function: CUfunction);
    fn cuFuncSetAttribute(function: CUfunction, attribute: sys::CUfunction_attribute, value: c_int);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemAlloc_v2(at: *mut CUdeviceptr, bytes: usize);
    fn cuMemFree_v2(at: CUdeviceptr);
    fn cuMemHostAlloc(memory: *mut *mut c_void, bytes: usize, flags: c_uint);
    fn cuMemFreeHost(memory: *mut c_void);
    fn cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream);
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream);
    fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream);
    fn cuMemsetD8Async(at: CUdeviceptr, value: u8, bytes: usize, stream: CUstream);
    fn cuStreamCreate(stream: *mut CUstream, flags: c_uint);
    fn cuStreamDestroy_v2(stream: CUstream);
    fn cuStreamSynchronize(stream: CUstream);
    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
    fn cuStreamBeginCapture_v2(stream: CUstream, mode: sys::CUstreamCaptureMode);
    fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph);
    fn cuEventCreate(event: *mut CUevent, flags: c_uint);
    fn cuEventDestroy_v2(event: CUevent);
    fn cuEventRecord(event: CUevent, stream: CUstream);
    fn cuEventSynchronize(event: CUevent);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent);
    fn cuGraphInstantiateWithFlags(executable: *mut CUgraphExec, graph: CUgraph, flags: u64);
    fn cuGraphLaunch(executable: CUgraphExec, stream: CUstream);
    fn cuGraphDestroy(graph: CUgraph);
    fn cuGraphExecDestroy(executable: CUgraphExec);
    fn cuLaunchKernel(
        function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
}
