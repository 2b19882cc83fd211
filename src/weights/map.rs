//! The memory map of a weights file; the only `unsafe` of this module.

use std::fs::File;
use std::path::Path;

use crate::{Error, Result};

/// Maps `path` read-only. Errors: what the operating system says, all but a file with something in it; `expected` is what it is
/// to be.
pub(super) fn open(path: &Path, expected: &str) -> Result<memmap2::Mmap> {
    let unread = |e| Error::unread(path, e, expected);
    let is = |what: &str| Err(Error::Invalid(format!("{}: is {what}, expected {expected}", path.display())));
    // Asked first: opening a pipe would wait for whoever writes into it.
    let meta = std::fs::metadata(path).map_err(unread)?;
    if meta.is_dir() {
        return is("a folder");
    }
    if !meta.is_file() {
        return is("a pipe, a socket or a device");
    }
    if meta.len() == 0 {
        return is("empty");
    }
    let file = File::open(path).map_err(unread)?;
    // SAFETY: the map is read-only and private to this process. The file must not be truncated or rewritten in place
    // while it is mapped; our own writer replaces files by renaming, which leaves an existing map intact.
    unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))
}
