//! The lines of what was scored, which are also the memory of it: after a restart, whatever ended the process, they say what is done.

use super::arrivals::Known;
use super::folder::Folder;
use super::state::{State, same_file};
use crate::output::folder_of;
use crate::report::json::path;
use crate::{Error, Result, invalid};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// No line has so many bytes, not even one of a picture that is full of regions.
const LONGEST: u64 = 64 << 20;

/// A file of JSON lines that only one process appends to.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Its bytes, all of which are whole lines.
    len: u64,
    /// What was cut off its end.
    pub torn: u64,
}

/// What a line says of where the process stood.
#[derive(Deserialize)]
struct Line {
    name: String,
    name_bytes: Option<String>,
    size: u64,
    mtime_ns: i64,
    inode: Option<u64>,
    moved_to: Option<String>,
    moved_to_bytes: Option<String>,
}

/// A picture with its line.
pub struct Entry {
    pub name: PathBuf,
    pub state: State,
    /// Where it was to be moved.
    pub moved_to: Option<PathBuf>,
}

impl Journal {
    /// Opens the journal, begins it where there is none, and cuts off what a process could not write to its end. Errors: another
    /// process writes it, it holds lines of something else, or it is no file.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(path, e);
        // What a device gives never ends, and a pipe keeps nothing.
        if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            return Err(Error::Usage(format!(
                "--out {}: is no regular file, and would keep no lines; name one that is, or that is not there yet",
                path.display()
            )));
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        lock(&file, path)?;
        let mut journal = Journal { path: path.to_path_buf(), len: 0, torn: 0, file };
        let all = journal.file.metadata().map_err(failed)?.len();
        journal.len = journal.read(&mut |_| ())?;
        journal.torn = all - journal.len;
        if journal.torn > 0 {
            journal.file.set_len(journal.len).and_then(|()| journal.file.sync_all()).map_err(failed)?;
        }
        Ok(journal)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands every line's picture to `take`; how many bytes have whole lines.
    fn read(&self, take: &mut dyn FnMut(Entry)) -> Result<u64> {
        let failed = |e| Error::io(&self.path, e);
        let mut file = self.file.try_clone().map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let (mut lines, mut line, mut bytes) = (BufReader::with_capacity(1 << 16, file), Vec::new(), 0);
        for number in 1.. {
            line.clear();
            let count = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line).map_err(failed)? as u64;
            if !line.ends_with(b"\n") && count == LONGEST {
                invalid!(
                    "{}: line {number} is longer than {} MiB, and none that `ckaad watch` wrote; name another file",
                    self.path.display(),
                    LONGEST >> 20
                );
            }
            if !line.ends_with(b"\n") {
                break;
            }
            let Ok(found) = serde_json::from_slice::<Line>(&line) else {
                invalid!("{}: line {number} is none that `ckaad watch` wrote; name another file", self.path.display());
            };
            let whole = |text: &str, bytes: Option<String>| path::read(text, bytes.as_deref());
            let moved_to = found.moved_to.map(|to| whole(&to, found.moved_to_bytes));
            let state = State { size: found.size, mtime_ns: found.mtime_ns, inode: found.inode };
            take(Entry { name: whole(&found.name, found.name_bytes), state, moved_to });
            bytes += count;
        }
        Ok(bytes)
    }

    /// Hands every picture that has a line to `take`.
    pub fn each(&self, take: &mut dyn FnMut(Entry)) -> Result<()> {
        self.read(take).map(drop)
    }

    /// Appends lines, all of them or none. They are on the disk when this returns.
    pub fn append(&mut self, lines: &[u8]) -> Result<()> {
        let end = self.file.seek(SeekFrom::Start(self.len));
        let written = end.and_then(|_| self.file.write_all(lines)).and_then(|()| self.file.sync_data());
        if let Err(e) = written {
            // What a full disk took of them is of no use. If it cannot be cut off either, the next start does it.
            let _ = self.file.set_len(self.len);
            return Err(Error::io(&self.path, e));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Goes on in a new file where somebody moved this one away or emptied it, as programs that rotate logs do: the new one begins
    /// with what lies in the folder and is done, and the rest is forgotten, as a restart would. Whether that was so.
    pub fn follow(&mut self, folder: &Folder, known: &mut Known) -> Result<bool> {
        let here = std::fs::metadata(&self.path).ok();
        let own = self.file.metadata().map_err(|e| Error::io(&self.path, e))?;
        if here.as_ref().is_some_and(|here| same_file(here, &own)) && own.len() == self.len {
            return Ok(false);
        }
        if let Some(here) = here.filter(|here| here.len() > 0) {
            let what = if same_file(&here, &own) { "was written to" } else { "was replaced" };
            invalid!("{}: {what} by another program; nothing more is scored", self.path.display());
        }
        let failed = |e| Error::io(&self.path, e);
        let place = folder_of(&self.path);
        let mut fresh = tempfile::Builder::new().prefix(".ckaad-").suffix(".tmp").tempfile_in(place).map_err(failed)?;
        fresh.as_file().set_permissions(own.permissions()).map_err(failed)?;
        lock(fresh.as_file(), &self.path)?;
        let mut kept = HashSet::new();
        let mut is_done = |name: &Path, state: &State| {
            let key = state.key(name);
            let done = known.done.contains(&key);
            if done {
                kept.insert(key);
            }
            done
        };
        let lines = carried(folder, &mut is_done)?;
        fresh.write_all(&lines).and_then(|()| fresh.as_file().sync_all()).map_err(failed)?;
        let file = fresh.persist(&self.path).map_err(|e| failed(e.error))?;
        *self = Journal { path: self.path.clone(), file, len: lines.len() as u64, torn: 0 };
        known.done = kept;
        Ok(true)
    }
}

/// A line for each picture in the folder that is `done`, without a score: earlier lines, elsewhere, have it.
pub fn carried(folder: &Folder, done: &mut dyn FnMut(&Path, &State) -> bool) -> Result<Vec<u8>> {
    let (mut lines, mut failed) = (Vec::new(), None);
    let each = folder.each(
        &mut |name, state| {
            if done(&name, &state) {
                lines.extend(line(json!({ "score": null }), folder, &name, &state));
            }
        },
        &mut |e| failed = Some(e),
    );
    // A picture that is not seen now would be scored again.
    each.and(failed.map_or(Ok(lines), Err))
}

/// What is known of a picture as one line, with what tells it from others.
pub fn line(mut object: Value, folder: &Folder, name: &Path, state: &State) -> Vec<u8> {
    path::put(&mut object, "path", &folder.path(name));
    path::put(&mut object, "name", name);
    object["size"] = state.size.into();
    object["mtime_ns"] = state.mtime_ns.into();
    object["inode"] = state.inode.into();
    format!("{object}\n").into_bytes()
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Usage(format!(
            "--out {}: another `ckaad watch` writes into it; end that one, or name another file",
            path.display()
        ))),
        // A file system without locks.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(e)) => Err(Error::io(path, e)),
    }
}
