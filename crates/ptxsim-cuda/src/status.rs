//! What calls answer with.

use cudarc::driver::sys::cudaError_enum as E;

pub type Status = E;
pub type Result<T = (), S = Status> = std::result::Result<T, S>;

/// Every code that a call answers with or is asked about, with what it means.
const MEANINGS: &[(Status, &str)] = &[
    (E::CUDA_SUCCESS, "no error"),
    (E::CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    (E::CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    (E::CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    (E::CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    (E::CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    (E::CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    (E::CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    (E::CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    (E::CUDA_ERROR_ALREADY_MAPPED, "resource already mapped"),
    (E::CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    (E::CUDA_ERROR_NOT_MAPPED, "resource not mapped"),
    (E::CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"),
    (E::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."),
    (E::CUDA_ERROR_INVALID_SOURCE, "device kernel image is invalid"),
    (E::CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    (E::CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    (E::CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    (E::CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    (E::CUDA_ERROR_NOT_READY, "device not ready"),
    (E::CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    (E::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    (E::CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    (E::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "peer access is not supported between these two devices"),
    (E::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"),
    (E::CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "peer access has not been enabled"),
    (E::CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "cannot set while device is active in this process"),
    (E::CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    (E::CUDA_ERROR_ASSERT, "device-side assert triggered"),
    (E::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
    (E::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
    (E::CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    (E::CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    (E::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    (E::CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    (E::CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    (E::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    (E::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    (E::CUDA_ERROR_STREAM_CAPTURE_MERGE, "operation would result in a merge of separate capture sequences"),
    (
        E::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
        "operation failed because stream capture was not initiated in this stream",
    ),
    (E::CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    (E::CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
    (
        E::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
        "operation would make the legacy stream depend on a capturing blocking stream",
    ),
    (E::CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    (
        E::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
        "attempt to terminate a thread-local capture sequence from another thread",
    ),
    (
        E::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
        "the graph update was not performed because it included changes which violated constraints specific to instantiated graph update",
    ),
    (E::CUDA_ERROR_UNKNOWN, "unknown error"),
];

/// The code with this name.
pub fn named(name: &str) -> Option<Status> {
    MEANINGS.iter().map(|(status, _)| *status).find(|status| format!("{status:?}") == name)
}

/// As C strings, for programs to keep: name and meaning. Made once.
pub fn texts(number: u32) -> Option<(&'static std::ffi::CStr, &'static std::ffi::CStr)> {
    use std::ffi::CString;
    use std::sync::LazyLock;
    static TEXTS: LazyLock<Vec<(u32, CString, CString)>> = LazyLock::new(|| {
        let c = |text: String| CString::new(text).unwrap_or_default();
        MEANINGS.iter().map(|(s, text)| (*s as u32, c(format!("{s:?}")), c((*text).into()))).collect()
    });
    TEXTS.iter().find(|(n, ..)| *n == number).map(|(_, name, text)| (name.as_c_str(), text.as_c_str()))
}
