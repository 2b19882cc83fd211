//! Which pictures are meant: what the arguments of a command stand for, and what a folder holds.
//!
//! Nothing is decoded here. Pictures are told by extension (any case), hidden files are skipped, and lists are sorted
//! by the bytes of the names, so that a seed means the same on every machine. Whatever is skipped is counted, but for what
//! systems leave in every folder.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::image::Source;
use crate::error::{Error, Result, plural};
use crate::invalid;
use crate::output::{Outputs, is_ours, ours_below};

/// Extensions that count as pictures inside a folder.
pub const EXTENSIONS: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "tif", "tiff", "webp", "gif"];

/// The folder of a dataset's masks, in any case.
pub(super) const GROUND_TRUTH: &str = "ground_truth";

/// What a walk over folders did not take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Files that are no pictures by their extensions (in lower case; empty without one).
    others: BTreeMap<String, usize>,
    /// Pipes, sockets and devices.
    special: usize,
    /// Links that lead nowhere, and links to folders that were read already.
    links: usize,
    /// Folders that this program wrote heat maps or maps into.
    outputs: usize,
    /// Pictures that it wrote into the folder that was named itself.
    own: usize,
    /// Hidden files and folders.
    hidden: usize,
    /// Folders of a dataset's masks.
    ground_truths: usize,
    /// Files called as masks of pictures beside them, where nobody asked for masks.
    pub(super) masks: usize,
    /// What lies in a dataset where nothing of it is looked for, each in words.
    out_of_place: Vec<String>,
}

impl PassedOver {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A folder of a dataset that is none of those it may hold; `name` is its path there.
    pub(super) fn folder(&mut self, name: &str, folder: &Path) {
        let count = walk(folder, &[], &mut |_, _| ()).pictures.len();
        self.out_of_place.push(format!("folder {name} ({})", plural(count, "picture")));
    }

    /// The folders in `folder` that hold pictures, but those that are `known` to mean something; `name` is its path in the dataset.
    pub(super) fn others(&mut self, folder: &Path, name: &str, known: impl Fn(&Path) -> bool) {
        let inside = folders(folder, name).map(|found| found.0).unwrap_or_default();
        for other in inside.iter().filter(|f| !known(f)).filter(|f| below(f).is_ok()) {
            let own = other.file_name().unwrap_or_default();
            self.folder(&Path::new(name).join(own).to_string_lossy(), other);
        }
    }

    /// Adds what another walk passed over.
    pub fn add(&mut self, other: Self) {
        other.others.into_iter().for_each(|(kind, n)| *self.others.entry(kind).or_default() += n);
        self.special += other.special;
        self.links += other.links;
        self.outputs += other.outputs;
        self.own += other.own;
        self.ground_truths += other.ground_truths;
        self.hidden += other.hidden;
        self.masks += other.masks;
        self.out_of_place.extend(other.out_of_place);
    }

    /// A file that is no picture by name.
    fn other(&mut self, file: &Path) {
        let kind = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        *self.others.entry(kind).or_default() += 1;
    }
}

/// `3 files that are not pictures by name (2 .txt, 1 .json), 1 pipe or device`
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |n: usize, one: &str, many: &str| {
            if n > 0 {
                parts.push(format!("{n} {}", if n == 1 { one } else { many }));
            }
        };
        let kind = |(kind, n): (&String, &usize)| match kind.as_str() {
            "" => format!("{n} without extension"),
            kind => format!("{n} .{kind}"),
        };
        let kinds: Vec<String> = self.others.iter().map(kind).collect();
        let kinds = kinds.join(", ");
        let (one, many) = ("file that is no picture by name", "files that are no pictures by name");
        part(self.others.values().sum(), &format!("{one} ({kinds})"), &format!("{many} ({kinds})"));
        part(self.special, "pipe or device", "pipes and devices");
        part(
            self.links,
            "link that leads nowhere or to a folder read already",
            "links that lead nowhere or to folders read already",
        );
        part(self.outputs, "folder of maps written by ckaad", "folders of maps written by ckaad");
        part(self.own, "picture written by ckaad", "pictures written by ckaad");
        part(self.ground_truths, "folder of masks beside a folder test", "folders of masks beside folders test");
        part(self.hidden, "hidden file or folder", "hidden files and folders");
        part(
            self.masks,
            "file called as the mask of a picture beside it",
            "files called as masks of pictures beside them",
        );
        parts.extend(self.out_of_place.iter().cloned());
        f.write_str(&parts.join(", "))
    }
}

