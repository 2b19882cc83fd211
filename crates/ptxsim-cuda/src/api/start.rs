//! Initialisation, versions, errors, entry points.

use std::ffi::{c_char, c_void};

use super::{Out, Text};
use crate::status::{Status, texts};

/// `CU_GET_PROC_ADDRESS_SUCCESS` and `CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND`.
const FOUND: u32 = 0;
const ABSENT: u32 = 1;

/// The function that a program means by a name without a version: the newest that is here.
fn address(name: &str) -> Option<*mut c_void> {
    let all = super::all();
    // Renamed with CUDA 12.
    let name = if name == "cuGraphInstantiate" { "cuGraphInstantiateWithFlags" } else { name };
    let find = |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, at)| *at);
    ["_v4", "_v3", "_v2", ""].iter().find_map(|version| find(&format!("{name}{version}")))
}

calls! {
    cuInit(flags: u32) Nothing |d| {
        if flags != 0 {
            return Err(d.wrong("flags must be 0", Status::CUDA_ERROR_INVALID_VALUE));
        }
        d.initialised = true;
        Ok(())
    };
    cuDriverGetVersion(version: Out<i32>) Nothing |d| version.put(d.settings.driver);
    cuGetErrorName(error: u32, text: Out<*const c_char>) Nothing |_| match texts(error) {
        Some((name, _)) => text.put(name.as_ptr()),
        None => text.put(std::ptr::null()).and(Err(Status::CUDA_ERROR_INVALID_VALUE)),
    };
    cuGetErrorString(error: u32, text: Out<*const c_char>) Nothing |_| match texts(error) {
        Some((_, meaning)) => text.put(meaning.as_ptr()),
        None => text.put(std::ptr::null()).and(Err(Status::CUDA_ERROR_INVALID_VALUE)),
    };
    cuGetProcAddress_v2(name: Text, at: Out<*mut c_void>, _version: i32, _flags: u64, state: Out<u32>) Nothing |_| {
        let found = address(&name.text()?);
        state.put_if(if found.is_some() { FOUND } else { ABSENT });
        at.put(found.unwrap_or(std::ptr::null_mut()))?;
        found.map(drop).ok_or(Status::CUDA_ERROR_NOT_FOUND)
    };
    // Tables by which NVIDIA's own libraries reach what is in no reference; NVRTC asks for one and does without.
    cuGetExportTable(table: Out<*const c_void>, _id: usize) Nothing |_| {
        table.put_if(std::ptr::null());
        Err(Status::CUDA_ERROR_NOT_FOUND)
    };
    cuGetProcAddress(name: Text, at: Out<*mut c_void>, _version: i32, _flags: u64) Nothing |_| {
        let found = address(&name.text()?);
        at.put(found.unwrap_or(std::ptr::null_mut()))?;
        found.map(drop).ok_or(Status::CUDA_ERROR_NOT_FOUND)
    };
}
