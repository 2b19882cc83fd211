//! The [`Driver`] for a GPU, over `cudarc`'s bindings of the CUDA driver API. The library is loaded when first asked for:
//! a build needs no CUDA, and a machine without it gets a message.

use super::{Driver, Entry, Launch, Module};
use crate::{Error, Result, invalid};
use cudarc::driver::{DriverError, result, sys};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// CUDA 12.1, the first whose drivers (530 and later) read our PTX.
const DRIVER: i32 = 12_010;
/// Ampere: `cp.async` and `mma.sync` on tf32 and bf16.
const CAPABILITY: (i32, i32) = (8, 0);
/// Page-locked memory that copies go through, in bytes: half for each direction.
const STAGING: usize = 16 << 20;
/// Room for what the compiler of PTX has to say.
const LOG: usize = 16 << 10;

/// A GPU as `ckaad devices` lists it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Gpu {
    pub index: usize,
    pub name: String,
    pub compute_capability: (i32, i32),
    pub multiprocessors: u32,
    pub memory_bytes: usize,
    /// Why it cannot be used.
    pub unusable: Option<String>,
}

/// All GPUs of this machine, one that does not answer as unusable. Errors, each one line: no driver library, an old driver, none that answers.
pub fn gpus() -> Result<Vec<Gpu>> {
    let count = start()?;
    let sick = |index, e: Error| Gpu {
        index,
        name: "unknown".into(),
        compute_capability: (0, 0),
        multiprocessors: 0,
        memory_bytes: 0,
        unusable: Some(e.to_string()),
    };
    Ok((0..count).map(|index| gpu(index).unwrap_or_else(|e| sick(index, e))).collect())
}

/// Loads and starts the driver; the number of GPUs.
fn start() -> Result<usize> {
    // SAFETY: only looks for the library and opens it, as every later call would.
    if !unsafe { sys::is_culib_present() } {
        invalid!("no NVIDIA driver here (libcuda was not found)");
    }
    result::init().map_err(|e| error("starting the NVIDIA driver", e))?;
    let mut version = 0;
    // SAFETY: writes one integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|e| error("asking for the driver's version", e))?;
    if version < DRIVER {
        let name = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
        invalid!(
            "the NVIDIA driver supports CUDA {}, this program needs {}: install driver 530 or later, or use --device cpu",
            name(version),
            name(DRIVER)
        );
    }
    let count = result::device::get_count().map_err(|e| error("counting GPUs", e))?;
    Ok(count.max(0) as usize)
}

fn gpu(index: usize) -> Result<Gpu> {
    let failed = |e| error(&format!("asking about cuda:{index}"), e);
    let device = result::device::get(index as i32).map_err(failed)?;
    let attribute = |a| {
        // SAFETY: the device comes from the driver itself.
        unsafe { result::device::get_attribute(device, a) }.map_err(failed)
    };
    use sys::CUdevice_attribute_enum as A;
    let compute_capability = (
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let (major, minor) = compute_capability;
    Ok(Gpu {
        index,
        name: result::device::get_name(device).map_err(failed)?,
        compute_capability,
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1) as u32,
        // SAFETY: as above.
        memory_bytes: unsafe { result::device::total_mem(device) }.map_err(failed)?,
        unusable: (compute_capability < CAPABILITY)
            .then(|| format!("compute capability {major}.{minor}, the kernels need 8.0 or later")),
    })
}

/// The GPU with this index. Errors: no driver, no such GPU (with how many there are), or one that is too old.
pub fn usable(index: usize) -> Result<Gpu> {
    let count = start().map_err(|e| e.within(format!("cuda:{index}")))?;
    if index >= count {
        invalid!("cuda:{index}: this machine has {count} GPU(s), counted from 0; `ckaad devices` lists them");
    }
    let gpu = gpu(index)?;
    if let Some(why) = &gpu.unusable {
        invalid!("cuda:{index} ({}): {why}; use --device cpu", gpu.name);
    }
    Ok(gpu)
}

fn error(doing: &str, e: DriverError) -> Error {
    let name = e.error_name().map_or("an unknown error".into(), CStr::to_string_lossy);
    let text = e.error_string().map_or("".into(), CStr::to_string_lossy);
    Error::Invalid(format!("CUDA: {doing}: {name}: {text}"))
}

/// One GPU, its primary context and one stream.
pub struct GpuDriver {
    gpu: Gpu,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    allocations: Vec<u64>,
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, sys::CUfunction>,
    staging: Mutex<Staging>,
    graph: Option<sys::CUgraphExec>,
}