/// The pictures below a folder.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sorted by path.
    pub pictures: Vec<PathBuf>,
    pub passed_over: PassedOver,
}

/// Lists the pictures in `folder` and in all folders below it, also where links lead to one. None at all is an error, as is
/// a folder that cannot be read. A folder that this program wrote maps into is left out; of `folder` itself, what it wrote
/// there. So are the masks of a dataset, in [`GROUND_TRUTH`] beside `test`.
pub fn below(folder: &Path) -> Result<Listing> {
    below_without(folder, &[])
}

/// The same without what lies below the folders `others`, which mean something else. Whoever named them knows: they do not
/// count as passed over.
pub fn below_without(folder: &Path, others: &[&Path]) -> Result<Listing> {
    let mut unreadable = Vec::new();
    let listing = readable(folder, others, &mut unreadable)?;
    unreadable.into_iter().next().map_or(Ok(listing), Err)
}

/// The same, going on without folders that cannot be read, which are added to `unreadable`: where there are any, it may be
/// that no picture is left.
pub fn readable(folder: &Path, others: &[&Path], unreadable: &mut Vec<Error>) -> Result<Listing> {
    let mut failed = Vec::new();
    let listing = walk(folder, others, &mut |path, e| failed.push(Error::io(path, e)));
    if listing.pictures.is_empty() && failed.is_empty() {
        let but = match &listing.passed_over {
            none if none.is_empty() => String::new(),
            some => format!("; passed over: {some}"),
        };
        invalid!("{}: no pictures in this folder or below it ({}){but}", folder.display(), EXTENSIONS.join(", "));
    }
    unreadable.append(&mut failed);
    Ok(listing)
}

/// The same, with folders that cannot be read handed to `unreadable`.
fn walk(root: &Path, others: &[&Path], unreadable: &mut dyn FnMut(&Path, std::io::Error)) -> Listing {
    let mut listing = Listing::default();
    let others: HashSet<PathBuf> = others.iter().filter_map(|o| std::fs::canonicalize(o).ok()).collect();
    let mut seen = HashSet::new();
    let mut open = vec![root.to_path_buf()];
    // Real folders come first, so that a link to one that lies elsewhere in the tree is what is passed over.
    let mut linked = Vec::new();
    while let Some(folder) = open.pop().or_else(|| linked.pop()) {
        let resolved = std::fs::canonicalize(&folder);
        let (resolved, (mut entries, hidden)) = match resolved.and_then(|r| Ok((r, entries(&folder)?))) {
            Ok(read) => read,
            Err(e) => {
                unreadable(&folder, e);
                continue;
            }
        };
        if folder != root && others.contains(&resolved) {
            continue;
        }
        if !seen.insert(resolved) {
            listing.passed_over.links += 1;
            continue;
        }
        listing.passed_over.hidden += hidden;
        let is = |e: &Path, name: &str| e.file_name().is_some_and(|n| n.eq_ignore_ascii_case(name)) && e.is_dir();
        if entries.iter().any(|e| is(e, "test")) {
            let all = entries.len();
            entries.retain(|e| !is(e, GROUND_TRUTH));
            listing.passed_over.ground_truths += all - entries.len();
        }
        for entry in entries {
            let Ok(found) = std::fs::metadata(&entry) else {
                listing.passed_over.links += 1;
                continue;
            };
            if found.is_dir() && is_ours(&entry) {
                listing.passed_over.outputs += 1;
            } else if found.is_dir() {
                if entry.is_symlink() { &mut linked } else { &mut open }.push(entry);
            } else if !found.is_file() {
                listing.passed_over.special += 1;
            } else if is_picture(&entry) {
                listing.pictures.push(entry);
            } else {
                listing.passed_over.other(&entry);
            }
        }
    }
    let own = ours_below(root);
    let all = listing.pictures.len();
    listing.pictures.retain(|picture| !own.contains(picture));
    listing.passed_over.own = all - listing.pictures.len();
    listing.pictures.sort();
    listing
}

