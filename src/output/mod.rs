//! What somebody asked to be written: never over what is read, whole or not at all, and not over what is somebody else's.

mod atomic;
mod folder;
mod spill;

pub use atomic::write_atomically;
pub use folder::{MARK, OurFolder, is_ours, ours_below};
pub use spill::{Place, Spill};

use crate::error::plural;
use crate::{Error, Result};
use same_file::Handle;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a file holds that is written. Something of another kind is never replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// HTML
    Page,
    /// A model or a checkpoint: safetensors whose metadata say so, as those of plain weights do not.
    Tensors,
    /// A log, an object a line.
    JsonLines,
    /// An ONNX model that this program wrote.
    Onnx,
}

impl FileKind {
    fn name(self) -> &'static str {
        match self {
            FileKind::Page => "report",
            FileKind::Tensors => "model file of this program",
            FileKind::JsonLines => "log",
            FileKind::Onnx => "ONNX model of this program",
        }
    }

    /// Whether a file of `len` bytes is one.
    fn is(self, mut file: impl Read, len: u64) -> std::io::Result<bool> {
        let mut begin = Vec::new();
        file.by_ref().take(16).read_to_end(&mut begin)?;
        Ok(match self {
            FileKind::Page => begin.get(..15).is_some_and(|b| b.eq_ignore_ascii_case(b"<!doctype html>")),
            FileKind::JsonLines => begin.first() == Some(&b'{'),
            // The fields of a version, one byte, and of the producer's name, with its length.
            FileKind::Onnx => {
                let producer = concat!("\x12\x05", env!("CARGO_PKG_NAME")).as_bytes();
                begin.first() == Some(&0x08) && begin.get(2..).is_some_and(|b| b.starts_with(producer))
            }
            FileKind::Tensors => match begin.split_first_chunk::<8>() {
                Some((header, rest)) if u64::from_le_bytes(*header) <= (len.saturating_sub(8)).min(LONGEST_HEADER) => {
                    let more = u64::from_le_bytes(*header).saturating_sub(rest.len() as u64);
                    let mut text = rest.to_vec();
                    file.take(more).read_to_end(&mut text)?;
                    let header: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
                    header["__metadata__"]["format"] == env!("CARGO_PKG_NAME")
                }
                _ => false,
            },
        })
    }
}

/// Of a safetensors file, in bytes, as that format has it.
const LONGEST_HEADER: u64 = 100_000_000;

/// The files and folders that a command will write, each with the flag that named it, to hold what it reads against.
///
/// Two paths are the same when they lead to the same file, whatever links and spellings lie between.
#[derive(Default)]
pub struct Outputs {
    /// Those that are there already.
    files: Vec<(String, Handle)>,
    folders: Vec<(String, Handle)>,
    /// All of them, resolved, and whether it is a folder.
    places: Vec<(String, PathBuf, bool)>,
    /// What is said of files that have other names, too.
    hard_links: Vec<String>,
}

impl Outputs {
    /// Adds a file. It has to be possible to write it: its folder exists and can be written into, and it is no folder itself. What
    /// is there already may be replaced only if it is of this kind, too, or empty.
    pub fn file(mut self, flag: &str, path: &Path, kind: FileKind) -> Result<Self> {
        let named = |what: String| Error::Usage(format!("{flag} {}: {what}", path.display()));
        expect_no_stream(flag, path)?;
        if path.as_os_str().as_encoded_bytes().ends_with(std::path::MAIN_SEPARATOR_STR.as_bytes()) {
            return Err(named("is the name of a folder, expected that of a file".into()));
        }
        let found = std::fs::metadata(path).ok();
        if found.as_ref().is_some_and(|m| m.is_dir()) {
            return Err(named("is a folder, expected the name of a file".into()));
        }
        // Devices and pipes are written as they are: there is nothing to lose, and opening a pipe waits for its reader.
        if found.as_ref().is_some_and(|m| !m.is_file()) {
            return Ok(self);
        }
        let target = resolved(path);
        let folder = folder_of(&target);
        if !folder.is_dir() {
            return Err(named(format!("there is no folder {}; make it first", folder.display())));
        }
        expect_room(&folder).map_err(|e| named(format!("cannot write into {}: {e}", folder.display())))?;
        if let Some(found) = found {
            // Files are replaced through their folder, which a file's own mode would not hinder.
            if found.permissions().readonly() {
                return Err(named("is read-only, and would be replaced; name another file".into()));
            }
            let is = std::fs::File::open(path).and_then(|file| kind.is(file, found.len()));
            if found.len() > 0 && !is.unwrap_or(false) {
                return Err(named(format!("already there, and no {}; name another file", kind.name())));
            }
            let handle = Handle::from_path(path).map_err(|e| Error::io(path, e))?;
            if let Some((other, _)) = self.files.iter().find(|(_, h)| *h == handle) {
                return Err(named(format!("is the same file as {other}; name another")));
            }
            self.files.push((flag.to_string(), handle));
            // A log is written on, which shows under every name.
            let others = if kind == FileKind::JsonLines { 0 } else { other_names(&found) };
            if others > 0 {
                let (links, path) = (plural(others, "hard link"), path.display());
                self.hard_links.push(format!("{flag} {path}: {links} to the same file will keep what it holds now"));
            }
        }
        self.place(flag, path, target, false)
    }

    /// Files that will be replaced under one name only, each in words: what other names lead to stays.
    pub fn hard_links(&self) -> &[String] {
        &self.hard_links
    }

