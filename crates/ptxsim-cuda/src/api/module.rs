//! Modules: PTX text read as the driver's compiler would, functions and variables found in it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use cudarc::driver::sys::CUfunction_attribute_enum as F;
use cudarc::driver::sys::CUjit_option_enum as J;
use ptxsim::Module;

use super::library::resolve;
use super::{In, Out, Outs, Room, Text};
use crate::card::PLAIN_SHARED;
use crate::driver::{Driver, Function, Given, Loaded};
use crate::report::{found, say};
use crate::status::{Result, Status};
use crate::work::Work;

/// Registers of a thread are the compiler's to choose, and there is none: what it is told.
const REGISTERS: i32 = 32;
/// How a fat binary begins, and what points to one.
const FAT: u32 = 0xba55_ed50;
const WRAPPER: u32 = 0x4662_43b1;
/// An entry of a fat binary that is PTX; flags of one that is compressed.
const FAT_PTX: u16 = 1;
const COMPRESSED: u64 = 0x2000 | 0x8000;

/// PTX, or a binary, as the program has it: in its memory, where only what it says itself tells how far it goes, or all of a file.
#[derive(Clone, Copy)]
pub struct Image {
    at: *const u8,
    bytes: Option<usize>,
}

impl Image {
    pub fn at(at: *const u8) -> Image {
        Image { at, bytes: None }
    }

    /// One whose length is known. It is read as long as the slice lives.
    pub fn of(bytes: &[u8]) -> Image {
        Image { at: bytes.as_ptr(), bytes: Some(bytes.len()) }
    }

    /// A number in it; nothing if the image ends before.
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        if self.bytes.is_some_and(|bytes| end > bytes) {
            return None;
        }
        // SAFETY: inside of it, or in a header that an image of its kind has.
        Some(unsafe { self.at.add(offset).cast::<T>().read_unaligned() })
    }

    /// The text that begins here, up to its zero or the image's end.
    fn text(&self, start: usize) -> String {
        let bytes = match self.bytes {
            // SAFETY: so many bytes are there.
            Some(bytes) => unsafe { std::slice::from_raw_parts(self.at.add(start), bytes.saturating_sub(start)) },
            // SAFETY: what is no binary is text that ends with a zero.
            None => unsafe { CStr::from_ptr(self.at.add(start).cast::<c_char>()) }.to_bytes(),
        };
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// The PTX text of an image, or why it has none.
pub fn text(image: Image) -> Result<String, String> {
    let mut image = image;
    let head: Option<[u8; 4]> = image.read(0);
    if head == Some(*b"\x7fELF") {
        return Err("a cubin is machine code, which is not emulated: load PTX".into());
    }
    if head.map(u32::from_le_bytes) == Some(WRAPPER) {
        if image.bytes.is_some() {
            return Err("what points to a fat binary in memory is no file's".into());
        }
        image = Image::at(image.read::<*const u8>(8).unwrap_or(std::ptr::null()));
        if image.at.is_null() {
            return Err("what points to a fat binary points to none".into());
        }
    }
    if image.read::<u32>(0) != Some(FAT) {
        return Ok(image.text(0));
    }
    let cut = || "the fat binary is shorter than its sizes say".to_string();
    let header = usize::from(image.read::<u16>(6).ok_or_else(cut)?);
    let size = image.read::<u64>(8).ok_or_else(cut)?;
    let total = usize::try_from(size).ok().and_then(|size| header.checked_add(size)).ok_or_else(cut)?;
    if image.bytes.is_some_and(|bytes| total > bytes) {
        return Err(cut());
    }
    image.bytes = Some(total);
    let mut at = header;
    let mut packed = false;
    // An entry begins with 48 bytes that say what it is.
    while let (Some(kind), Some(head), Some(len), Some(flags)) =
        (image.read::<u16>(at), image.read::<u32>(at + 4), image.read::<u64>(at + 8), image.read::<u64>(at + 40))
    {
        let start = at + head as usize;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len)).filter(|end| *end <= total);
        let end = end.filter(|end| *end > at).ok_or_else(cut)?;
        let compressed = flags & COMPRESSED != 0;
        if kind == FAT_PTX && !compressed {
            return Ok(Image { bytes: Some(end), ..image }.text(start));
        }
        packed |= kind == FAT_PTX;
        at = end;
    }
    Err(match packed {
        true => "the fat binary's PTX is compressed: build with --no-compress".into(),
        false => "the fat binary has no PTX, and machine code is not emulated: build with -gencode arch=compute_80,code=compute_80".into(),
    })
}

/// The word behind a directive: `8.1` of `.version 8.1`.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().map(str::trim).find(|l| l.starts_with(name))?;
    line[name.len()..].split([',', ' ', '\t']).find(|word| !word.is_empty())
}