/// Page-locked memory. Writes fill the first half from its start, and wait for the stream only when it is full.
struct Staging {
    memory: *mut u8,
    used: usize,
}

// SAFETY: the handles are the driver's own and may be used from any thread in whose turn the context is made current,
// which every method does first; the staging memory is only touched under its lock.
unsafe impl Send for GpuDriver {}

impl GpuDriver {
    /// Opens `cuda:index`. Errors: those of [`usable`], or the driver's own.
    pub fn open(index: usize) -> Result<Self> {
        let gpu = usable(index)?;
        let failed = |e| error(&format!("opening cuda:{index}"), e);
        let device = result::device::get(index as i32).map_err(failed)?;
        // SAFETY: the device comes from the driver; the context is released when this is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        let mut driver = GpuDriver {
            gpu,
            device,
            context,
            stream: std::ptr::null_mut(),
            allocations: Vec::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            staging: Mutex::new(Staging { memory: std::ptr::null_mut(), used: 0 }),
            graph: None,
        };
        driver.enter()?;
        driver.stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        // SAFETY: freed when this is dropped.
        let memory = unsafe { result::malloc_host(STAGING, 0) }.map_err(failed)?;
        driver.staging = Mutex::new(Staging { memory: memory.cast(), used: 0 });
        Ok(driver)
    }

    /// Makes the context current on this thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| self.failed("entering its context", e))
    }

    fn failed(&self, doing: &str, e: DriverError) -> Error {
        error(&format!("{}: {doing}", self.name()), e)
    }

    /// An error that may be that of a launch long before.
    fn late(&self, doing: &str, e: DriverError) -> Error {
        let hint = "if a kernel failed, CKAAD_SYNC_LAUNCHES=1 in the environment names it";
        Error::Invalid(format!("{}; {hint}", self.failed(doing, e)))
    }

    /// Compiles PTX for this card, with the compiler's log where that fails.
    fn compile(&self, module: &Module) -> Result<sys::CUmodule> {
        let Ok(ptx) = CString::new(module.ptx) else { invalid!("{}.ptx holds a zero byte", module.name) };
        let mut log = vec![0u8; LOG];
        use sys::CUjit_option_enum as J;
        let mut options = [J::CU_JIT_ERROR_LOG_BUFFER, J::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG as *mut c_void];
        let mut handle = std::ptr::null_mut();
        // SAFETY: options and values are two each; the log is as long as said and outlives the call; so does the text.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(&mut handle, ptx.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        loaded.result().map_err(|e| {
            let log = String::from_utf8_lossy(log.split(|b| *b == 0).next().unwrap_or_default()).trim().to_string();
            Error::Invalid(format!("{}\n{log}", self.failed(&format!("compiling {}.ptx", module.name), e)))
        })?;
        Ok(handle)
    }

    fn function(&mut self, module: sys::CUmodule, entry: &'static Entry) -> Result<()> {
        let failed = |e| error(&format!("kernel {}", entry.name), e);
        let Ok(name) = CString::new(entry.name) else { invalid!("kernel name {:?}", entry.name) };
        // SAFETY: the module was just loaded and stays loaded as long as `self`.
        let function = unsafe { result::module::get_function(module, name) }.map_err(failed)?;
        use sys::CUdevice_attribute_enum as D;
        use sys::CUfunction_attribute_enum as A;
        // SAFETY: device and function are valid. Dynamic shared memory may be all that the card allows a block.
        unsafe {
            let all = D::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            let most = result::device::get_attribute(self.device, all).map_err(failed)?;
            let own = A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
            let fixed = result::function::get_function_attribute(function, own).map_err(failed)?;
            let dynamic = A::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, dynamic, most - fixed).map_err(failed)?;
        }
        self.functions.insert(entry.name, function);
        Ok(())
    }
}

impl Driver for GpuDriver {
    fn name(&self) -> String {
        format!("cuda:{} ({})", self.gpu.index, self.gpu.name)
    }

    fn multiprocessors(&self) -> u32 {
        self.gpu.multiprocessors
    }