/// What stands for pictures on a command line.
pub enum Given {
    /// A file, or a folder of pictures.
    Path(PathBuf),
    /// Paths of such, read one by one as they come.
    List {
        /// For errors.
        name: String,
        from: Box<dyn BufRead + Send>,
        /// What ends a path: a line feed (a carriage return before it, and empty lines, do not count), or 0.
        end: u8,
    },
}

/// A picture that is meant.
#[derive(Clone, Debug)]
pub struct Meant {
    pub source: Source,
    /// What files that are made of it may be called: its path below the folder that was given, or its file's name.
    pub name: PathBuf,
}

impl From<Source> for Meant {
    fn from(source: Source) -> Self {
        let name = source.path().file_name().map_or_else(|| "picture".into(), PathBuf::from);
        Meant { source, name }
    }
}

/// One of the pictures that are meant, or what could not be taken for one.
pub type Listed = std::result::Result<Meant, Refused>;

/// What cannot be read, and why.
#[derive(Debug)]
pub struct Refused {
    pub path: PathBuf,
    pub error: Error,
}

/// Hands the pictures that `given` stands for to `take`, in order, until it returns false: a file as it is (also when missing
/// or oddly named, its reader will say so), a folder as all pictures below it, without masks beside them. A folder without
/// pictures, one that cannot be read, what `outputs` would write over, and pipes and devices in a list come as [`Refused`].
/// Returns what was passed over.
pub fn each(given: Vec<Given>, outputs: &Outputs, take: &mut dyn FnMut(Listed) -> bool) -> Result<PassedOver> {
    let mut passed_over = PassedOver::default();
    for given in given {
        let (name, mut from, end) = match given {
            Given::Path(path) => {
                if !expand(path, outputs, &mut passed_over, take) {
                    break;
                }
                continue;
            }
            Given::List { name, from, end } => (name, from, end),
        };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if from.read_until(end, &mut line).map_err(|e| Error::io(&name, e))? == 0 {
                break;
            }
            let mut text = line.strip_suffix(&[end]).unwrap_or(&line);
            if end == b'\n' {
                text = text.strip_suffix(b"\r").unwrap_or(text);
            }
            if number == 1 {
                // A byte order mark, as Windows' editors write it.
                text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
            }
            if text.is_empty() {
                continue;
            }
            let go_on = match text.to_path() {
                // Nobody may ever write into a pipe that a list happens to hold.
                Ok(path) if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) => {
                    let error =
                        format!("{}: a pipe, a socket or a device, expected a file or a folder", path.display());
                    take(Err(Refused { path: path.to_path_buf(), error: Error::Invalid(error) }))
                }
                Ok(path) => expand(path.to_path_buf(), outputs, &mut passed_over, take),
                Err(_) => {
                    let error = format!("{name}: line {number} is no path on this system: it is not UTF-8");
                    take(Err(Refused { path: text.to_path_lossy().into_owned(), error: Error::Invalid(error) }))
                }
            };
            if !go_on {
                return Ok(passed_over);
            }
        }
    }
    Ok(passed_over)
}

/// Hands on what one path stands for; false where nobody listens any more.
fn expand(
    path: PathBuf,
    outputs: &Outputs,
    passed_over: &mut PassedOver,
    take: &mut dyn FnMut(Listed) -> bool,
) -> bool {
    if let Err(error) = outputs.expect_apart(&path) {
        return take(Err(Refused { path, error }));
    }
    if !path.is_dir() {
        return take(Ok(Source::from(path).into()));
    }
    let mut refused = Vec::new();
    let mut listing =
        walk(&path, &[], &mut |path, e| refused.push(Refused { path: path.into(), error: Error::io(path, e) }));
    if listing.pictures.is_empty() && refused.is_empty() {
        let error = format!("{}: no pictures in this folder or below it ({})", path.display(), EXTENSIONS.join(", "));
        refused.push(Refused { path: path.clone(), error: Error::Invalid(error) });
    }
    listing.passed_over.masks += take_masks(&mut listing.pictures).values().map(Vec::len).sum::<usize>();
    passed_over.add(listing.passed_over);
    let meant = |picture: PathBuf| {
        let name = picture.strip_prefix(&path).map(Path::to_path_buf);
        let meant = Meant::from(Source::from(picture));
        Ok(Meant { name: name.unwrap_or(meant.name), source: meant.source })
    };
    refused.into_iter().map(Err).chain(listing.pictures.into_iter().map(meant)).all(take)
}

