//! MVTec AD's folders, and all that are laid out like them (MPDD, BTAD, our own).
//!
//! ```text
//! DIR/train/good/*               normal pictures to train on
//! DIR/train/anomalous/*          optional: pictures known to be anomalous somewhere
//! DIR/train/<type>/*             optional: those known to be of a defect type that test has, too
//! DIR/val/good/*, DIR/val/<type>/*   optional: pictures for a threshold; the folder may be called validation, too
//! DIR/test/good/*                normal pictures to evaluate on
//! DIR/test/<type>/*              anomalous ones, one folder per defect type
//! DIR/ground_truth/<type>/<stem>_mask.png
//! ```
//!
//! Masks may also be called `<stem>-mask`, `<stem>` or `<stem>_GT`, with any picture's extension, and may be several in a folder
//! `<stem>`; the folder of normal pictures may be called as [`NORMAL`] has it. A file called as a mask (but not just `<stem>`)
//! beside its picture is no picture, either. Nothing is decoded here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{COARSE, Category, Layout, NORMAL, Options, Sample, Split, TestSet, TrainSet, classes, is_normal, name_of};
use crate::data::listing::{self, GROUND_TRUTH, MASK_ENDINGS, PassedOver, entries, key, take_masks};
use crate::error::{Error, Result, plural};
use crate::invalid;
use crate::output::{folder_of, is_ours};
use same_file::is_same_file;

pub const LAYOUT: Layout = Layout {
    name: "folder",
    others: &["mvtec", "mpdd", "btad"],
    looks: "train/good, perhaps train/<type>, test/good, test/<type>, ground_truth/<type>; or folders of categories, each like that",
    normal: "good, ok, normal or nominal",
    classes: false,
    recognise: |root| is_category(root) || !categories(root, TEST).is_empty(),
    read,
};

const TEST: &str = "test";

pub(super) const HOLDS: &str =
    "a dataset holds train/good, test/good, test/<type> and ground_truth/<type>/<stem>_mask.png";

/// Whether something in `root` says that it is one category.
pub(super) fn is_category(root: &Path) -> bool {
    root.join("test").is_dir() && !root.join("train").is_dir() || has_normal(&root.join("train"))
}

/// Whether a folder of normal pictures is in it.
pub(super) fn has_normal(folder: &Path) -> bool {
    listing::folders(folder, "").is_ok_and(|(folders, _)| folders.iter().any(|f| is_normal(&name_of(f))))
}

/// The folders of `root` that are categories, with a folder called `test` to test on; beside a whole one also those with pictures
/// to train or to test on alone, which somebody has to miss the others of.
pub(super) fn categories(root: &Path, test: &str) -> Vec<PathBuf> {
    let mut folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
    let whole = |f: &PathBuf| has_normal(&f.join("train")) && f.join(test).is_dir();
    let half = |f: &PathBuf| {
        ["train", test].map(|side| f.join(side)).iter().any(|side| has_normal(side) && listing::below(side).is_ok())
    };
    match folders.iter().any(whole) {
        true => folders.retain(|f| whole(f) || half(f)),
        false => folders.clear(),
    }
    folders
}

/// One category, or all of a folder of them. One that nothing can be found in says so when it is to be used.
fn read(root: &Path, _: &Options) -> Result<Vec<Category>> {
    check_root(root)?;
    let one = |name, root: &Path| Category::of_folders(name, root, TrainSet::open(root), TEST, TestSet::open(root));
    if is_category(root) || categories(root, TEST).is_empty() {
        return Ok(vec![one(String::new(), root)]);
    }
    each(root, TEST, one)
}

/// All categories of a folder of them, each by its name and folder. The first tells what else lies there.
pub(super) fn each(root: &Path, test: &str, one: impl Fn(String, &Path) -> Category) -> Result<Vec<Category>> {
    let folders = categories(root, test);
    let mut categories: Vec<Category> = folders.iter().map(|folder| one(name_of(folder), folder)).collect();
    let (mut others, _) = listing::folders(root, "")?;
    others.retain(|folder| !folders.contains(folder));
    let names: Vec<String> = others.iter().map(|folder| name_of(folder)).collect();
    if let (Some(first), false) = (categories.first_mut(), names.is_empty()) {
        let names = names.join(", ");
        first.notes.push(format!("no categories, as there are no pictures in train/good or {test}/good: {names}"));
    }
    Ok(categories)
}

