//! The folder that is watched: which of its files are pictures that are meant, and what they are now.

use super::state::{State, same_file};
use crate::data::listing;
use crate::output::is_ours;
use crate::{Error, Result, invalid};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A folder of pictures that come.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    /// The same without links on the way, as events name it.
    resolved: PathBuf,
    /// What tells it from another one that gets its name.
    found: Metadata,
    recursive: bool,
    /// Folders below it whose pictures are not meant, by name.
    excluded: Vec<PathBuf>,
    /// What kind of network its file system is on.
    pub network: Option<&'static str>,
}

impl Folder {
    /// `recursive`: with all folders below, but those in `excluded`. Links to folders are not followed.
    pub fn new(root: &Path, recursive: bool, excluded: &[&Path]) -> Result<Self> {
        let (resolved, found) = find(root)?;
        let below = |folder: &&Path| {
            let folder = std::fs::canonicalize(folder).ok()?;
            folder.strip_prefix(&resolved).map(Path::to_path_buf).ok()
        };
        let excluded = excluded.iter().filter_map(below).collect();
        let network = network(&resolved);
        Ok(Folder { root: root.to_path_buf(), resolved, found, recursive, excluded, network })
    }

    /// Whether it still has its name.
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.root).is_ok_and(|m| same_file(&m, &self.found))
    }

    /// The folder that has its name now.
    pub fn anew(&self) -> Result<Self> {
        let (resolved, found) = find(&self.root)?;
        let network = network(&resolved);
        Ok(Folder { resolved, found, network, ..self.clone() })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder as events name it.
    pub fn resolved(&self) -> &Path {
        &self.resolved
    }

    pub fn recursive(&self) -> bool {
        self.recursive
    }

    /// Where the picture is that is called `name` below the folder.
    pub fn path(&self, name: &Path) -> PathBuf {
        self.root.join(name)
    }

    /// What the picture of this name is now; `None` if it is no file, or none that is meant.
    pub fn state(&self, name: &Path) -> Option<State> {
        let found = std::fs::metadata(self.path(name)).ok().filter(|m| m.is_file())?;
        let ours = name.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).any(|a| is_ours(&self.path(a)));
        (!ours).then(|| State::new(&found, self.network.is_none()))
    }

    /// The name of what an event calls so, if a picture in this place is meant.
    pub fn name_of(&self, path: &Path) -> Option<PathBuf> {
        let name = path.strip_prefix(&self.resolved).ok()?;
        let hidden = name.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
        let deep = name.components().count() > 1;
        let meant = listing::is_picture(name) && !hidden && (self.recursive || !deep) && !self.excludes(name);
        meant.then(|| name.to_path_buf())
    }

    fn excludes(&self, name: &Path) -> bool {
        self.excluded.iter().any(|e| name.starts_with(e))
    }

    /// Hands every picture that is meant to `take`, unsorted. Folders below that cannot be read are handed to `unreadable`.
    /// Error: the folder itself cannot be.
    pub fn each(&self, take: &mut dyn FnMut(PathBuf, State), unreadable: &mut dyn FnMut(Error)) -> Result<()> {
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            let folder = self.path(&below);
            let entries = match listing::entries(&folder) {
                Ok((entries, _)) => entries,
                Err(e) if below.as_os_str().is_empty() => return Err(Error::io(&self.root, e)),
                // Somebody removed it meanwhile.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => {
                    unreadable(Error::io(&folder, e));
                    continue;
                }
            };
            for entry in entries {
                let name = below.join(entry.file_name().unwrap_or_default());
                if listing::is_picture(&name)
                    && let Some(found) = std::fs::metadata(&entry).ok().filter(|m| m.is_file())
                {
                    take(name, State::new(&found, self.network.is_none()));
                } else if self.recursive && !self.excludes(&name) {
                    let is_folder = entry.symlink_metadata().is_ok_and(|m| m.is_dir());
                    open.extend((is_folder && !is_ours(&entry)).then_some(name));
                }
            }
        }
        Ok(())
    }
}

/// Where a folder is without links on the way, and what is found there.
fn find(root: &Path) -> Result<(PathBuf, Metadata)> {
    let found = std::fs::canonicalize(root).and_then(|resolved| Ok((std::fs::metadata(&resolved)?, resolved)));
    let (found, resolved) = found.map_err(|e| Error::unread(root, e, "a folder of pictures to watch"))?;
    if !found.is_dir() {
        invalid!("{}: is no folder, expected one to watch; `ckaad score` takes files", root.display());
    }
    Ok((resolved, found))
}

/// What the file system of a folder is called, if others may write there whom this system does not hear of.
#[cfg(target_os = "linux")]
fn network(folder: &Path) -> Option<&'static str> {
    // From linux/magic.h and the file systems' own headers.
    const KINDS: [(u64, &str); 14] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "SMB"),
        (0xFE53_4D42, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0x5346_414F, "AFS"),
        (0x6B41_4653, "AFS"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x1980_0202, "BeeGFS"),
        (0x7461_636F, "OCFS2"),
        (0x786F_4256, "VirtualBox"),
    ];
    // As wide as the system has it, and with a sign or without.
    let kind = rustix::fs::statfs(folder).ok()?.f_type as u64 & 0xFFFF_FFFF;
    KINDS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

/// Elsewhere who watches such a folder says --poll.
#[cfg(not(target_os = "linux"))]
fn network(_: &Path) -> Option<&'static str> {
    None
}
