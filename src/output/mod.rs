//! What somebody asked to be written: never over what is read, whole or not at all, and not over what is somebody else's.

mod atomic;
mod folder;

pub use atomic::write_atomically;
pub use folder::is_ours;

use crate::{Error, Result};
use same_file::Handle;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files and folders that a command will write, each with the flag that named it, to hold what it reads against.
///
/// Two paths are the same when they lead to the same file, whatever links and spellings lie between.
#[derive(Default)]
pub struct Outputs {
    files: Vec<(String, Handle)>,
    folders: Vec<(String, Handle)>,
}

impl Outputs {
    /// Adds a file. It has to be possible to write it: its folder exists and can be written into, and it is no folder itself.
    pub fn file(mut self, flag: &str, path: &Path) -> Result<Self> {
        let named = |what: String| Error::Usage(format!("{flag} {}: {what}", path.display()));
        let Ok(found) = std::fs::metadata(path) else {
            let folder = folder_of(path);
            if !folder.is_dir() {
                return Err(named(format!("there is no folder {}; make it first", folder.display())));
            }
            expect_room(&folder).map_err(|e| named(format!("cannot write into {}: {e}", folder.display())))?;
            return Ok(self);
        };
        if found.is_dir() {
            return Err(named("is a folder, expected the name of a file".into()));
        }
        // Devices and pipes are written as they are: there is nothing to lose, and opening a pipe waits for its reader.
        if found.is_file() {
            let target = std::fs::canonicalize(path).map_err(|e| Error::io(path, e))?;
            let folder = folder_of(&target);
            expect_room(&folder).map_err(|e| named(format!("cannot write into {}: {e}", folder.display())))?;
            let handle = Handle::from_path(path).map_err(|e| Error::io(path, e))?;
            if let Some((other, _)) = self.files.iter().find(|(_, h)| *h == handle) {
                return Err(named(format!("{other} is the same file; name another")));
            }
            self.files.push((flag.to_string(), handle));
        }
        Ok(self)
    }

    /// Adds an HTML page. What is there already may be replaced only if it is one, too.
    pub fn report(self, flag: &str, path: &Path) -> Result<Self> {
        let mut begin = [0; 15];
        let found = std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0);
        if found {
            let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut begin));
            if read.is_err() || !begin.eq_ignore_ascii_case(b"<!doctype html>") {
                let path = path.display();
                return Err(Error::Usage(format!("{flag} {path}: already there, and no report; name another file")));
            }
        }
        self.file(flag, path)
    }

    /// Adds a folder in which files will be written, and makes it where there is none. One that holds somebody else's files
    /// is refused.
    pub fn folder(mut self, flag: &str, path: &Path) -> Result<Self> {
        folder::make(flag, path)?;
        self.folders.push((flag.to_string(), Handle::from_path(path).map_err(|e| Error::io(path, e))?));
        Ok(self)
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
