//! Which files are meant: what the arguments of a command stand for, and the pictures in a folder.
//!
//! Nothing is decoded here. Pictures are told by extension (any case), hidden files are skipped, and lists are sorted
//! by the bytes of the names, so that a seed means the same on every machine.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::image::Source;
use crate::error::{Error, Result};
use crate::invalid;

/// Extensions that count as pictures inside a folder.
pub const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// Hands the files that the arguments of `score` stand for to `take`, in order, until it returns false: a file as it is
/// (also when missing or oddly named, its reader will say so), a folder as all pictures below it, sorted (links to
/// folders are not followed), and `-` as the lines of `stdin`, each again a file or a folder, read one by one as they
/// come. A folder without any picture is an error.
pub fn each(paths: &[PathBuf], mut stdin: impl BufRead, take: &mut dyn FnMut(Source) -> bool) -> Result<()> {
    let mut take = |path: PathBuf| take(path.into());
    for path in paths {
        if path.as_os_str() != "-" {
            if !expand(path)?.into_iter().all(&mut take) {
                return Ok(());
            }
            continue;
        }
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if stdin.read_until(b'\n', &mut line).map_err(|e| Error::io("standard input", e))? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let Ok(text) = str::from_utf8(text) else {
                invalid!("standard input: line {number} is not UTF-8, expected one path a line")
            };
            if !text.is_empty() && !expand(Path::new(text))?.into_iter().all(&mut take) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            if entry.is_dir() {
                // A link to a folder above would never end.
                if !entry.is_symlink() {
                    open.push(entry);
                }
            } else if is_picture(&entry) {
                files.push(entry);
            }
        }
    }
    if files.is_empty() {
        invalid!("{}: no pictures in this folder or below it ({})", path.display(), EXTENSIONS.join(", "));
    }
    files.sort();
    Ok(files)
}

/// Everything in `folder` that is not hidden, unsorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        invalid!("{}: no such folder", folder.display());
    }
    let listing = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension))
}
