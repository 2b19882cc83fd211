//! Where pictures go by their verdicts. Nothing that is there already is written over, and no file is taken that is not the one
//! that was scored.

use super::state::State;
use crate::output::folder_of;
use crate::{Error, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Move,
    /// A second name of the same file, on the same file system.
    HardLink,
    /// A link to where it is.
    SymbolicLink,
}

/// Folders by verdict; where there is none, pictures stay.
#[derive(Clone, Debug)]
pub struct Sorting {
    pub normal: Option<PathBuf>,
    pub anomalous: Option<PathBuf>,
    /// Of what cannot be read.
    pub failed: Option<PathBuf>,
    pub how: How,
}

impl Sorting {
    /// The folder for a verdict; of what cannot be read there is none, and of a model without a threshold it says nothing.
    pub fn folder(&self, verdict: Result<Option<bool>, ()>) -> Option<&Path> {
        match verdict {
            Ok(Some(true)) => self.anomalous.as_deref(),
            Ok(Some(false)) => self.normal.as_deref(),
            Ok(None) => None,
            Err(()) => self.failed.as_deref(),
        }
    }

    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        [&self.normal, &self.anomalous, &self.failed].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// Places for a file in a folder: `a.png`, `a-2.png`, `a-3.png` and so on.
fn places(folder: &Path, name: &Path) -> impl Iterator<Item = PathBuf> {
    let plain = folder.join(name);
    let numbered = |plain: &Path, number: usize| {
        let mut file = plain.file_stem().unwrap_or_default().to_owned();
        file.push(format!("-{number}"));
        if let Some(extension) = plain.extension() {
            file.push(".");
            file.push(extension);
        }
        plain.with_file_name(file)
    };
    std::iter::once(plain.clone()).chain((2..).map(move |number| numbered(&plain, number)))
}

/// The first of the places for a file that nothing is in, and that is not `taken` either.
pub fn free_place(folder: &Path, name: &Path, taken: &HashSet<PathBuf>) -> PathBuf {
    let free = |place: &PathBuf| !taken.contains(place) && place.symlink_metadata().is_err();
    places(folder, name).find(free).unwrap_or_else(|| folder.join(name))
}

/// What became of a move.
#[derive(Debug, PartialEq, Eq)]
pub enum Moved {
    Done,
    /// Something else is in that place.
    Taken,
    /// The picture is not there any more, or another one is.
    Gone,
}

/// Moves the picture that `state` was seen of into a place where nothing is.
pub fn move_new(from: &Path, to: &Path, state: &State) -> Result<Moved> {
    let same = |path: &Path| fs::metadata(path).is_ok_and(|m| State::new(&m, state.inode.is_some()) == *state);
    if !same(from) {
        return Ok(Moved::Gone);
    }
    make_folder_of(to)?;
    let moved = if from.is_symlink() {
        linked(How::SymbolicLink, from, to).and_then(|()| fs::remove_file(from))
    } else {
        match rename_new(from, to) {
            Err(e) if e.kind() == ErrorKind::CrossesDevices => copy_new(from, to).and_then(|()| fs::remove_file(from)),
            // Whoever put another one into its place just now gets it back.
            Ok(()) if !same(to) => rename_new(to, from).and(Err(ErrorKind::NotFound.into())),
            done => done,
        }
    };
    match moved {
        Ok(()) => Ok(Moved::Done),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Moved::Taken),
        Err(e) if e.kind() == ErrorKind::NotFound && !same(from) => Ok(Moved::Gone),
        Err(e) => Err(Error::io(to, e)),
    }
}

/// Apart from what is done in it: a file in the folder's place is no other picture in the picture's.
fn make_folder_of(place: &Path) -> Result<()> {
    let folder = folder_of(place);
    fs::create_dir_all(&folder).map_err(|e| Error::io(folder, e))
}

