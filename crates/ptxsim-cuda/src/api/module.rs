//! Modules: PTX text read as the driver's compiler would, functions and variables found in it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use cudarc::driver::sys::CUfunction_attribute_enum as F;
use cudarc::driver::sys::CUjit_option_enum as J;
use ptxsim::Module;

use super::{In, Out, Room, Text};
use crate::card::PLAIN_SHARED;
use crate::driver::{Driver, Function, Given, Loaded};
use crate::status::{Result, Status};

/// Registers of a thread are the compiler's to choose, and there is none: what it is told.
const REGISTERS: i32 = 32;
/// How a fat binary begins, and what points to one.
const FAT: u32 = 0xba55_ed50;
const WRAPPER: u32 = 0x4662_43b1;
/// An entry of a fat binary that is PTX; flags of one that is compressed.
const FAT_PTX: u16 = 1;
const COMPRESSED: u64 = 0x2000 | 0x8000;

/// Bytes at `at` of an image, as the program says that it has them.
fn read<T: Copy>(at: *const u8, offset: usize) -> T {
    // SAFETY: an image has a header of its kind; its sizes are followed no further than they say.
    unsafe { at.add(offset).cast::<T>().read_unaligned() }
}

/// The PTX text of an image, or why it has none.
fn text(image: *const u8) -> Result<String, String> {
    let mut image = image;
    let head: [u8; 4] = read(image, 0);
    if head == *b"\x7fELF" {
        return Err("a cubin is machine code, which is not emulated: load PTX".into());
    }
    if u32::from_le_bytes(head) == WRAPPER {
        image = read::<*const u8>(image, 8);
    }
    if read::<u32>(image, 0) != FAT {
        // SAFETY: what is no binary is text that ends with a zero.
        let text = unsafe { CStr::from_ptr(image.cast::<c_char>()) };
        return Ok(text.to_string_lossy().into_owned());
    }
    let (header, size) = (usize::from(read::<u16>(image, 6)), read::<u64>(image, 8) as usize);
    let mut at = header;
    let mut packed = false;
    while at + 48 <= header + size {
        let (kind, head, len): (u16, u32, u64) = (read(image, at), read(image, at + 4), read(image, at + 8));
        let compressed = read::<u64>(image, at + 40) & COMPRESSED != 0;
        if kind == FAT_PTX && !compressed {
            let start = at + head as usize;
            let bytes: Vec<u8> = (0..len as usize).map(|i| read(image, start + i)).take_while(|b| *b != 0).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        packed |= kind == FAT_PTX;
        at += head as usize + len as usize;
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
fn refused(d: &Driver, text: &str) -> Result<(), (Status, String)> {
    let Some(version) = directive(text, ".version") else {
        return Err((Status::CUDA_ERROR_INVALID_IMAGE, "no PTX: it has no .version".into()));
    };
    let number = version.split_once('.').and_then(|(a, b)| Some(10 * a.parse::<u32>().ok()? + b.parse::<u32>().ok()?));
    if number.is_none_or(|n| n > newest(d.settings.driver)) {
        let text = format!("PTX .version {version} is newer than this driver (CUDA {})", d.settings.driver);
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

fn load(d: &mut Driver, image: *const u8, name: &str) -> Result<u64, (Status, String)> {
    if image.is_null() {
        return Err((Status::CUDA_ERROR_INVALID_VALUE, "a null image".into()));
    }
    let text = text(image).map_err(|why| (Status::CUDA_ERROR_NO_BINARY_FOR_GPU, why))?;
    refused(d, &text)?;
    let plain = |status| (status, String::new());
    let (context, card) = (d.current().map_err(plain)?, d.card().map_err(plain)?);
    let module = Module::parse_in(name, &text, &mut d.cards[card].memory)
        .map_err(|e| (Status::CUDA_ERROR_INVALID_PTX, e.to_string()))?;
    let call = d.here();
    for (_, range) in module.variables() {
        let given = Given { context, bytes: range.end - range.start, call: call.clone(), leaving: true };
        d.given.insert(range.start, given);
    }
    Ok(d.modules.insert(Loaded { context, module: Arc::new(module), functions: HashMap::new() }))
}

/// Loads, and tells what is wrong in the logs that the program gave room for.
fn load_with(
    d: &mut Driver,
    module: &Out<u64>,
    image: *const u8,
    options: &[(u32, *mut c_void)],
    put_size: impl Fn(usize, usize),
) -> Result {
    let found = |option: J| options.iter().position(|(o, _)| *o == option as u32);
    let loaded = load(d, image, "module.ptx");
    let log = loaded.as_ref().err().map_or("", |(_, text)| text.as_str());
    for (buffer, size, text) in [
        (J::CU_JIT_ERROR_LOG_BUFFER, J::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, log),
        (J::CU_JIT_INFO_LOG_BUFFER, J::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, ""),
    ] {
        if let (Some(buffer), Some(size)) = (found(buffer), found(size)) {
            // SAFETY: the value of this option is where the log goes.
            let room = unsafe { std::mem::transmute::<*mut c_void, Room>(options[buffer].1) };
            let bytes = options[size].1 as usize as u32 as i32;
            if room.put(text, bytes).is_ok() {
                put_size(size, text.len().min(bytes as usize - 1));
            }
        }
    }
    match loaded {
        Ok(handle) => module.put(handle),
        Err((status, text)) => {
            eprintln!("ptxsim-cuda: {}: {text}", d.name);
            Err(status)
        }
    }
}

fn function(d: &mut Driver, module: u64, name: &str) -> Result<u64> {
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

fn attribute(d: &Driver, function: u64, attribute: u32) -> Result<i32> {
    let f = d.functions.get(function, d.name)?;
    let loaded = d.modules.get(f.module, d.name)?;
    let kernel = loaded.module.kernels().iter().find(|k| k.name == f.name).ok_or(Status::CUDA_ERROR_INVALID_HANDLE)?;
    let (major, minor) = d.cards[d.card()?].card.capability;
    let is = |a: F| a as u32 == attribute;
    Ok(match () {
        () if is(F::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) => kernel.max_threads.map_or(1024, |n| n as i32),
        () if is(F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES) => kernel.static_shared as i32,
        () if is(F::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES) => kernel.local as i32,
        () if is(F::CU_FUNC_ATTRIBUTE_NUM_REGS) => REGISTERS,
        () if is(F::CU_FUNC_ATTRIBUTE_PTX_VERSION) || is(F::CU_FUNC_ATTRIBUTE_BINARY_VERSION) => 10 * major + minor,
        () if is(F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) => f.dynamic,
        () if is(F::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) => -1,
        () if attribute < F::CU_FUNC_ATTRIBUTE_MAX as u32 => 0,
        () => return Err(d.wrong(&format!("{attribute} is no attribute"), Status::CUDA_ERROR_INVALID_VALUE)),
    })
}

calls! {
    cuModuleLoadData(module: Out<u64>, image: *const u8) NoCapture |d| load_with(d, &module, image, &[], |_, _| ());
    cuModuleLoadFatBinary(module: Out<u64>, image: *const u8) NoCapture |d| load_with(d, &module, image, &[], |_, _| ());
    cuModuleLoadDataEx(
        module: Out<u64>,
        image: *const u8,
        count: u32,
        options: In<u32>,
        values: *mut *mut c_void
    ) NoCapture |d| {
        let count = count as usize;
        let given: Vec<*mut c_void> = if count == 0 { vec![] } else { In(values.cast_const()).all(count)? };
        let options: Vec<(u32, *mut c_void)> = options.all(count)?.into_iter().zip(given).collect();
        // SAFETY: the values are as many as the options, and the program's to be answered in.
        load_with(d, &module, image, &options, |at, bytes| unsafe { values.add(at).write(bytes as *mut c_void) })
    };
    cuModuleLoad(module: Out<u64>, path: Text) NoCapture |d| {
        let path = path.text()?;
        let Ok(mut bytes) = std::fs::read(&path) else { return Err(Status::CUDA_ERROR_FILE_NOT_FOUND) };
        bytes.push(0);
        load_with(d, &module, bytes.as_ptr(), &[], |_, _| ())
    };
    cuModuleUnload(module: u64) NoCapture |d| {
        let Loaded { module, functions, .. } = d.modules.remove(module, d.name)?;
        for function in functions.values() {
            d.functions.remove(*function, d.name)?;
        }
        for (_, range) in module.variables() {
            d.given.remove(&range.start);
            d.release(range.start, range.end - range.start, &d.here());
        }
        Ok(())
    };
    cuModuleGetLoadingMode(mode: Out<u32>) Driver |_| mode.put(1);
    cuModuleGetFunction(out: Out<u64>, module: u64, name: Text) Context |d| {
        out.put(function(d, module, &name.text()?)?)
    };
    cuModuleGetFunctionCount(count: Out<u32>, module: u64) Context |d| {
        count.put(d.modules.get(module, d.name)?.module.kernels().len() as u32)
    };
    cuModuleGetGlobal_v2(at: Out<u64>, bytes: Out<usize>, module: u64, name: Text) Context |d| {
        let name = name.text()?;
        let module = &d.modules.get(module, d.name)?.module;
        let range = module.variables().find(|(known, _)| *known == name).map(|(_, range)| range);
        let range = range.ok_or(Status::CUDA_ERROR_NOT_FOUND)?;
        at.put_if(range.start);
        bytes.put_if((range.end - range.start) as usize);
        Ok(())
    };
    cuFuncGetAttribute(value: Out<i32>, which: u32, function: u64) Context |d| value.put(attribute(d, function, which)?);
    cuFuncSetAttribute(function: u64, which: u32, value: i32) Context |d| {
        if which != F::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32 {
            return Ok(());
        }
        let fixed = attribute(d, function, F::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES as u32)?;
        let most = d.cards[d.card()?].card.block_shared - fixed;
        if value < 0 || value > most {
            let text = format!("{value} bytes of dynamic shared memory, the most beside the kernel's own {fixed} is {most}");
            return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        }
        d.functions.get_mut(function, d.name)?.dynamic = value;
        Ok(())
    };
    cuFuncSetCacheConfig(function: u64, _config: u32) Context |d| d.functions.get(function, d.name).map(drop);
    cuFuncSetSharedMemConfig(function: u64, _config: u32) Context |d| d.functions.get(function, d.name).map(drop);
    cuFuncGetModule(module: Out<u64>, function: u64) Context |d| module.put(d.functions.get(function, d.name)?.module);
    cuFuncGetName(name: Out<*const c_char>, function: u64) Context |d| {
        let text = d.functions.get(function, d.name)?.name.clone();
        // Kept for good: the program may hold it as long as the function.
        let text = std::ffi::CString::new(text).map_err(|_| Status::CUDA_ERROR_INVALID_VALUE)?;
        name.put(text.into_raw())
    };
    cuFuncLoad(function: u64) Context |d| d.functions.get(function, d.name).map(drop);
}
