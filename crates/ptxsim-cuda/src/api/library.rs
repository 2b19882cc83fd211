//! Libraries: PTX that is loaded once and used in every context, and kernels of them, which stand for functions.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};

use super::module::{self, Image, Options};
use super::{In, Out, Outs, Text};
use crate::driver::{CURRENT, Driver, Library, LibraryKernel};
use crate::status::{Result, Status};

/// The module that a library is in the current context.
fn module_of(d: &mut Driver, library: u64) -> Result<u64> {
    let context = d.current()?;
    let Library { text, modules, .. } = d.libraries.get(library, d.name)?;
    if let Some(module) = modules.get(&context).copied().filter(|m| d.modules.has(*m)) {
        return Ok(module);
    }
    let text = text.clone();
    let loaded = module::load(d, &text);
    let module = module::told(d, loaded, None)?;
    d.libraries.get_mut(library, d.name)?.modules.insert(context, module);
    Ok(module)
}

/// The function that a handle means in the current context: its own, or that of a library's kernel.
pub fn resolve(d: &mut Driver, handle: u64) -> Result<u64> {
    if !d.kernels.made(handle) {
        return d.functions.get(handle, d.name).map(|_| handle);
    }
    let LibraryKernel { library, name } = d.kernels.get(handle, d.name)?;
    let (library, name) = (*library, name.clone());
    let module = module_of(d, library)?;
    module::function(d, module, &name)
}

fn load(d: &mut Driver, out: &Out<u64>, image: Image, options: &Options) -> Result {
    let log = options.error_log();
    module::put_log(options.info_log(), "");
    let text = module::told(d, module::image(image), log)?;
    let current = CURRENT.with_borrow(|stack| stack.last().copied()).filter(|c| d.contexts.has(*c));
    let mut modules = HashMap::new();
    if let Some(context) = current {
        let loaded = module::load(d, &text);
        modules.insert(context, module::told(d, loaded, log)?);
    }
    out.put(d.libraries.insert(Library { text, modules, kernels: HashMap::new() }))
}

fn kernel(d: &mut Driver, library: u64, name: &str) -> Result<u64> {
    if let Some(kernel) = d.libraries.get(library, d.name)?.kernels.get(name) {
        return Ok(*kernel);
    }
    let module = module_of(d, library)?;
    module::function(d, module, name)?;
    let handle = d.kernels.insert(LibraryKernel { library, name: name.into() });
    d.libraries.get_mut(library, d.name)?.kernels.insert(name.into(), handle);
    Ok(handle)
}

/// Names of all kernels of a library.
fn names(d: &mut Driver, library: u64) -> Result<Vec<String>> {
    let module = module_of(d, library)?;
    Ok(d.modules.get(module, d.name)?.module.kernels().iter().map(|k| k.name.clone()).collect())
}

calls! {
    cuLibraryLoadData(
        library: Out<u64>,
        image: *const u8,
        options: In<u32>,
        values: *mut *mut c_void,
        count: u32,
        _library_options: usize,
        _library_values: usize,
        _library_count: u32
    ) Driver |d| load(d, &library, Image::at(image), &Options::new(count, options, values));
    cuLibraryLoadFromFile(
        library: Out<u64>,
        path: Text,
        options: In<u32>,
        values: *mut *mut c_void,
        count: u32,
        _library_options: usize,
        _library_values: usize,
        _library_count: u32
    ) Driver |d| {
        let Ok(bytes) = std::fs::read(path.text()?) else { return Err(Status::CUDA_ERROR_FILE_NOT_FOUND) };
        load(d, &library, Image::of(&bytes), &Options::new(count, options, values))
    };
    cuLibraryUnload(library: u64) Driver |d| {
        let Library { modules, kernels, .. } = d.libraries.remove(library, d.name)?;
        for kernel in kernels.values() {
            d.kernels.remove(*kernel, d.name)?;
        }
        for module in modules.values().filter(|m| d.modules.has(**m)).copied().collect::<Vec<_>>() {
            module::unload(d, module)?;
        }
        Ok(())
    };
    cuLibraryGetKernel(out: Out<u64>, library: u64, name: Text) Context |d| out.put(kernel(d, library, &name.text()?)?);
    cuLibraryGetKernelCount(count: Out<u32>, library: u64) Context |d| count.put(names(d, library)?.len() as u32);
    cuLibraryEnumerateKernels(kernels: Outs<u64>, count: u32, library: u64) Context |d| {
        for (i, name) in names(d, library)?.iter().take(count as usize).enumerate() {
            kernels.put(i, kernel(d, library, name)?)?;
        }
        Ok(())
    };
    cuLibraryGetModule(module: Out<u64>, library: u64) Context |d| module.put(module_of(d, library)?);
    cuLibraryGetGlobal(at: Out<u64>, bytes: Out<usize>, library: u64, name: Text) Context |d| {
        let module = module_of(d, library)?;
        let range = module::variable(d, module, &name.text()?)?;
        at.put_if(range.start);
        bytes.put_if((range.end - range.start) as usize);
        Ok(())
    };
    cuKernelGetFunction(function: Out<u64>, kernel: u64) Context |d| function.put(resolve(d, kernel)?);
    cuKernelGetLibrary(library: Out<u64>, kernel: u64) Driver |d| {
        let LibraryKernel { library: holder, .. } = d.kernels.get(kernel, d.name)?;
        library.put(*holder)
    };
    cuKernelGetName(name: Out<*const c_char>, kernel: u64) Driver |d| {
        name.put(module::kept(&d.kernels.get(kernel, d.name)?.name)?)
    };
    cuKernelGetAttribute(value: Out<i32>, which: u32, kernel: u64, _device: i32) Context |d| {
        let function = resolve(d, kernel)?;
        value.put(module::attribute(d, function, which)?)
    };
    cuKernelSetAttribute(which: u32, value: i32, kernel: u64, _device: i32) Context |d| {
        let function = resolve(d, kernel)?;
        module::set_attribute(d, function, which, value)
    };
    cuKernelSetCacheConfig(kernel: u64, _config: u32, _device: i32) Context |d| resolve(d, kernel).map(drop);
    cuKernelGetParamInfo(kernel: u64, index: usize, offset: Out<usize>, size: Out<usize>) Context |d| {
        let function = resolve(d, kernel)?;
        let (at, bytes) = module::parameter(d, function, index)?;
        offset.put(at)?;
        size.put_if(bytes);
        Ok(())
    };
}