/// The folders in `folder`, sorted, and what else is in it. `name` is its path in a dataset.
pub(super) fn folders(folder: &Path, name: &str) -> Result<(Vec<PathBuf>, PassedOver)> {
    let (mut folders, mut passed_over, mut loose) = (Vec::new(), PassedOver::default(), 0);
    let (entries, hidden) = entries(folder).map_err(|e| Error::io(folder, e))?;
    passed_over.hidden = hidden;
    for entry in entries {
        match std::fs::metadata(&entry) {
            Ok(found) if found.is_dir() => folders.push(entry),
            Ok(_) if is_picture(&entry) => loose += 1,
            Ok(_) => passed_over.other(&entry),
            Err(_) => passed_over.links += 1,
        }
    }
    folders.sort();
    if loose > 0 {
        passed_over.out_of_place.push(format!("{} in {name} itself", plural(loose, "picture")));
    }
    Ok((folders, passed_over))
}

/// What systems, their archives and this program leave in folders (in lower case), which nobody takes for pictures. Files of macOS that begin
/// with `._` are such, too.
const LITTER: [&str; 7] =
    [".ckaad-output", ".directory", ".ds_store", ".localized", "__macosx", "desktop.ini", "thumbs.db"];

/// Everything in `folder` that is not hidden, unsorted, and how much is.
pub fn entries(folder: &Path) -> std::io::Result<(Vec<PathBuf>, usize)> {
    let (mut paths, mut hidden) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if name.starts_with("._") || LITTER.contains(&name.as_str()) {
            continue;
        }
        if name.starts_with('.') {
            hidden += 1;
        } else {
            paths.push(entry.path());
        }
    }
    Ok((paths, hidden))
}

/// Whether a file of this name counts as a picture inside a folder.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension))
}

/// What follows the picture's name in its mask's, in the order in which they are looked for.
pub(super) const MASK_ENDINGS: [&str; 4] = ["_mask", "-mask", "", "_gt"];

/// Takes away the files that are called as masks of a picture beside them, and gives them by their picture's key, in the order
/// of [`MASK_ENDINGS`].
pub(super) fn take_masks(pictures: &mut Vec<PathBuf>) -> BTreeMap<String, Vec<PathBuf>> {
    let keys: HashSet<String> = pictures.iter().map(|p| key(&p.with_extension(""))).collect();
    let mut masks: BTreeMap<String, Vec<(usize, PathBuf)>> = BTreeMap::new();
    pictures.retain(|path| {
        let own = key(&path.with_extension(""));
        let of = |(rank, ending): (usize, &&str)| {
            let of = own.strip_suffix(ending).filter(|of| !ending.is_empty() && keys.contains(*of))?;
            Some((rank, of.to_string()))
        };
        let Some((rank, of)) = MASK_ENDINGS.iter().enumerate().find_map(of) else { return true };
        masks.entry(of).or_default().push((rank, path.clone()));
        false
    });
    let in_order = |(of, mut masks): (String, Vec<(usize, PathBuf)>)| {
        masks.sort();
        (of, masks.into_iter().map(|(_, path)| path).collect())
    };
    masks.into_iter().map(in_order).collect()
}

/// A path, the same on every system and in every case.
pub(super) fn key(path: &Path) -> String {
    let parts: Vec<String> = path.components().map(|c| c.as_os_str().to_string_lossy().to_lowercase()).collect();
    parts.join("/")
}
