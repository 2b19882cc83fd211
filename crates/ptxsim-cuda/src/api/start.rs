//! Initialisation, versions, errors, entry points.

use std::ffi::{c_char, c_void};

use super::{Out, Text};
use crate::absent::NAMES;
use crate::driver::Driver;
use crate::settings::wrong;
use crate::since::has;
use crate::status::{Result, Status, texts};

/// `CU_GET_PROC_ADDRESS_SUCCESS` and `CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND`.
const FOUND: u32 = 0;
const ABSENT: u32 = 1;
/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const PER_THREAD: u64 = 2;

/// Functions that are there in several forms under one name: from which CUDA on which is meant. What takes the same arguments in all its
/// forms is not among them.
const FORMS: &[(&str, &[(i32, &str)])] = &[
    ("cuCtxCreate", &[(3020, "cuCtxCreate_v2"), (11040, "cuCtxCreate_v3"), (12050, "cuCtxCreate_v4")]),
    ("cuGetProcAddress", &[(11030, "cuGetProcAddress"), (12000, "cuGetProcAddress_v2")]),
    ("cuGraphAddDependencies", &[(10000, "cuGraphAddDependencies"), (12030, "cuGraphAddDependencies_v2")]),
    ("cuGraphAddKernelNode", &[(10000, "cuGraphAddKernelNode"), (12000, "cuGraphAddKernelNode_v2")]),
    (
        "cuGraphExecKernelNodeSetParams",
        &[(10010, "cuGraphExecKernelNodeSetParams"), (12000, "cuGraphExecKernelNodeSetParams_v2")],
    ),
    ("cuGraphAddNode", &[(12020, "cuGraphAddNode"), (12030, "cuGraphAddNode_v2")]),
    ("cuGraphExecUpdate", &[(10020, "cuGraphExecUpdate"), (12000, "cuGraphExecUpdate_v2")]),
    ("cuGraphGetEdges", &[(10000, "cuGraphGetEdges"), (12030, "cuGraphGetEdges_v2")]),
    ("cuGraphInstantiate", &[(10000, "cuGraphInstantiate_v2"), (12000, "cuGraphInstantiateWithFlags")]),
    ("cuGraphKernelNodeGetParams", &[(10000, "cuGraphKernelNodeGetParams"), (12000, "cuGraphKernelNodeGetParams_v2")]),
    ("cuGraphKernelNodeSetParams", &[(10000, "cuGraphKernelNodeSetParams"), (12000, "cuGraphKernelNodeSetParams_v2")]),
    ("cuGraphNodeGetDependencies", &[(10000, "cuGraphNodeGetDependencies"), (12030, "cuGraphNodeGetDependencies_v2")]),
    (
        "cuGraphNodeGetDependentNodes",
        &[(10000, "cuGraphNodeGetDependentNodes"), (12030, "cuGraphNodeGetDependentNodes_v2")],
    ),
    ("cuGraphRemoveDependencies", &[(10000, "cuGraphRemoveDependencies"), (12030, "cuGraphRemoveDependencies_v2")]),
    ("cuMemAdvise", &[(8000, "cuMemAdvise"), (12020, "cuMemAdvise_v2")]),
    ("cuMemPrefetchAsync", &[(8000, "cuMemPrefetchAsync"), (12020, "cuMemPrefetchAsync_v2")]),
    ("cuStreamGetCaptureInfo", &[(11030, "cuStreamGetCaptureInfo_v2"), (12030, "cuStreamGetCaptureInfo_v3")]),
];

/// The function that a program of this CUDA means by a name without a version, if the driver has it.
fn address(d: &Driver, name: &str, version: i32) -> Option<*mut c_void> {
    let all = super::all();
    let (driver, version) = (d.settings.driver, version.min(d.settings.driver));
    let find = |name: &str| all.iter().find(|(known, _)| *known == name && has(driver, name)).map(|(_, at)| *at);
    if let Some((_, forms)) = FORMS.iter().find(|(known, _)| *known == name) {
        return find(forms.iter().rev().find(|(from, _)| *from <= version)?.1);
    }
    ["_v3", "_v2", ""].iter().find_map(|suffix| find(&format!("{name}{suffix}")))
}

/// Stops the program where a function is to fail that there is not: it would never be called.
fn known(d: &Driver) {
    let all = super::all();
    let exists = |name: &str| all.iter().any(|(known, _)| *known == name) || NAMES.contains(&name);
    if let Some(name) = d.settings.fail.iter().map(|rule| &rule.name).find(|name| !exists(name)) {
        let like = ["_v2", "_v3"].iter().map(|suffix| format!("{name}{suffix}")).find(|name| exists(name));
        let hint = like.map_or(String::new(), |like| format!(" (is {like} meant?)"));
        wrong("PTXSIM_FAIL", name, &format!("a function by its full name, as PTXSIM_CALLS lists it{hint}"));
    }
}

/// The answer to what is asked for by names with `_ptsz` and `_ptds`.
fn legacy_only(d: &Driver, flags: u64) -> Result {
    if flags & PER_THREAD == 0 {
        return Ok(());
    }
    let text = "functions whose default stream is the thread's own are not emulated: name it by CU_STREAM_PER_THREAD";
    Err(d.wrong(text, Status::CUDA_ERROR_NOT_SUPPORTED))
}

calls! {
    cuInit(flags: u32) Nothing |d| {
        if flags != 0 {
            return Err(d.wrong("flags must be 0", Status::CUDA_ERROR_INVALID_VALUE));
        }
        known(d);
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
    cuGetProcAddress_v2(name: Text, at: Out<*mut c_void>, version: i32, flags: u64, state: Out<u32>) Nothing |d| {
        legacy_only(d, flags)?;
        let found = address(d, &name.text()?, version);
        state.put_if(if found.is_some() { FOUND } else { ABSENT });
        at.put(found.unwrap_or(std::ptr::null_mut()))?;
        found.map(drop).ok_or(Status::CUDA_ERROR_NOT_FOUND)
    };
    // Tables by which NVIDIA's own libraries reach what is in no reference; NVRTC asks for one and does without.
    cuGetExportTable(table: Out<*const c_void>, _id: usize) Nothing |_| {
        table.put_if(std::ptr::null());
        Err(Status::CUDA_ERROR_NOT_FOUND)
    };
    cuGetProcAddress(name: Text, at: Out<*mut c_void>, version: i32, flags: u64) Nothing |d| {
        legacy_only(d, flags)?;
        let found = address(d, &name.text()?, version);
        at.put(found.unwrap_or(std::ptr::null_mut()))?;
        found.map(drop).ok_or(Status::CUDA_ERROR_NOT_FOUND)
    };
}