impl Category {
    /// A category in folders `train` and `test`, which may be called otherwise, with what lies beside them.
    pub(super) fn of_folders(
        name: String,
        root: &Path,
        train: Result<TrainSet>,
        test_folder: &str,
        test: Result<TestSet>,
    ) -> Self {
        let (validation, problems, notes) = (vec![], vec![], vec![]);
        let mut category =
            Category { name, train, validation, test, passed_over: PassedOver::default(), problems, notes };
        // What nothing is found in is none, and its errors say what was expected.
        if category.train.is_err() && category.test.is_err() {
            return category;
        }
        let is_validation = |folder: &Path| Split::find(&name_of(folder)) == Some(Split::Validation);
        category.passed_over.others(root, "", |folder| {
            let sides = ["train", test_folder].map(|side| root.join(side));
            is_validation(folder)
                || name_of(folder).eq_ignore_ascii_case(GROUND_TRUTH)
                || sides.iter().any(|side| is_same_file(side, folder).unwrap_or(false))
        });
        let folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
        folders.iter().filter(|f| is_validation(f)).for_each(|folder| category.add_validation(folder));
        category.telling_of_validation()
    }

    /// Adds the pictures of `val/<type>` or `validation/<type>`. They are nobody's to miss who sets no threshold by them.
    fn add_validation(&mut self, folder: &Path) {
        let name = name_of(folder);
        let (types, passed_over) = match listing::folders(folder, &name) {
            Ok(found) => found,
            Err(why) => return self.problems.push(why.to_string()),
        };
        self.passed_over.add(passed_over);
        for folder in types {
            let kind = name_of(&folder);
            if classes::holds_masks(&kind) {
                self.passed_over.folder(&format!("{name}/{kind}"), &folder);
                continue;
            }
            let kind = if kind.eq_ignore_ascii_case(COARSE) { COARSE } else { &kind };
            match self.passed_over.pictures(&folder, &[]) {
                Ok(pictures) => self.validation.extend(samples(pictures, kind, !is_normal(kind))),
                Err(why) => self.problems.push(why.to_string()),
            }
        }
    }
}

impl TrainSet {
    /// Lists `root/train`: folders of [`NORMAL`] names, `anomalous`, and classes that `root/test` has, too. Others are left out. A
    /// missing or empty `train/good` is an error, as is a `train/anomalous` without pictures.
    pub fn open(root: &Path) -> Result<Self> {
        check_root(root)?;
        let train = root.join("train");
        let (folders, passed_over) = match train.is_dir() {
            true => listing::folders(&train, "train")?,
            false => Default::default(),
        };
        let mut set = Self { passed_over, ..Self::default() };
        let mut found = false;
        for folder in folders {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if is_normal(&name) {
                found = true;
                set.good.extend(samples(set.passed_over.pictures(&folder, &[])?, &name, false));
                if name != NORMAL[0] {
                    set.taken_for_normal.push(name.into_owned());
                }
            } else if name.eq_ignore_ascii_case(COARSE) {
                set.anomalous.extend(samples(set.passed_over.pictures(&folder, &[])?, COARSE, true));
            } else if classes::holds_masks(&name) {
                set.passed_over.folder(&format!("train/{name}"), &folder);
            } else {
                let known = root.join("test").join(&*name).is_dir();
                match set.passed_over.pictures(&folder, &[]) {
                    Ok(pictures) if known => set.anomalous.extend(samples(pictures, &name, true)),
                    Ok(pictures) => set.left_out.push(format!(
                        "{}: {} of a class that test has not: call the folder train/{COARSE} to learn from them",
                        folder.display(),
                        plural(pictures.len(), "picture"),
                    )),
                    Err(why) => set.left_out.push(why.to_string()),
                }
            }
        }
        if !found {
            let advice = advice(root, "test", "all normal", &format!("--normal {}", root.display()));
            invalid!("{}: there is no train/good in it ({HOLDS}){advice}", root.display());
        }
        expect_apart(&set.good, &set.anomalous)?;
        Ok(set)
    }

