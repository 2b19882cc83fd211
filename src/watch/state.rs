//! What tells a file that was scored from another one under the same name: its size, when it was written, and which file it is.

use crate::data::digest::Digest;
use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Systems date files by a clock that ticks every few milliseconds: what is written twice within a tick has one date.
const TICKS: Duration = Duration::from_millis(20);

/// A file as it was once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its number on its file system; none where such numbers do not last.
    pub inode: Option<u64>,
}

impl State {
    /// `lasting`: whether the file system keeps the numbers of files, which those on a network do not promise.
    pub fn new(found: &Metadata, lasting: bool) -> Self {
        let nanoseconds = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let mtime_ns = match found.modified().map(|at| at.duration_since(UNIX_EPOCH)) {
            Ok(Ok(since)) => nanoseconds(since),
            Ok(Err(before)) => -nanoseconds(before.duration()),
            // A system without such dates.
            Err(_) => 0,
        };
        State { size: found.len(), mtime_ns, inode: if lasting { inode(found) } else { None } }
    }

    /// Of this state of the file that is called `name` below the folder.
    pub fn key(&self, name: &Path) -> Digest {
        let State { size, mtime_ns, inode } = self;
        let state = format!("\0{size} {mtime_ns} {inode:?}");
        Digest::of(&[name.as_os_str().as_encoded_bytes(), state.as_bytes()].concat())
    }

    /// How long before `now` it was written; `None` if that is still to come.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        now.checked_sub(Duration::from_nanos(u64::try_from(self.mtime_ns).unwrap_or(0)))
    }

    /// For how long it could still be written to without another date.
    pub fn ambiguous_for(&self) -> Option<Duration> {
        TICKS.checked_sub(self.age(SystemTime::now())?).filter(|left| !left.is_zero())
    }
}

/// Whether both were found of one file or folder, whatever its name was.
#[cfg(unix)]
pub fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Elsewhere nobody can move away what is open.
#[cfg(not(unix))]
pub fn same_file(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn inode(found: &Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(found.ino())
}

/// The standard library does not tell.
#[cfg(not(unix))]
fn inode(_: &Metadata) -> Option<u64> {
    None
}
