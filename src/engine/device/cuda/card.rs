//! The GPUs of this machine, and what one keeps for the whole process: its context and its compiled kernels.

use super::api::{self, Answer, Fault, got};
use super::staging::Staging;
use crate::engine::toolkit::cuda::cards::Chip;
use crate::engine::toolkit::cuda::{Entry, Module};
use crate::{Error, Result, device_error};
use cudarc::driver::sys;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::fmt;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// CUDA 12.1, the first whose drivers (530 and later) read our PTX.
const DRIVER: i32 = 12_010;
/// Ampere: `cp.async` and `mma.sync` on tf32 and bf16.
const CAPABILITY: (i32, i32) = (8, 0);
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
    /// Of the multiprocessors, at most, in kHz.
    pub clock_khz: u32,
    /// What the memory moves at most, in bytes per second, by its clock and width.
    pub memory_bytes_per_second: f64,
    /// Why it cannot be used.
    pub unusable: Option<String>,
}

impl Gpu {
    pub fn chip(&self) -> Chip {
        Chip::of(self.compute_capability, &self.name)
    }
}

/// Without whether it can be used.
impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ((major, minor), gb) = (self.compute_capability, self.memory_bytes as f64 / 1e9);
        let Gpu { name, multiprocessors, .. } = self;
        write!(f, "{name}, compute capability {major}.{minor}, {multiprocessors} multiprocessors, {gb:.1} GB")
    }
}

/// Whether the driver's library is there, in whatever state.
pub fn is_driver_present() -> bool {
    api::is_present()
}

/// All GPUs of this machine, one that does not answer as unusable. Errors, each one line: no driver library, an old
/// driver, none that answers.
pub fn gpus() -> Result<Vec<Gpu>> {
    let count = start()?;
    let sick = |index, e: Error| Gpu {
        index,
        name: "unknown".into(),
        compute_capability: (0, 0),
        multiprocessors: 0,
        memory_bytes: 0,
        clock_khz: 0,
        memory_bytes_per_second: 0.0,
        unusable: Some(e.to_string()),
    };
    Ok((0..count).map(|index| gpu(index).unwrap_or_else(|e| sick(index, e))).collect())
}

/// Loads and starts the driver; the number of GPUs.
fn start() -> Result<usize> {
    if !api::is_present() {
        device_error!("no NVIDIA driver here (libcuda was not found)");
    }
    // SAFETY: the call has no conditions.
    unsafe { api::cuInit(0) }.map_err(|e| error("starting the NVIDIA driver", e))?;
    let version = driver_version()?;
    if version < DRIVER {
        let name = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
        device_error!(
            "the NVIDIA driver supports CUDA {}, this program needs {}: install driver 530 or later, or use --device cpu",
            name(version),
            name(DRIVER)
        );
    }
    // SAFETY: writes one integer.
    let count = unsafe { got(0, |n| api::cuDeviceGetCount(n)) }.map_err(|e| error("counting GPUs", e))?;
    Ok(count.max(0) as usize)
}

/// The newest CUDA that the driver supports: 12010 is 12.1.
pub fn driver_version() -> Result<i32> {
    // SAFETY: writes one integer.
    unsafe { got(0, |v| api::cuDriverGetVersion(v)) }.map_err(|e| error("asking for the driver's version", e))
}

fn device(index: usize) -> Answer<api::CUdevice> {
    // SAFETY: writes one handle.
    unsafe { got(0, |d| api::cuDeviceGet(d, index as c_int)) }
}

fn attribute(device: api::CUdevice, which: sys::CUdevice_attribute) -> Answer<c_int> {
    // SAFETY: writes one integer.
    unsafe { got(0, |v| api::cuDeviceGetAttribute(v, which, device)) }
}