    /// All pictures below a folder of normal ones and, if there is one, a folder of anomalous ones.
    pub fn of_folders(normal: &Path, anomalous: Option<&Path>, masks: Option<&Path>) -> Result<Self> {
        let mut set = Self::default();
        expect_there([(Some(normal), "normal pictures"), (anomalous, "anomalous pictures"), (masks, "masks")])?;
        set.good = samples(set.passed_over.pictures(normal, masks.as_slice())?, NORMAL[0], false).collect();
        if let Some(folder) = anomalous {
            set.anomalous = samples(set.passed_over.pictures(folder, masks.as_slice())?, COARSE, true).collect();
        }
        expect_apart(&set.good, &set.anomalous)?;
        Ok(set)
    }
}

/// Refuses folders that are not there at all, which were mistyped, or cannot be read, by what they are of.
fn expect_there(given: [(Option<&Path>, &str); 3]) -> Result<()> {
    for (folder, what) in given.into_iter().filter_map(|(folder, what)| Some((folder?, what))) {
        std::fs::read_dir(folder).map_err(|e| Error::unread(folder, e, &format!("a folder of {what}")))?;
    }
    Ok(())
}

/// Refuses pictures that are normal and anomalous at once, by whatever names their folders go.
fn expect_apart<'a>(
    normal: impl IntoIterator<Item = &'a Sample>,
    anomalous: impl IntoIterator<Item = &'a Sample>,
) -> Result<()> {
    let mut folders: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut place = |sample: &Sample| {
        let resolve = |folder: &Path| std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        let folder = folder_of(sample.path());
        let real = folders.entry(folder).or_insert_with_key(|folder| resolve(folder));
        real.join(sample.path().file_name().unwrap_or_default())
    };
    let normal: HashSet<PathBuf> = normal.into_iter().map(&mut place).collect();
    if let Some(both) = anomalous.into_iter().find(|sample| normal.contains(&place(sample))) {
        invalid!("{}: given as a normal picture and as an anomalous one", both.path().display());
    }
    Ok(())
}

impl PassedOver {
    /// The pictures below a folder, but not in the folders `without`; what else is there is added.
    fn pictures(&mut self, folder: &Path, without: &[&Path]) -> Result<Vec<PathBuf>> {
        let mut found = listing::below_without(folder, without)?;
        found.passed_over.masks += take_masks(&mut found.pictures).values().map(Vec::len).sum::<usize>();
        self.add(found.passed_over);
        Ok(found.pictures)
    }
}

/// Pictures of one kind, without masks.
fn samples(pictures: Vec<PathBuf>, kind: &str, anomalous: bool) -> impl Iterator<Item = Sample> {
    pictures.into_iter().map(move |path| Sample::new(path, kind, anomalous))
}

impl TestSet {
    /// Lists `root/test` and the masks in `root/ground_truth`. Which types are there is up to the dataset, but there
    /// has to be at least one picture; a folder in `test` that holds none, or cannot be read, is left out.
    pub fn open(root: &Path) -> Result<Self> {
        check_root(root)?;
        let test = root.join("test");
        if !test.exists() {
            let given = root.display();
            let flags = format!("--normal {given} or --anomalous {given}");
            let advice = advice(root, "train", "all of one kind", &flags);
            if advice.is_empty() {
                invalid!("{}: no such folder ({HOLDS})", test.display());
            }
            invalid!("{given}: there is no test in it ({HOLDS}){advice}");
        }
        let (kinds, passed_over) = listing::folders(&test, "test")?;
        if kinds.is_empty() {
            invalid!("{}: no folders in it, expected good and one per defect type ({HOLDS})", test.display());
        }
        let mut set = Self { passed_over, ..Self::default() };
        let mut masks = Masks::of_dataset(root, &mut set.left_out)?;
        for folder in kinds {
            let Some(kind) = folder.file_name().and_then(OsStr::to_str).map(str::to_owned) else {
                invalid!("{}: a defect type's name has to be UTF-8", folder.display());
            };
            let normal = is_normal(&kind);
            if normal && kind != NORMAL[0] {
                set.taken_for_normal.push(kind.clone());
            }
            if let Err(e) = set.add(&folder, &kind, !normal, &mut masks, None) {
                set.left_out.push(e.to_string());
            }
        }
        set.with(masks)
    }

