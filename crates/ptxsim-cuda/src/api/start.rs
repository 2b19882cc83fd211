//! Initialisation, versions, errors, entry points.

use std::ffi::{c_char, c_void};

use super::{Out, Text};
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
    ("cuCtxGetDevice", &[(2000, "cuCtxGetDevice"), (13000, "cuCtxGetDevice_v2")]),
    ("cuCtxSynchronize", &[(2000, "cuCtxSynchronize"), (13000, "cuCtxSynchronize_v2")]),
    ("cuGetProcAddress", &[(11030, "cuGetProcAddress"), (12000, "cuGetProcAddress_v2")]),
    ("cuGraphAddDependencies", &[(10000, "cuGraphAddDependencies"), (12030, "cuGraphAddDependencies_v2")]),
    ("cuGraphAddKernelNode", &[(10000, "cuGraphAddKernelNode"), (12000, "cuGraphAddKernelNode_v2")]),
    (
        "cuGraphExecKernelNodeSetParams",
        &[(10010, "cuGraphExecKernelNodeSetParams"), (12000, "cuGraphExecKernelNodeSetParams_v2")],
    ),
    ("cuGraphAddNode", &[(12020, "cuGraphAddNode"), (12030, "cuGraphAddNode_v2"), (13040, "cuGraphAddNode_v3")]),
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
    ("cuGraphNodeSetParams", &[(12020, "cuGraphNodeSetParams"), (13040, "cuGraphNodeSetParams_v2")]),
    ("cuGraphRemoveDependencies", &[(10000, "cuGraphRemoveDependencies"), (12030, "cuGraphRemoveDependencies_v2")]),
    ("cuLaunchHostFunc", &[(10000, "cuLaunchHostFunc"), (13020, "cuLaunchHostFunc_v2")]),
    ("cuMemAdvise", &[(8000, "cuMemAdvise"), (12020, "cuMemAdvise_v2")]),
    ("cuMemPrefetchAsync", &[(8000, "cuMemPrefetchAsync"), (12020, "cuMemPrefetchAsync_v2")]),
    ("cuMemcpy3DBatchAsync", &[(12080, "cuMemcpy3DBatchAsync"), (13000, "cuMemcpy3DBatchAsync_v2")]),
    ("cuMemcpyBatchAsync", &[(12080, "cuMemcpyBatchAsync"), (13000, "cuMemcpyBatchAsync_v2")]),
    ("cuMulticastBindAddr", &[(12010, "cuMulticastBindAddr"), (13010, "cuMulticastBindAddr_v2")]),
    ("cuMulticastBindMem", &[(12010, "cuMulticastBindMem"), (13010, "cuMulticastBindMem_v2")]),
    ("cuStreamBatchMemOp", &[(8000, "cuStreamBatchMemOp"), (11070, "cuStreamBatchMemOp_v2")]),
    (
        "cuStreamGetCaptureInfo",
        &[
            (10010, "cuStreamGetCaptureInfo"),
            (11030, "cuStreamGetCaptureInfo_v2"),
            (12030, "cuStreamGetCaptureInfo_v3"),
        ],
    ),
    ("cuStreamGetCtx", &[(9020, "cuStreamGetCtx"), (12050, "cuStreamGetCtx_v2")]),
    (
        "cuStreamUpdateCaptureDependencies",
        &[(11030, "cuStreamUpdateCaptureDependencies"), (12030, "cuStreamUpdateCaptureDependencies_v2")],
    ),
    ("cuStreamWaitValue32", &[(8000, "cuStreamWaitValue32"), (11070, "cuStreamWaitValue32_v2")]),
    ("cuStreamWaitValue64", &[(9000, "cuStreamWaitValue64"), (11070, "cuStreamWaitValue64_v2")]),
    ("cuStreamWriteValue32", &[(8000, "cuStreamWriteValue32"), (11070, "cuStreamWriteValue32_v2")]),
    ("cuStreamWriteValue64", &[(9000, "cuStreamWriteValue64"), (11070, "cuStreamWriteValue64_v2")]),
];

/// The function that a program of this CUDA means by a name without a version, if the driver has it.
fn address(d: &Driver, name: &str, version: i32) -> Option<*mut c_void> {
    let (driver, version) = (d.settings.driver, version.min(d.settings.driver));
    let find = |name: &str| super::find(name).filter(|_| has(driver, name));
    if let Some((_, forms)) = FORMS.iter().find(|(known, _)| *known == name) {
        return find(forms.iter().rev().find(|(from, _)| *from <= version)?.1);
    }
    ["_v3", "_v2", ""].iter().find_map(|suffix| find(&format!("{name}{suffix}")))
}

/// Stops the program where a function is to fail that there is not: it would never be called.
fn known(d: &Driver) {
    let exists = |name: &str| super::find(name).is_some();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What has several forms here is asked for by a version, unless all its forms take the same arguments.
    #[test]
    fn functions_with_several_forms_are_told_apart() {
        let names: Vec<&str> =
            super::super::all().into_iter().chain(crate::absent::all()).map(|(name, _)| name).collect();
        let plain =
            |name: &'static str| ["_v2", "_v3", "_v4"].iter().find_map(|v| name.strip_suffix(v)).unwrap_or(name);
        for name in &names {
            let forms = names.iter().filter(|other| plain(other) == plain(name)).count();
            let known = FORMS.iter().find(|(known, _)| *known == plain(name));
            if forms > 1 && !["cuDeviceGetUuid", "cuEventElapsedTime"].contains(&plain(name)) {
                let forms = known.unwrap_or_else(|| panic!("{name} has several forms")).1;
                assert!(forms.iter().any(|(_, form)| form == name), "{name}");
            }
        }
        for (from, name) in FORMS.iter().flat_map(|(_, forms)| *forms) {
            assert!(crate::api::find(name).is_some() && has(*from, name), "{name} is there from {from} on");
        }
    }
}