fn gpu(index: usize) -> Result<Gpu> {
    let failed = |e| error(&format!("asking about cuda:{index}"), e);
    let device = device(index).map_err(failed)?;
    let attribute = |which| attribute(device, which).map_err(failed);
    use sys::CUdevice_attribute_enum as A;
    let compute_capability = (
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let (major, minor) = compute_capability;
    let memory_khz = f64::from(attribute(A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?);
    let mut name = [0; 256];
    // SAFETY: writes at most so many bytes, the last a zero.
    unsafe { api::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as c_int, device) }.map_err(failed)?;
    let bits = f64::from(attribute(A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?);
    Ok(Gpu {
        index,
        name: CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().into_owned(),
        compute_capability,
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1) as u32,
        // SAFETY: writes one number.
        memory_bytes: unsafe { got(0, |n| api::cuDeviceTotalMem_v2(n, device)) }.map_err(failed)?,
        clock_khz: attribute(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?.max(0) as u32,
        // Two transfers a clock.
        memory_bytes_per_second: 2.0 * memory_khz * 1e3 * bits / 8.0,
        unusable: (compute_capability < CAPABILITY)
            .then(|| format!("compute capability {major}.{minor}, the kernels need 8.0 or later")),
    })
}

/// The GPU with this index. Errors: no driver, no such GPU (with how many there are), or one that is too old.
pub fn usable(index: usize) -> Result<Gpu> {
    let count = start().map_err(|e| e.within(format!("cuda:{index}")))?;
    if index >= count {
        device_error!("cuda:{index}: this machine has {count} GPU(s), counted from 0; `ckaad devices` lists them");
    }
    let gpu = gpu(index)?;
    if let Some(why) = &gpu.unusable {
        device_error!("cuda:{index} ({}): {why}; use --device cpu", gpu.name);
    }
    Ok(gpu)
}

pub(super) fn error(doing: &str, e: Fault) -> Error {
    Error::Device(format!("CUDA: {doing}: {e}"))
}

/// A GPU's primary context, and the kernels compiled for it so far. Kept until the process ends: sessions come and go,
/// and compiling takes longer than most of them.
pub(super) struct OpenCard {
    pub gpu: Gpu,
    context: api::CUcontext,
    functions: Mutex<HashMap<&'static str, Function>>,
    /// That of the sessions there are.
    staging: Mutex<Weak<Staging>>,
    /// When a kernel was last timed on it.
    timed: Mutex<Option<Instant>>,
}

/// A compiled kernel.
#[derive(Clone, Copy)]
pub(super) struct Function(pub api::CUfunction);

// SAFETY: handles of the driver, valid in every thread where the context is current; the context and the modules are
// never unloaded.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Send for OpenCard {}
// SAFETY: as above; the table is behind a lock.
unsafe impl Sync for OpenCard {}

static CARDS: Mutex<Option<HashMap<usize, Arc<OpenCard>>>> = Mutex::new(None);

impl OpenCard {
    /// The card with this index, opened when first asked for. Errors: those of [`usable`], or the driver's own.
    pub fn open(index: usize) -> Result<Arc<OpenCard>> {
        let mut cards = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
        let cards = cards.get_or_insert_default();
        if let Some(card) = cards.get(&index) {
            return Ok(card.clone());
        }
        let gpu = usable(index)?;
        let failed = |e| error(&format!("opening cuda:{index}"), e);
        let device = device(index).map_err(failed)?;
        // SAFETY: the device comes from the driver; the context is kept until the process ends.
        let context = unsafe { got(null_mut(), |c| api::cuDevicePrimaryCtxRetain(c, device)) }.map_err(failed)?;
        let (functions, staging, timed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let card = Arc::new(OpenCard { gpu, context, functions, staging, timed });
        cards.insert(index, card.clone());
        Ok(card)
    }

    pub fn name(&self) -> String {
        format!("cuda:{} ({})", self.gpu.index, self.gpu.name)
    }

    /// Makes the context current on this thread.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as the process.
        unsafe { api::cuCtxSetCurrent(self.context) }.map_err(|e| self.failed("entering its context", e))
    }

    /// The memory that single copies go through. The context must be current, here and when the last session lets go of it.
    pub fn staging(&self) -> Result<Arc<Staging>> {
        let mut known = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = known.upgrade() {
            return Ok(staging);
        }
        let made = Arc::new(Staging::new().map_err(|e| self.failed("allocating page-locked memory", e))?);
        *known = Arc::downgrade(&made);
        Ok(made)
    }

    /// When a kernel was last timed here, by any session.
    pub fn last_timed(&self) -> Option<Instant> {
        *self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn timed_now(&self) {
        *self.timed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub fn failed(&self, doing: &str, e: Fault) -> Error {
        error(&format!("{}: {doing}", self.name()), e)
    }

    /// Compiles those of these kernels that were not yet: one first, since the driver loads its compiler then and what is wrong
    /// with the whole is said once, then several at a time. Each is a module of its own, since a program launches a few of the many
    /// in a PTX file. The NVIDIA driver caches what it compiled on disk, by content.
    pub fn load(&self, entries: &[&'static Entry]) -> Result<()> {
        let known = |e: &&&'static Entry| self.function(e.name).is_none();
        let missing: Vec<&'static Entry> = entries.iter().filter(known).copied().collect();
        let Some((first, others)) = missing.split_first() else { return Ok(()) };
        // What is compiled stays, whatever becomes of the others: modules are never unloaded.
        let load = |entry: &&'static Entry| {
            let function = self.compile(entry)?;
            self.functions.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.name, function);
            Ok(())
        };
        load(first)?;
        others.par_iter().try_for_each(load)
    }

    pub fn function(&self, name: &str) -> Option<Function> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Compiles one kernel, with the compiler's log where that fails.
    fn compile(&self, entry: &'static Entry) -> Result<Function> {
        self.enter()?;
        let name = entry.name;
        let text = |t: String| CString::new(t).map_err(|_| Error::Device(format!("{name}: its PTX holds a zero byte")));
        let (ptx, symbol) = (text(entry.ptx()?)?, text(name.into())?);
        let mut log = vec![0u8; LOG];
        use sys::CUjit_option_enum as J;
        let mut options = [J::CU_JIT_ERROR_LOG_BUFFER, J::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG as *mut c_void];
        // SAFETY: options and values are two each; the log is as long as said and outlives the call; so does the text.
        let loaded = unsafe {
            let (image, options, values) = (ptx.as_ptr().cast(), options.as_mut_ptr(), values.as_mut_ptr());
            got(null_mut(), |m| api::cuModuleLoadDataEx(m, image, 2, options, values))
        };
        let module = loaded.map_err(|e| {
            let log = String::from_utf8_lossy(log.split(|b| *b == 0).next().unwrap_or_default());
            let log = log.trim().lines().collect::<Vec<_>>().join("; ");
            let Module { name: file, .. } = entry.module();
            Error::Device(format!("{}: {log}", self.failed(&format!("compiling {name} of {file}.ptx"), e)))
        })?;
        // SAFETY: the module was just loaded and is never unloaded.
        let function = unsafe { got(null_mut(), |f| api::cuModuleGetFunction(f, module, symbol.as_ptr())) };
        let function = function.map_err(|e| self.failed(&format!("finding {name} in its module"), e))?;
        self.allow_shared(function).map_err(|e| self.failed(&format!("preparing {name}"), e))?;
        Ok(Function(function))
    }

    /// Lets launches give a kernel all the shared memory that a block can have beside the kernel's own; without, 48 KiB.
    fn allow_shared(&self, function: api::CUfunction) -> Answer {
        use sys::CUfunction_attribute_enum as F;
        let most = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most = attribute(device(self.gpu.index)?, most)?;
        // SAFETY: the function is of a module that is never unloaded.
        unsafe {
            let fixed = got(0, |v| api::cuFuncGetAttribute(v, F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function))?;
            api::cuFuncSetAttribute(function, F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most - fixed)
        }
    }
}