/// The newest PTX that a driver reads, as 81.
fn newest(driver: i32) -> u32 {
    let (major, minor) = (driver / 1000, driver % 1000 / 10);
    (match (major, minor) {
        (11, minor) => 70 + minor,
        (12, 6) => 85,
        (12, 7..) => 79 + minor,
        (12, minor) => 80 + minor,
        (major, minor) => (major - 4) * 10 + minor,
    }) as u32
}

/// Why a driver would not compile it, before it looks at the text.
pub fn refused(d: &Driver, text: &str) -> Result<(), (Status, String)> {
    let Some(version) = directive(text, ".version") else {
        return Err((Status::CUDA_ERROR_INVALID_IMAGE, "no PTX: it has no .version".into()));
    };
    let number = version.split_once('.').and_then(|(a, b)| Some(10 * a.parse::<u32>().ok()? + b.parse::<u32>().ok()?));
    let (driver, newest) = (d.settings.driver, newest(d.settings.driver));
    if number.is_none_or(|n| n > newest) {
        let text = format!(
            "PTX .version {version} is newer than this driver, which supports CUDA {}.{} and reads .version {}.{}: set PTXSIM_DRIVER to the \
             CUDA that the PTX is of",
            driver / 1000,
            driver % 1000 / 10,
            newest / 10,
            newest % 10
        );
        return Err((Status::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, text));
    }
    let (major, minor) = d.card().map(|at| d.cards[at].card.capability).unwrap_or((8, 0));
    let target = directive(text, ".target").unwrap_or("");
    let sm = target.strip_prefix("sm_").and_then(|t| t.trim_end_matches(['a', 'f']).parse::<i32>().ok());
    if sm.is_none_or(|sm| sm > 10 * major + minor) {
        let text = format!("PTX .target {target} is not for this card (sm_{major}{minor})");
        return Err((Status::CUDA_ERROR_INVALID_PTX, text));
    }
    Ok(())
}

/// Loads a text in the current context.
pub fn load(d: &mut Driver, text: &str) -> Result<u64, (Status, String)> {
    refused(d, text)?;
    let plain = |status| (status, String::new());
    let (context, card) = (d.current().map_err(plain)?, d.card().map_err(plain)?);
    let module = Module::parse_in("module.ptx", text, &mut d.cards[card].memory)
        .map_err(|e| (Status::CUDA_ERROR_INVALID_PTX, e.to_string()))?;
    let call = d.here();
    for (_, range) in module.variables() {
        let given = Given { context, bytes: range.end - range.start, pool: 0, call: call.clone(), leaving: true };
        d.given.insert(range.start, given);
    }
    Ok(d.modules.insert(Loaded { context, module: Arc::new(module), functions: HashMap::new() }))
}

/// The text of an image that the program gave.
pub fn image(image: Image) -> Result<String, (Status, String)> {
    if image.at.is_null() {
        return Err((Status::CUDA_ERROR_INVALID_VALUE, "a null image".into()));
    }
    text(image).map_err(|why| (Status::CUDA_ERROR_NO_BINARY_FOR_GPU, why))
}

/// Options of a compilation: numbers, and values that some of them are answered in.
pub struct Options {
    count: usize,
    options: In<u32>,
    values: *mut *mut c_void,
}

impl Options {
    pub const NONE: Options = Options { count: 0, options: In::NULL, values: std::ptr::null_mut() };

    pub fn new(count: u32, options: In<u32>, values: *mut *mut c_void) -> Options {
        Options { count: count as usize, options, values }
    }

    /// Where the value of an option is.
    fn find(&self, option: J) -> Option<*mut *mut c_void> {
        let at = (0..self.count).find(|&i| self.options.at(i) == Ok(option as u32))?;
        // SAFETY: there are as many values as options.
        (!self.values.is_null()).then(|| unsafe { self.values.add(at) })
    }

    /// Where a log goes: its room, how much there is, where its length goes.
    pub fn log(&self, buffer: J, size: J) -> Option<[usize; 3]> {
        let (buffer, size) = (self.find(buffer)?, self.find(size)?);
        // SAFETY: the two values are the program's.
        let (room, bytes) = unsafe { (buffer.read_unaligned(), size.read_unaligned()) };
        Some([room as usize, bytes as usize as u32 as usize, size as usize])
    }

