//! Weights files: both PyTorch formats and safetensors against PyTorch's own files, hostile files, writing, fetching.
//! `tests/torch_files` was written by PyTorch; `state.safetensors` holds the same tensors and is read here with the
//! `safetensors` crate, not with the code under test.

mod beside;
mod built_in;
mod fetch;
mod formats;
mod hostile;
mod networks;
mod stream;

use std::path::PathBuf;

fn torch_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torch_files").join(name)
}

/// The error of opening `bytes` as a weights file.
fn open_error(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.pth");
    std::fs::write(&path, bytes).unwrap();
    match ckaad::weights::Archive::open(&path) {
        Ok(_) => panic!("the file was accepted"),
        Err(e) => e.to_string(),
    }
}
