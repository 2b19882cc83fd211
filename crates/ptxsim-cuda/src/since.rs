//! Which CUDA brought a function that is real here, by cudarc's lists: what is newer than the driver, nobody finds.

/// Functions by the first version that has them. All others are older than the oldest list, that of 11.4.
const SINCE: &[(i32, &[&str])] = &[
    (11_060, &["cuGraphNodeGetEnabled", "cuGraphNodeSetEnabled"]),
    (11_070, &["cuModuleGetLoadingMode"]),
    (11_080, &["cuLaunchKernelEx"]),
    (
        12_000,
        &[
            "cuCtxGetId",
            "cuGetProcAddress_v2",
            "cuGraphAddKernelNode_v2",
            "cuGraphExecGetFlags",
            "cuGraphExecKernelNodeSetParams_v2",
            "cuGraphExecUpdate_v2",
            "cuGraphInstantiateWithParams",
            "cuGraphKernelNodeGetParams_v2",
            "cuGraphKernelNodeSetParams_v2",
            "cuKernelGetAttribute",
            "cuKernelGetFunction",
            "cuKernelSetAttribute",
            "cuKernelSetCacheConfig",
            "cuLibraryGetGlobal",
            "cuLibraryGetKernel",
            "cuLibraryGetModule",
            "cuLibraryLoadData",
            "cuLibraryLoadFromFile",
            "cuLibraryUnload",
            "cuStreamGetId",
        ],
    ),
    (12_010, &["cuCtxSetFlags"]),
    (
        12_020,
        &[
            "cuGraphAddNode",
            "cuGraphExecNodeSetParams",
            "cuGraphNodeSetParams",
            "cuMemAdvise_v2",
            "cuMemPrefetchAsync_v2",
        ],
    ),
    (
        12_030,
        &[
            "cuFuncGetName",
            "cuGraphAddDependencies_v2",
            "cuGraphAddNode_v2",
            "cuGraphGetEdges_v2",
            "cuGraphNodeGetDependencies_v2",
            "cuGraphNodeGetDependentNodes_v2",
            "cuGraphRemoveDependencies_v2",
            "cuKernelGetName",
            "cuStreamGetCaptureInfo_v3",
        ],
    ),
    (
        12_040,
        &[
            "cuFuncGetParamInfo",
            "cuFuncIsLoaded",
            "cuFuncLoad",
            "cuKernelGetParamInfo",
            "cuLibraryEnumerateKernels",
            "cuLibraryGetKernelCount",
            "cuModuleEnumerateFunctions",
            "cuModuleGetFunctionCount",
        ],
    ),
    (12_050, &["cuCtxCreate_v4", "cuKernelGetLibrary"]),
    (12_080, &["cuEventElapsedTime_v2", "cuStreamGetDevice"]),
    (13_020, &["cuGraphNodeGetParams"]),
];

/// Functions that a driver of this CUDA does not have.
pub fn newer(driver: i32) -> impl Iterator<Item = &'static str> {
    SINCE.iter().filter(move |(first, _)| *first > driver).flat_map(|(_, names)| names.iter().copied())
}

/// Whether a driver of this CUDA has a function.
pub fn has(driver: i32, name: &str) -> bool {
    !newer(driver).any(|absent| absent == name)
}

#[cfg(test)]
mod tests {
    use super::SINCE;

    #[test]
    fn only_real_functions_are_listed() {
        let real = crate::api::all();
        for name in SINCE.iter().flat_map(|(_, names)| *names) {
            assert!(real.iter().any(|(known, _)| known == name), "{name} is not real");
        }
    }
}