    pub fn error_log(&self) -> Option<[usize; 3]> {
        self.log(J::CU_JIT_ERROR_LOG_BUFFER, J::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
    }

    pub fn info_log(&self) -> Option<[usize; 3]> {
        self.log(J::CU_JIT_INFO_LOG_BUFFER, J::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
    }
}

/// Writes a log where the program has room for it.
pub fn put_log(log: Option<[usize; 3]>, text: &str) {
    let Some([room, bytes, len]) = log else { return };
    if Room::at(room).put(text, bytes as i32).is_ok() {
        // SAFETY: the value of the option that said how much room there is: the program's to be answered in.
        unsafe { (len as *mut usize).write_unaligned(text.len().min(bytes - 1)) };
    }
}

/// Tells what is wrong in the log that the program gave room for, and on standard error.
pub fn told<T>(d: &Driver, loaded: Result<T, (Status, String)>, log: Option<[usize; 3]>) -> Result<T> {
    put_log(log, loaded.as_ref().err().map_or("", |(_, text)| text.as_str()));
    loaded.map_err(|(status, text)| {
        say(&format!("{}: {text}", d.name));
        status
    })
}

fn load_with(d: &mut Driver, module: &Out<u64>, from: Image, options: &Options) -> Result {
    let loaded = image(from).and_then(|text| load(d, &text));
    put_log(options.info_log(), "");
    module.put(told(d, loaded, options.error_log())?)
}

pub fn function(d: &mut Driver, module: u64, name: &str) -> Result<u64> {
    let loaded = d.modules.get(module, d.name)?;
    if let Some(handle) = loaded.functions.get(name) {
        return Ok(*handle);
    }
    let Some(kernel) = loaded.module.kernels().iter().find(|k| k.name == name) else {
        return Err(Status::CUDA_ERROR_NOT_FOUND);
    };
    let dynamic = PLAIN_SHARED - kernel.static_shared as i32;
    let handle = d.functions.insert(Function { module, name: name.into(), dynamic });
    d.modules.get_mut(module, d.name)?.functions.insert(name.into(), handle);
    Ok(handle)
}

/// Unloads a module. Kernels of it that are queued run before, while it is there; that the program has not waited for them is reported.
pub fn unload(d: &mut Driver, handle: u64) -> Result {
    let Loaded { context, functions, .. } = d.modules.get(handle, d.name)?;
    let (context, functions) = (*context, functions.clone());
    if d.settings.free_waits {
        d.finish_context(context)?;
    }
    let users = d.queue.users(
        |work| matches!(work, Work::Kernel(kernel) if functions.values().any(|function| *function == kernel.function)),
    );
    d.noting |= !d.queue.is_reached(&users);
    d.reach(&users);
    if let Some((what, call)) = d.touched.forget(handle..handle + 1, d.queue.host()) {
        let text = format!("{}: {what} is of this module, and nobody has waited for it; it was submitted by", d.name);
        found(&text, &[&call, &d.here()]);
    }
    let Loaded { module, functions, .. } = d.modules.remove(handle, d.name)?;
    for function in functions.values() {
        d.functions.remove(*function, d.name)?;
    }
    for (_, range) in module.variables() {
        d.given.remove(&range.start);
        d.release(range.start, range.end - range.start, &d.here());
    }
    Ok(())
}

/// A text for the program, kept for good: it may hold it as long as what it is of.
pub fn kept(text: &str) -> Result<*const c_char> {
    let text = std::ffi::CString::new(text).map_err(|_| Status::CUDA_ERROR_INVALID_VALUE)?;
    Ok(text.into_raw())
}

pub fn attribute(d: &Driver, function: u64, attribute: u32) -> Result<i32> {
    let f = d.functions.get(function, d.name)?;
    let loaded = d.modules.get(f.module, d.name)?;
    let kernel = loaded.module.kernels().iter().find(|k| k.name == f.name).ok_or(Status::CUDA_ERROR_INVALID_HANDLE)?;
    let (major, minor) = d.cards[d.card()?].card.capability;
    let is = |a: F| a as u32 == attribute;
    Ok(match () {
        () if is(F::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) => kernel.max_threads.map_or(1024, |n| n as i32),
        () if is(F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) => kernel.static_shared as i32,
        () if is(F::CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES) => loaded.module.constants() as i32,
        () if is(F::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES) => kernel.local as i32,
        () if is(F::CU_FUNC_ATTRIBUTE_NUM_REGS) => REGISTERS,
        () if is(F::CU_FUNC_ATTRIBUTE_PTX_VERSION) || is(F::CU_FUNC_ATTRIBUTE_BINARY_VERSION) => 10 * major + minor,
        () if is(F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) => f.dynamic,
        () if is(F::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) => -1,
        () if attribute < F::CU_FUNC_ATTRIBUTE_MAX as u32 => 0,
        () => return Err(d.wrong(&format!("{attribute} is no attribute"), Status::CUDA_ERROR_INVALID_VALUE)),
    })
}

/// Sets an attribute of a function.
pub fn set_attribute(d: &mut Driver, function: u64, which: u32, value: i32) -> Result {
    if which != F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32 {
        return Ok(());
    }
    let fixed = attribute(d, function, F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES as u32)?;
    let most = d.cards[d.card()?].card.block_shared - fixed;
    if value < 0 || value > most {
        let text =
            format!("{value} bytes of dynamic shared memory, the most beside the kernel's own {fixed} is {most}");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
    }
    d.functions.get_mut(function, d.name)?.dynamic = value;
    Ok(())
}

/// Where a parameter begins in the block of parameters, and its size.
pub fn parameter(d: &Driver, function: u64, index: usize) -> Result<(usize, usize)> {
    let f = d.functions.get(function, d.name)?;
    let module = &d.modules.get(f.module, d.name)?.module;
    let kernel = module.kernels().iter().find(|k| k.name == f.name).ok_or(Status::CUDA_ERROR_INVALID_HANDLE)?;
    kernel.params.get(index).map(|p| (p.offset, p.size)).ok_or(Status::CUDA_ERROR_INVALID_VALUE)
}

/// A variable of a module, by its name.
pub fn variable(d: &Driver, module: u64, name: &str) -> Result<std::ops::Range<u64>> {
    let module = &d.modules.get(module, d.name)?.module;
    let range = module.variables().find(|(known, _)| *known == name).map(|(_, range)| range);
    range.ok_or(Status::CUDA_ERROR_NOT_FOUND)
}

calls! {
    cuModuleLoadData(module: Out<u64>, image: *const u8) NoCapture |d| {
        load_with(d, &module, Image::at(image), &Options::NONE)
    };
    cuModuleLoadFatBinary(module: Out<u64>, image: *const u8) NoCapture |d| {
        load_with(d, &module, Image::at(image), &Options::NONE)
    };
    cuModuleLoadDataEx(
        module: Out<u64>,
        image: *const u8,
        count: u32,
        options: In<u32>,
        values: *mut *mut c_void
    ) NoCapture |d| load_with(d, &module, Image::at(image), &Options::new(count, options, values));
    cuModuleLoad(module: Out<u64>, path: Text) NoCapture |d| {
        let Ok(bytes) = std::fs::read(path.text()?) else { return Err(Status::CUDA_ERROR_FILE_NOT_FOUND) };
        load_with(d, &module, Image::of(&bytes), &Options::NONE)
    };
    cuModuleUnload(module: u64) NoCapture |d| unload(d, module);
    cuModuleGetLoadingMode(mode: Out<u32>) Driver |_| mode.put(1);
    cuModuleGetFunction(out: Out<u64>, module: u64, name: Text) Context |d| {
        out.put(function(d, module, &name.text()?)?)
    };
    cuModuleGetFunctionCount(count: Out<u32>, module: u64) Context |d| {
        count.put(d.modules.get(module, d.name)?.module.kernels().len() as u32)
    };
    cuModuleGetGlobal_v2(at: Out<u64>, bytes: Out<usize>, module: u64, name: Text) Context |d| {
        let range = variable(d, module, &name.text()?)?;
        at.put_if(range.start);
        bytes.put_if((range.end - range.start) as usize);
        Ok(())
    };
    cuModuleEnumerateFunctions(functions: Outs<u64>, count: u32, module: u64) Context |d| {
        let kernels = d.modules.get(module, d.name)?.module.kernels();
        let names: Vec<String> = kernels.iter().take(count as usize).map(|k| k.name.clone()).collect();
        for (i, name) in names.iter().enumerate() {
            functions.put(i, function(d, module, name)?)?;
        }
        Ok(())
    };
    cuFuncGetAttribute(value: Out<i32>, which: u32, handle: u64) Context |d| {
        let function = resolve(d, handle)?;
        value.put(attribute(d, function, which)?)
    };
    cuFuncSetAttribute(handle: u64, which: u32, value: i32) Context |d| {
        let function = resolve(d, handle)?;
        set_attribute(d, function, which, value)
    };
    cuFuncGetParamInfo(handle: u64, index: usize, offset: Out<usize>, size: Out<usize>) Context |d| {
        let function = resolve(d, handle)?;
        let (at, bytes) = parameter(d, function, index)?;
        offset.put(at)?;
        size.put_if(bytes);
        Ok(())
    };
    cuFuncIsLoaded(state: Out<u32>, handle: u64) Context |d| {
        resolve(d, handle)?;
        state.put(1)
    };
    cuFuncSetCacheConfig(function: u64, _config: u32) Context |d| resolve(d, function).map(drop);
    cuFuncSetSharedMemConfig(function: u64, _config: u32) Context |d| resolve(d, function).map(drop);
    cuFuncGetModule(module: Out<u64>, handle: u64) Context |d| {
        let function = resolve(d, handle)?;
        module.put(d.functions.get(function, d.name)?.module)
    };
    cuFuncGetName(name: Out<*const c_char>, handle: u64) Context |d| {
        let function = resolve(d, handle)?;
        name.put(kept(&d.functions.get(function, d.name)?.name)?)
    };
    cuFuncLoad(function: u64) Context |d| resolve(d, function).map(drop);
}