    /// All pictures below folders of normal and of anomalous ones, either of which may be missing, with masks below a third
    /// one that are called as their pictures are. Folders in that of the anomalous ones are defect types. Where the
    /// masks' folder lies in one of the others, or one of them in it, no file is taken for both.
    pub fn of_folders(normal: Option<&Path>, anomalous: Option<&Path>, masks: Option<&Path>) -> Result<Self> {
        let mut set = Self::default();
        expect_there([(normal, "normal pictures"), (anomalous, "anomalous pictures"), (masks, "masks")])?;
        let root = masks;
        let pictures: Vec<&Path> = normal.into_iter().chain(anomalous).collect();
        // Masks in the very folder of the pictures are found beside them.
        let apart = masks.filter(|m| !pictures.iter().any(|p| is_same_file(m, p).unwrap_or(false)));
        let mut masks = match apart {
            Some(folder) => Masks::open(folder, &pictures, &mut set.left_out)?,
            None => Masks::default(),
        };
        if let Some(folder) = anomalous {
            set.add(folder, COARSE, true, &mut masks, root)?;
            set.leave_out_empty(folder);
            for image in &mut set.images {
                let below = image.path().strip_prefix(folder).ok().and_then(|p| p.components().next());
                let kind = below.map(|c| c.as_os_str().to_string_lossy().into_owned());
                if let Some(kind) = kind.filter(|k| folder.join(k).is_dir()) {
                    image.kind = kind;
                }
            }
            set.images.sort_by(|a, b| (&a.kind, a.path()).cmp(&(&b.kind, b.path())));
        }
        if let Some(folder) = normal {
            set.add(folder, NORMAL[0], false, &mut masks, root)?;
        }
        let (anomalous, normal): (Vec<&Sample>, Vec<&Sample>) = set.images.iter().partition(|i| i.anomalous);
        expect_apart(normal, anomalous)?;
        set.with(masks)
    }

    /// The set with what is to be said of its masks, unless all of it was left out: masks come first there, folders of pictures last.
    fn with(mut self, masks: Masks) -> Result<Self> {
        self.masks_of_none = masks.unused();
        // A normal picture may be called as an anomalous one, whose mask it is.
        let taken: HashSet<&PathBuf> = self.images.iter().flat_map(|image| &image.masks).collect();
        self.masks_of_normal.retain(|mask| !taken.contains(mask));
        match (&self.images[..], self.left_out.last()) {
            ([], Some(why)) => Err(Error::Invalid(why.clone())),
            _ => Ok(self),
        }
    }

    /// Defect types without any picture, in a folder whose pictures were added.
    fn leave_out_empty(&mut self, folder: &Path) {
        let (mut kinds, _) = entries(folder).unwrap_or_default();
        kinds.retain(|k| k.is_dir() && !is_ours(k) && !self.images.iter().any(|i| i.path().starts_with(k)));
        kinds.sort();
        // One that cannot be read is left out already.
        let empty =
            kinds.iter().filter_map(|kind| listing::below(kind).err().filter(|e| matches!(e, Error::Invalid(_))));
        self.left_out.extend(empty.map(|e| e.to_string()));
    }

    /// Adds the pictures below `folder`, but not those in the folder of the masks.
    fn add(
        &mut self,
        folder: &Path,
        kind: &str,
        anomalous: bool,
        masks: &mut Masks,
        without: Option<&Path>,
    ) -> Result<()> {
        let mut unreadable = Vec::new();
        let found = listing::readable(folder, without.as_slice(), &mut unreadable);
        let mut found = found.map_err(|e| Error::Invalid(format!("{e} ({HOLDS})")))?;
        self.left_out.extend(unreadable.iter().map(Error::to_string));
        let mut beside = take_masks(&mut found.pictures);
        let count: usize = beside.values().map(Vec::len).sum();
        let mut taken = 0;
        for path in found.pictures {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            let (mut masks, mut others) = masks.of(kind, name);
            if !anomalous {
                // They may be there, all black.
                self.masks_of_normal.extend(masks.drain(..).chain(others.drain(..)));
            } else if masks.is_empty()
                && let Some(all) = beside.remove(&key(&path.with_extension("")))
            {
                taken += all.len();
                self.masks_beside += 1;
                let mut all = all.into_iter();
                (masks, others) = (all.by_ref().take(1).collect(), all.collect());
            }
            if let Some(first) = masks.first() {
                self.second_masks.extend(others.into_iter().map(|other| (first.clone(), other)));
            }
            self.images.push(Sample { masks, ..Sample::new(path, kind, anomalous) });
        }
        found.passed_over.masks += count - taken;
        self.passed_over.add(found.passed_over);
        Ok(())
    }
}

