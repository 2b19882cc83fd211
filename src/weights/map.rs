//! The memory map of a weights file; the only `unsafe` of this module.

use std::fs::File;
use std::path::Path;

use crate::{Error, Result, invalid};

/// Maps `path` read-only. Errors: what the operating system says, a folder, an empty file.
pub(super) fn open(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let meta = file.metadata().map_err(|e| Error::io(path, e))?;
    if meta.is_dir() {
        invalid!("{}: is a folder, expected a weights file (.pth or .safetensors)", path.display());
    }
    if meta.len() == 0 {
        invalid!("{}: is empty, expected a weights file (.pth or .safetensors)", path.display());
    }
    // SAFETY: the map is read-only and private to this process. The file must not be truncated or rewritten in place
    // while it is mapped; our own writer replaces files by renaming, which leaves an existing map intact.
    unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))
}
