//! A folder for one command's files. A hidden mark in it says whose it is and names what was written: later runs may replace
//! that, and nothing else, and lists of pictures pass the folder over. A folder without the mark may hold somebody's only copy.

use super::atomic::{is_temporary, write_new};
use super::{folder_of, write_atomically};
use crate::{Error, Result};
use bstr::ByteSlice;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What marks a folder as ours.
pub const MARK: &str = ".ckaad-output";
/// Behind this line stand the names, each ended by a zero byte.
const SAYS: &[u8] = b"The files named here were written by ckaad, which may replace them.\n";

/// Whether a folder is marked.
pub fn is_ours(folder: &Path) -> bool {
    folder.join(MARK).is_file()
}

/// What this program wrote below a folder that is marked or lies in one that is; nothing where an earlier version, which
/// kept no names, did.
pub fn ours_below(folder: &Path) -> HashSet<PathBuf> {
    let Ok(resolved) = std::fs::canonicalize(folder) else { return HashSet::new() };
    let mut all = HashSet::new();
    for marked in resolved.ancestors().filter(|f| is_ours(f)) {
        for name in names(&marked.join(MARK)).unwrap_or_default() {
            // Bytes that are no path here are the name of nothing.
            let path = name.to_path().ok().map(|name| marked.join(name));
            all.extend(path.and_then(|p| Some(folder.join(p.strip_prefix(&resolved).ok()?))));
        }
    }
    all
}

/// The names in a mark.
fn names(mark: &Path) -> Result<HashSet<Vec<u8>>> {
    let found = std::fs::read(mark).map_err(|e| Error::io(mark, e))?;
    // Whatever an earlier version's line said.
    let names = found.splitn(2, |b| *b == b'\n').nth(1).unwrap_or_default();
    Ok(names.split(|b| *b == 0).filter(|name| !name.is_empty()).map(Vec::from).collect())
}

/// Makes and marks a folder to write files into, which `flag` named. One that holds something else than folders of ours, as those of
/// shards that somebody gathered, is refused.
pub fn make(flag: &str, path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
    if is_ours(path) {
        return Ok(());
    }
    // Another process may be marking it just now, and would lose names if its mark were replaced.
    let being_marked = |name: &OsStr| name == MARK || is_temporary(name);
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, e))?;
    if entries.into_iter().any(|e| e.map_or(true, |e| !being_marked(&e.file_name()) && !is_ours(&e.path()))) {
        return Err(Error::Usage(format!(
            "{flag} {}: holds files that ckaad did not write, which could be replaced; name an empty or a new folder",
            path.display()
        )));
    }
    write_new(&path.join(MARK), |f| f.write_all(SAYS))
}

/// A marked folder while files are written into it.
pub struct OurFolder {
    path: PathBuf,
    /// What earlier runs and this one wrote, by names below the folder.
    names: HashSet<Vec<u8>>,
    mark: File,
}

impl OurFolder {
    /// The folder is marked.
    pub fn open(path: PathBuf) -> Result<Self> {
        let mark = path.join(MARK);
        let names = names(&mark)?;
        let file = File::options().append(true).open(&mark).map_err(|e| Error::io(&mark, e))?;
        Ok(OurFolder { path, names, mark: file })
    }

    /// Writes a file under a name below the folder, making folders on the way. Somebody else's file is not replaced.
    pub fn write(
        &mut self,
        name: &Path,
        content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path.join(name);
        let bytes = name.as_os_str().as_encoded_bytes();
        if !self.names.contains(bytes) {
            if path.symlink_metadata().is_ok() {
                return Err(Error::Usage(format!(
                    "{}: already there, and not written by ckaad; move it, or name another folder",
                    path.display()
                )));
            }
            let mark = [bytes, b"\0"].concat();
            self.mark.write_all(&mark).map_err(|e| Error::io(self.path.join(MARK), e))?;
            self.names.insert(bytes.to_vec());
        }
        let folder = folder_of(&path);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        write_atomically(&path, content)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As somebody leaves it who copies the folders of shards together.
    #[test]
    fn folders_of_ours_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        make("--out", &out.join("shard-1-of-2")).unwrap();
        make("--out", &out.join("shard-2-of-2")).unwrap();
        std::fs::create_dir(out.join("theirs")).unwrap();
        assert!(make("--out", &out).unwrap_err().to_string().contains("did not write"));
        assert!(!is_ours(&out));
        std::fs::remove_dir(out.join("theirs")).unwrap();
        make("--out", &out).unwrap();
        assert!(is_ours(&out));
    }

    /// Who comes second finds the mark half made, and lost to it would be the names that the first one had added.
    #[test]
    fn many_mark_a_folder_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = dir.path().join(round.to_string());
            let write = |i: usize| {
                make("--out", &path).unwrap();
                OurFolder::open(path.clone()).unwrap().write(format!("{i}").as_ref(), |f| f.write_all(b"x")).unwrap();
            };
            std::thread::scope(|scope| (0..4).for_each(|i| drop(scope.spawn(move || write(i)))));
            let all = (0..4).map(|i| i.to_string().into_bytes()).collect();
            assert_eq!(names(&path.join(MARK)).unwrap(), all);
            assert!(std::fs::read_dir(&path).unwrap().all(|e| !is_temporary(&e.unwrap().file_name())));
        }
    }
}