    fn memory(&self) -> Result<(usize, usize)> {
        self.enter()?;
        result::mem_get_info().map_err(|e| self.failed("asking for free memory", e))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.enter()?;
        // SAFETY: freed when this is dropped.
        let at = unsafe { result::malloc_sync(bytes.max(1)) }
            .map_err(|e| self.failed(&format!("allocating {:.1} MB", bytes as f64 / 1e6), e))?;
        self.allocations.push(at);
        Ok(at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        let mut at = at;
        for chunk in bytes.chunks(STAGING / 2) {
            let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
            if staging.used + chunk.len() > STAGING / 2 {
                // SAFETY: the stream is ours.
                unsafe { result::stream::synchronize(self.stream) }.map_err(|e| self.late("copying to it", e))?;
                staging.used = 0;
            }
            // SAFETY: [used, used + len) lies in the first half, and no copy in flight reads it; the device range belongs
            // to an allocation of ours, as the session planned it.
            unsafe {
                let part = std::slice::from_raw_parts_mut(staging.memory.add(staging.used), chunk.len());
                part.copy_from_slice(chunk);
                result::memcpy_htod_async(at, part, self.stream)
            }
            .map_err(|e| self.failed("copying to it", e))?;
            staging.used += chunk.len();
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        self.enter()?;
        // SAFETY: the range belongs to an allocation of ours.
        unsafe { result::memset_d8_async(range.start, 0, (range.end - range.start) as usize, self.stream) }
            .map_err(|e| self.failed("clearing memory", e))
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let failed = |e| self.late("copying from it", e);
        let mut at = at;
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(STAGING / 2) {
            // SAFETY: the second half is used by reads alone, one at a time under the lock, and each waits for its end.
            unsafe {
                let part = std::slice::from_raw_parts_mut(staging.memory.add(STAGING / 2), chunk.len());
                result::memcpy_dtoh_async(part, at, self.stream).map_err(failed)?;
                result::stream::synchronize(self.stream).map_err(failed)?;
                chunk.copy_from_slice(part);
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn load(&mut self, module: &'static Module) -> Result<()> {
        if self.modules.contains_key(module.name) {
            return Ok(());
        }
        self.enter()?;
        let handle = self.compile(module)?;
        if let Err(e) = module.entries.iter().try_for_each(|e| self.function(handle, e)) {
            // SAFETY: just loaded, and nothing runs from it.
            let _ = unsafe { result::module::unload(handle) };
            return Err(e);
        }
        self.modules.insert(module.name, handle);
        Ok(())
    }

    fn forget(&mut self, _: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.enter()?;
        let name = launch.call.entry.name;
        let Some(&function) = self.functions.get(name) else { invalid!("{name}: its module is not loaded") };
        let block = launch.call.parameters.as_ptr();
        // SAFETY: offsets lie in the block, as the registry laid it out from the PTX itself; the kernel copies the values
        // during the call; buffers are the session's.
        unsafe {
            let mut pointers: Vec<*mut c_void> =
                launch.call.entry.parameters.iter().map(|(offset, _)| block.add(*offset).cast_mut().cast()).collect();
            let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
            result::launch_kernel(function, (gx, gy, gz), (bx, by, bz), launch.shared, self.stream, &mut pointers)
        }
        .map_err(|e| self.failed(&format!("launching {name}"), e))
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream is ours.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| self.late("running what was submitted", e))
    }

    fn begin_capture(&mut self) -> Result<()> {
        self.enter()?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(|e| self.failed("starting a graph", e))
    }

    fn end_capture(&mut self) -> Result<()> {
        self.enter()?;
        let failed = |e| self.failed("building a graph", e);
        // SAFETY: a capture was begun on this stream; the graph is destroyed once it is instantiated.
        let graph = unsafe { result::stream::end_capture(self.stream) }.map_err(failed)?;
        let made = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0)) };
        let _ = unsafe { result::graph::destroy(graph) };
        let old = self.graph.replace(made.map_err(failed)?);
        if let Some(old) = old {
            // SAFETY: nothing else holds it.
            let _ = unsafe { result::graph::exec_destroy(old) };
        }
        Ok(())
    }

    fn replay(&mut self) -> Result<()> {
        self.enter()?;
        let Some(graph) = self.graph else { invalid!("{}: nothing was captured", self.name()) };
        // SAFETY: graph and stream are ours.
        unsafe { result::graph::launch(graph, self.stream) }.map_err(|e| self.late("running a program", e))
    }
}

impl Drop for GpuDriver {
    /// Errors are of no use here: after a lost device every call fails.
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: everything was made by this driver and is freed once, after the work that uses it.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            if let Some(graph) = self.graph {
                let _ = result::graph::exec_destroy(graph);
            }
            for at in &self.allocations {
                let _ = result::free_sync(*at);
            }
            for module in self.modules.values() {
                let _ = result::module::unload(*module);
            }
            if !staging.memory.is_null() {
                let _ = result::free_host(staging.memory.cast());
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