/// Whether a copy on another file system was completed before the picture could be removed.
pub fn is_copy(from: &Path, to: &Path) -> bool {
    let dated = |path: &Path| fs::metadata(path).and_then(|m| Ok((m.len(), m.modified()?))).ok();
    let bytes = |path: &Path| fs::read(path).ok();
    dated(from).is_some() && dated(from) == dated(to) && bytes(from) == bytes(to)
}

/// Renames where nothing has the new name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems, and kernels, that do not know how.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            done => return done.map_err(Into::into),
        }
    }
    // An empty file keeps the place, and is replaced.
    File::create_new(to)?;
    fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Copies with the date, under the new name only when all of it is there.
fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let found = source.metadata()?;
    let mut copy = tempfile::Builder::new().prefix(".ckaad-").suffix(".tmp").tempfile_in(folder_of(to))?;
    io::copy(&mut source, copy.as_file_mut())?;
    copy.as_file().set_permissions(found.permissions())?;
    copy.as_file().set_modified(found.modified()?)?;
    copy.as_file().sync_all()?;
    copy.persist_noclobber(to).map(drop).map_err(|e| e.error)
}

/// A link to a picture in the first free place for it, or the one that is there already.
pub fn link_new(how: How, from: &Path, folder: &Path, name: &Path) -> Result<PathBuf> {
    let mut places = places(folder, name);
    loop {
        let place = places.next().unwrap_or_default();
        make_folder_of(&place)?;
        match linked(how, from, &place) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if same_file::is_same_file(from, &place).unwrap_or(false) {
                    return Ok(place);
                }
            }
            made => return made.map(|()| place.clone()).map_err(|e| Error::io(&place, e)),
        }
    }
}

fn linked(how: How, from: &Path, to: &Path) -> io::Result<()> {
    let target = fs::canonicalize(from)?;
    match how {
        How::SymbolicLink => symbolic(&target, to),
        _ => fs::hard_link(target, to),
    }
}

#[cfg(unix)]
fn symbolic(target: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, to)
}

#[cfg(windows)]
fn symbolic(target: &Path, to: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_before_the_extension() {
        let dir = tempfile::tempdir().unwrap();
        let place = |taken: &[&str]| {
            let taken = taken.iter().map(|name| dir.path().join(name)).collect();
            free_place(dir.path(), Path::new("sub/a.b.png"), &taken)
        };
        assert_eq!(place(&[]), dir.path().join("sub/a.b.png"));
        assert_eq!(place(&["sub/a.b.png", "sub/a.b-2.png"]), dir.path().join("sub/a.b-3.png"));
    }

    /// By either way of renaming, and over file systems where there is a second one.
    #[test]
    fn nothing_is_written_over_and_nothing_else_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let other = Path::new("/dev/shm").is_dir().then(|| tempfile::tempdir_in("/dev/shm").unwrap());
        for folder in [Some(&dir), other.as_ref()].into_iter().flatten() {
            let (from, to) = (dir.path().join("from.png"), folder.path().join("below/to.png"));
            fs::write(&from, "one").unwrap();
            let state = State::new(&fs::metadata(&from).unwrap(), true);
            assert_eq!(move_new(&from, &to, &State { size: 9, ..state }).unwrap(), Moved::Gone);
            assert!(from.exists() && !to.exists());
            assert_eq!(move_new(&from, &to, &state).unwrap(), Moved::Done);
            assert!(!from.exists());
            assert_eq!((fs::read(&to).unwrap(), is_copy(&to, &to)), (b"one".to_vec(), true));
            fs::write(&from, "two").unwrap();
            let state = State::new(&fs::metadata(&from).unwrap(), true);
            assert_eq!(move_new(&from, &to, &state).unwrap(), Moved::Taken);
            assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"two".to_vec(), b"one".to_vec()));
            assert!(!is_copy(&from, &to));
            assert_eq!(fs::read_dir(folder.path().join("below")).unwrap().count(), 1, "something is left over");
        }
    }
}
