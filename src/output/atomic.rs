//! Writing a file so that either the old or the whole new content is there, whatever happens in between.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

use super::folder_of;
use crate::{Error, Result};

/// Writes `path` through a temporary file in the same folder, synced and renamed over `path` once `write` succeeded.
/// If `write` or the disk fails, or the process is killed, an existing file stays as it was. Errors name `path`.
///
/// A link stays a link: what it leads to is replaced. A file that is replaced passes its permissions on. What is no regular
/// file (a device, a pipe) is written into.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let written = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {
            std::fs::canonicalize(path).and_then(|target| replace(&target, Some(&found), write))
        }
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => File::options().write(true).open(path).and_then(|mut file| buffered(&mut file, write)),
        // A link whose target is still to be made.
        Err(_) => target_of(path).and_then(|target| replace(&target, None, write)),
    };
    written.map_err(|e| Error::io(path, e))
}

/// Where a link that leads to nothing leads to; any other path as it is.
fn target_of(path: &Path) -> io::Result<PathBuf> {
    const LINKS: usize = 40;
    let mut target = path.to_path_buf();
    for _ in 0..LINKS {
        match std::fs::read_link(&target) {
            Ok(next) => target = folder_of(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("too many links lead from one to the other"))
}

/// Writes a file in the same way where there is none yet, and leaves one alone that somebody else made meanwhile.
pub fn write_new(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let named = |e| Error::io(path, e);
    let temporary = temporary(&folder_of(path), usual_permissions(), write).map_err(named)?;
    temporary.as_file().sync_all().map_err(named)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems can neither rename nor link without replacing.
        Err(e) => e.file.persist(path).map(drop).map_err(|e| named(e.error)),
    }
}

/// Whether a file of this name was on its way to another name, or still is.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(BEGIN.as_bytes()) && name.ends_with(END.as_bytes())
}

/// What a temporary file's name begins and ends with.
const BEGIN: &str = ".ckaad-";
const END: &str = ".tmp";

fn buffered(file: &mut File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(1 << 20, file);
    write(&mut buffered)?;
    buffered.flush()
}

fn replace(
    target: &Path,
    old: Option<&Metadata>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(target);
    let temporary = temporary(&folder, if old.is_none() { usual_permissions() } else { None }, write)?;
    if let Some(old) = old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|e| e.error)?;
    // The rename itself is durable once the folder is synced; some file systems cannot do that, which is harmless.
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|f| f.sync_all());
    Ok(())
}

/// A file in a folder, with what `write` writes.
fn temporary(
    folder: &Path,
    permissions: Option<Permissions>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(BEGIN).suffix(END);
    if let Some(permissions) = permissions {
        builder.permissions(permissions);
    }
    let mut temporary = builder.tempfile_in(folder)?;
    buffered(temporary.as_file_mut(), write)?;
    Ok(temporary)
}

/// What a new file asks for. Temporary files are private by default; a finished one gets what the umask leaves.
#[cfg(unix)]
fn usual_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn usual_permissions() -> Option<Permissions> {
    None
}