/// How to name the pictures below a folder that is no dataset; nothing where there are none. One with the folder `other` is a
/// dataset with a part missing, and not all of its pictures are of one kind.
fn advice(root: &Path, other: &str, kind: &str, flags: &str) -> String {
    match listing::below(root) {
        Ok(_) if root.join(other).is_dir() => ". If the pictures are in another folder: --normal DIR".into(),
        Ok(flat) => format!(". If the pictures below it ({}) are {kind}: {flags}", flat.pictures.len()),
        Err(_) => String::new(),
    }
}

/// Mask files by where they lie below their folder, in lower case and without extension.
#[derive(Default)]
struct Masks {
    files: BTreeMap<String, Vec<PathBuf>>,
    /// The files of each folder.
    folders: BTreeMap<String, Vec<PathBuf>>,
    /// Of some picture.
    used: HashSet<PathBuf>,
}

impl Masks {
    /// Those of a dataset, whose folder of masks may not be there, or hold none, and may be written in capitals.
    fn of_dataset(root: &Path, left_out: &mut Vec<String>) -> Result<Self> {
        let folders = listing::folders(root, "")?.0;
        let named = |f: &&PathBuf| f.file_name().is_some_and(|name| name.eq_ignore_ascii_case(GROUND_TRUTH));
        // Of several that in small letters, which come last.
        match folders.iter().rfind(named).map(|folder| Self::open(folder, &[], left_out)) {
            None | Some(Err(Error::Invalid(_))) => Ok(Self::default()),
            Some(masks) => masks,
        }
    }

    /// Those below `root`, but not in the folders of `pictures`; what cannot be read of it goes to `left_out`.
    fn open(root: &Path, pictures: &[&Path], left_out: &mut Vec<String>) -> Result<Self> {
        let (mut masks, mut unreadable) = (Self::default(), Vec::new());
        let found = listing::readable(root, pictures, &mut unreadable)?.pictures;
        left_out.extend(unreadable.iter().map(Error::to_string));
        for path in found {
            let below = path.strip_prefix(root).unwrap_or(&path);
            masks.folders.entry(key(below.parent().unwrap_or(Path::new("")))).or_default().push(path.clone());
            masks.files.entry(key(&below.with_extension(""))).or_default().push(path);
        }
        Ok(masks)
    }

    /// The masks of a picture: a file called as it is, or all files in a folder called as it is (as in MVTec LOCO), in the
    /// folder of its type or beside the types' folders. And those that could be it as well.
    fn of(&mut self, kind: &str, name: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let stem = name.with_extension("");
        for place in [Path::new(kind).join(&stem), stem] {
            let key = key(&place);
            let files = MASK_ENDINGS.iter().filter_map(|ending| self.files.get(&format!("{key}{ending}")));
            let mut found: Vec<PathBuf> = files.flatten().cloned().collect();
            let single = !found.is_empty();
            found.extend(self.folders.get(&key).into_iter().flatten().cloned());
            if !found.is_empty() {
                self.used.extend(found.iter().cloned());
                let others = if single { found.split_off(1) } else { vec![] };
                return (found, others);
            }
        }
        (vec![], vec![])
    }

    /// Those that were no picture's so far.
    fn unused(&self) -> Vec<PathBuf> {
        let mut unused: Vec<PathBuf> =
            self.files.values().flatten().filter(|f| !self.used.contains(*f)).cloned().collect();
        unused.sort();
        unused
    }
}

fn check_root(root: &Path) -> Result<()> {
    if !root.is_dir() {
        invalid!("{}: not a folder, expected a dataset ({HOLDS})", root.display());
    }
    Ok(())
}
