//! Linking: several PTX texts become one. There is no machine code, so what comes out is PTX, one text after the other.

use std::ffi::c_void;

use cudarc::driver::sys::CUjitInputType_enum as I;

use super::module::{self, Image, Options};
use super::{In, Out, Text};
use crate::driver::{Driver, Link};
use crate::status::{Result, Status};

/// The archive of the device's own functions, which are the emulator's here.
const RUNTIME: &str = "cudadevrt";

/// Adds an input, named for messages.
fn add(d: &mut Driver, link: u64, kind: u32, bytes: &[u8], name: &str) -> Result {
    let log = d.links.get(link, d.name)?.log;
    let is = |k: I| kind == k as u32;
    let refuse = |why: String| Err((Status::CUDA_ERROR_NO_BINARY_FOR_GPU, format!("{name}: {why}")));
    let text = match () {
        () if is(I::CU_JIT_INPUT_LIBRARY) && name.contains(RUNTIME) => return Ok(()),
        () if is(I::CU_JIT_INPUT_PTX) || is(I::CU_JIT_INPUT_CUBIN) || is(I::CU_JIT_INPUT_FATBINARY) => {
            module::text(Image::of(bytes)).or_else(refuse)
        }
        () => refuse("machine code or NVVM's own form, of which nothing is emulated: link PTX".into()),
    };
    let text = module::told(d, text, log)?;
    let all = &mut d.links.get_mut(link, d.name)?.text;
    all.push_str(&text);
    all.push('\n');
    Ok(())
}

calls! {
    cuLinkCreate_v2(count: u32, options: In<u32>, values: *mut *mut c_void, out: Out<u64>) Context |d| {
        let options = Options::new(count, options, values);
        let log = options.error_log();
        module::put_log(options.info_log(), "");
        module::put_log(log, "");
        let call = d.here();
        out.put(d.links.insert(Link { text: String::new(), image: vec![], log, call }))
    };
    cuLinkAddData_v2(
        link: u64,
        kind: u32,
        data: In<u8>,
        bytes: usize,
        name: Text,
        _count: u32,
        _options: usize,
        _values: usize
    ) Context |d| add(d, link, kind, &data.all(bytes)?, &name.text().unwrap_or_else(|_| "input".into()));
    cuLinkAddFile_v2(link: u64, kind: u32, path: Text, _count: u32, _options: usize, _values: usize) Context |d| {
        let path = path.text()?;
        let Ok(bytes) = std::fs::read(&path) else { return Err(Status::CUDA_ERROR_FILE_NOT_FOUND) };
        add(d, link, kind, &bytes, &path)
    };
    cuLinkComplete(link: u64, image: Out<*const u8>, bytes: Out<usize>) Context |d| {
        let Link { text, log, .. } = d.links.get(link, d.name)?;
        let (text, log) = (text.clone(), *log);
        let linked = module::refused(d, &text).and_then(|()| {
            let parsed = ptxsim::Module::parse("linked.ptx", &text);
            parsed.map(drop).map_err(|e| (Status::CUDA_ERROR_INVALID_PTX, e.to_string()))
        });
        module::told(d, linked, log)?;
        let link = d.links.get_mut(link, d.name)?;
        link.image = text.into_bytes();
        link.image.push(0);
        image.put(link.image.as_ptr())?;
        bytes.put_if(link.image.len());
        Ok(())
    };
    cuLinkDestroy(link: u64) Driver |d| d.links.remove(link, d.name).map(drop);
}