    /// Refuses a file in the place or in the folder of another output. Folders may be shared.
    fn place(mut self, flag: &str, path: &Path, target: PathBuf, is_folder: bool) -> Result<Self> {
        for (other, taken, _) in self.places.iter().filter(|(.., folder)| !(is_folder && *folder)) {
            let named =
                |what: &str| Err(Error::Usage(format!("{flag} {}: {what} {other}; name another", path.display())));
            if *taken == target {
                return named("is the same as");
            } else if target.starts_with(taken) {
                return named("lies in the folder of");
            } else if taken.starts_with(&target) {
                return named("is the folder of");
            }
        }
        self.places.push((flag.to_string(), target, is_folder));
        Ok(self)
    }

    /// Adds a folder in which files will be written, and makes it where there is none. One that holds somebody else's files
    /// is refused.
    pub fn folder(mut self, flag: &str, path: &Path) -> Result<Self> {
        expect_no_stream(flag, path)?;
        folder::make(flag, path)?;
        self.folders.push((flag.to_string(), Handle::from_path(path).map_err(|e| Error::io(path, e))?));
        self.place(flag, path, resolved(path), true)
    }

    /// Refuses to read a file or a folder that would be written over.
    pub fn expect_apart(&self, input: &Path) -> Result<()> {
        // Mostly there is nothing yet that could be replaced, and inputs are many.
        if self.files.is_empty() && self.folders.is_empty() {
            return Ok(());
        }
        // What is not there is its reader's matter.
        let Ok(handle) = handle_of(input) else { return Ok(()) };
        if let Some((flag, _)) = self.files.iter().find(|(_, h)| *h == handle) {
            return Err(Error::Usage(format!("{}: {flag} would replace it; name another file", input.display())));
        }
        if self.folders.is_empty() {
            return Ok(());
        }
        let Ok(resolved) = std::fs::canonicalize(input) else { return Ok(()) };
        for folder in resolved.ancestors() {
            let Ok(handle) = handle_of(folder) else { continue };
            if let Some((flag, _)) = self.folders.iter().find(|(_, h)| *h == handle) {
                let input = input.display();
                return Err(Error::Usage(format!(
                    "{input}: lies in the folder of {flag}, whose files could replace it; name another folder"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses `-`, by which programs know standard output: files are written whole or not at all, which a stream cannot be.
pub fn expect_no_stream(flag: &str, path: &Path) -> Result<()> {
    if path.as_os_str() == "-" {
        return Err(Error::Usage(format!(
            "{flag} -: is not written to standard output; name a file or a folder (./- for one that is called so)"
        )));
    }
    Ok(())
}

/// Where a path leads, as far as there is something: through links, also one whose target is still to be written.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = std::fs::canonicalize(path) {
        return found;
    }
    let folder = folder_of(path);
    match std::fs::read_link(path) {
        Ok(target) if target != path => resolved(&folder.join(target)),
        _ => std::fs::canonicalize(&folder).unwrap_or(folder).join(path.file_name().unwrap_or_default()),
    }
}

/// How many more names a file has.
#[cfg(unix)]
fn other_names(found: &std::fs::Metadata) -> usize {
    use std::os::unix::fs::MetadataExt;
    found.nlink().saturating_sub(1) as usize
}

/// The standard library does not tell.
#[cfg(not(unix))]
fn other_names(_: &std::fs::Metadata) -> usize {
    0
}

/// Opening a pipe would wait for whoever writes into it.
fn handle_of(path: &Path) -> std::io::Result<Handle> {
    let found = std::fs::metadata(path)?;
    if found.is_file() || found.is_dir() {
        return Handle::from_path(path);
    }
    Err(std::io::ErrorKind::InvalidInput.into())
}

/// Refuses a file that is already there; one without a byte in it is nothing to lose. `advice` ends the sentence "already
/// there; ".
pub fn expect_new(flag: &str, path: &Path, advice: &str) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0) {
        return Err(Error::Usage(format!("{flag} {}: already there; {advice}", path.display())));
    }
    Ok(())
}

/// What [`expect_new`] advises of a run in steps that writes `file`.
pub fn resume_or_force(file: &Path) -> &'static str {
    match checkpoint_of(file).exists() {
        true => "--resume goes on from its checkpoint, --force replaces it",
        false => "--force replaces it",
    }
}

/// A file beside another: `model.safetensors` has its log in `model.log.jsonl`.
pub fn beside(file: &Path, extension: &str) -> PathBuf {
    if file.extension().is_some_and(|e| e == "safetensors") {
        return file.with_extension(extension);
    }
    // Other names keep theirs whole: m.v1 and m.v2 are two models.
    let mut name = file.as_os_str().to_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Where the checkpoint is of a run that writes this file in the end.
pub fn checkpoint_of(file: &Path) -> PathBuf {
    beside(file, "checkpoint.safetensors")
}

/// Removes the checkpoint of a run that another one replaces, once that has begun and nothing is left that can be refused. If it is
/// cut off before its own first checkpoint, nobody shall go on from the old one and take it for the new.
pub fn remove_checkpoint(file: &Path) -> Result<()> {
    let path = checkpoint_of(file);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => std::fs::remove_file(&path).map_err(|e| Error::io(&path, e)),
        _ => Ok(()),
    }
}

/// The folder that a file of this name lies in.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Whether files can be made in a folder. Better to learn now than after hours of work.
fn expect_room(folder: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}
