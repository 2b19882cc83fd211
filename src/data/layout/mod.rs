//! Datasets in the layouts their owners publish. Each layout is a file here and a row of [`LAYOUTS`]; what all of them make of a
//! folder is a [`Dataset`], which names files and decodes none (but masks, where only they say what is anomalous).

mod br35h;
pub mod check;
mod chest_xray;
mod cifar10;
mod classes;
mod elpv;
mod folder;
mod found;
mod isic2018;
mod kolektor;
mod mvtec2;
mod oct2017;
mod recognise;
mod records;
pub mod split;
mod table;
mod visa;

use std::path::{Path, PathBuf};

use super::image::Source;
use super::listing::PassedOver;
use crate::error::{Error, Result, plural};

/// All layouts, the more particular ones first: the first that recognises a folder reads it.
pub const LAYOUTS: &[Layout] = &[
    visa::LAYOUT,
    table::LAYOUT,
    isic2018::LAYOUT,
    cifar10::LAYOUT,
    mvtec2::LAYOUT,
    kolektor::SDD,
    kolektor::SDD2,
    elpv::LAYOUT,
    oct2017::LAYOUT,
    chest_xray::LAYOUT,
    br35h::LAYOUT,
    folder::LAYOUT,
    classes::LAYOUT,
];

/// How a dataset lies in its folder.
#[derive(Debug)]
pub struct Layout {
    pub name: &'static str,
    /// Names of datasets that lie so, which are taken for its own.
    pub others: &'static [&'static str],
    /// What it is recognised by, in words.
    pub looks: &'static str,
    /// What is normal in it, in words.
    pub normal: &'static str,
    /// Whether pictures have classes of which others can be called normal.
    pub classes: bool,
    recognise: fn(&Path) -> bool,
    read: fn(&Path, &Options) -> Result<Vec<Category>>,
}

impl Layout {
    /// The layout of a name, or of a dataset that lies so.
    pub fn find(name: &str) -> Result<&'static Layout> {
        let found = LAYOUTS.iter().find(|l| l.name == name || l.others.contains(&name));
        found.ok_or_else(|| {
            let names: Vec<&str> = LAYOUTS.iter().map(|l| l.name).collect();
            Error::Usage(format!("unknown layout '{name}': expected one of {}", names.join(", ")))
        })
    }
}

/// How to read a dataset, where that is not up to its layout.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Classes that are normal; none are those of the layout.
    pub normal: Vec<String>,
}

/// Which pictures its owners say are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// As datasets write it, in any case.
    pub fn find(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Split::Train),
            "val" | "valid" | "validation" => Some(Split::Validation),
            "test" | "testing" => Some(Split::Test),
            _ => None,
        }
    }
}

/// One picture of a dataset.
#[derive(Clone, Debug)]
pub struct Sample {
    pub source: Source,
    /// Its class: the folder it lies in, or what a table calls it. Of a picture known only to be anomalous somewhere, [`COARSE`].
    pub kind: String,
    pub anomalous: bool,
    /// Files that mark its anomalies together; none of a normal picture, and where none was found.
    pub masks: Vec<PathBuf>,
    /// The category it is of, where several are taken together; else empty.
    pub category: String,
}

impl Sample {
    /// Without masks.
    pub fn new(source: impl Into<Source>, kind: impl Into<String>, anomalous: bool) -> Self {
        Sample { source: source.into(), kind: kind.into(), anomalous, masks: vec![], category: String::new() }
    }

    /// Its file, or what names it in one.
    pub fn path(&self) -> &Path {
        self.source.path()
    }
}

/// The pictures to train on.
#[derive(Clone, Debug, Default)]
pub struct TrainSet {
    /// At least one.
    pub good: Vec<Sample>,
    /// Empty when there are none, as in a folder without `train/anomalous`.
    pub anomalous: Vec<Sample>,
    /// Labelled pictures that nothing is learned from, for a threshold; mostly none.
    pub validation: Vec<Sample>,
    /// Folders that were taken for normal pictures, other than `good`.
    pub taken_for_normal: Vec<String>,
    /// Of the folders that were listed.
    pub passed_over: PassedOver,
    /// Rows and folders that cannot be used, each with the reason, which names it.
    pub left_out: Vec<String>,
}

/// Sets of pictures by their categories, and what is left out.
type There<T> = (Vec<(String, T)>, Vec<String>);

/// What there is of several categories, and why there is nothing of the others. Nothing of any is an error.
fn there_of<T>(categories: Vec<(String, Result<T>)>) -> Result<There<T>> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (name, set) in categories {
        match set {
            Ok(set) => there.push((name, set)),
            Err(why) => missing.push((name, why)),
        }
    }
    match missing.is_empty() || !there.is_empty() {
        true => Ok((there, missing.into_iter().map(|(name, why)| format!("{name}: {why}")).collect())),
        false => Err(missing.swap_remove(0).1),
    }
}

impl TrainSet {
    /// The pictures of several categories as one set; categories that have none are left out.
    pub fn of_categories(sets: Vec<(String, Result<TrainSet>)>) -> Result<Self> {
        let (there, missing) = there_of(sets)?;
        let mut all = Self::together(there);
        all.left_out.extend(missing);
        Ok(all)
    }

    /// Several categories' pictures as one set, each with its name.
    pub fn together(sets: Vec<(String, TrainSet)>) -> Self {
        let mut all = Self::default();
        for (name, set) in sets {
            all.good.extend(of_category(set.good, &name));
            all.anomalous.extend(of_category(set.anomalous, &name));
            all.validation.extend(of_category(set.validation, &name));
            all.taken_for_normal.extend(set.taken_for_normal);
            all.passed_over.add(set.passed_over);
            all.left_out.extend(set.left_out);
        }
        all
    }
}

fn of_category(samples: Vec<Sample>, name: &str) -> impl Iterator<Item = Sample> {
    samples.into_iter().map(move |s| Sample { category: name.to_string(), ..s })
}

/// The pictures to evaluate on, sorted by type, then name.
#[derive(Clone, Debug, Default)]
pub struct TestSet {
    pub images: Vec<Sample>,
    /// Folders that were taken for normal pictures, other than `good`.
    pub taken_for_normal: Vec<String>,
    /// Masks that were found beside their pictures.
    pub masks_beside: usize,
    /// Masks that are not taken, as another one of their picture is: each behind that one.
    pub second_masks: Vec<(PathBuf, PathBuf)>,
    /// Masks that belong to no picture.
    pub masks_of_none: Vec<PathBuf>,
    /// Masks of normal pictures, which are not taken: as a rule they mark nothing.
    pub masks_of_normal: Vec<PathBuf>,
    /// Of the folders that were listed.
    pub passed_over: PassedOver,
    /// Rows that cannot be used, and folders that hold no pictures or cannot be read, also of masks, each with the reason, which
    /// names it.
    pub left_out: Vec<String>,
}

impl TestSet {
    /// The pictures of several categories as one set; categories that have none are left out.
    pub fn of_categories(sets: Vec<(String, Result<TestSet>)>) -> Result<Self> {
        let (there, missing) = there_of(sets)?;
        let mut all = Self::together(there);
        all.left_out.extend(missing);
        Ok(all)
    }

    /// Several categories' pictures as one set, each with its name; classes are called `<category>/<class>`.
    pub fn together(sets: Vec<(String, TestSet)>) -> Self {
        let mut all = Self::default();
        for (name, set) in sets {
            let kind = |s: Sample| Sample { kind: format!("{name}/{}", s.kind), ..s };
            all.images.extend(of_category(set.images, &name).map(kind));
            all.taken_for_normal.extend(set.taken_for_normal);
            all.masks_beside += set.masks_beside;
            all.second_masks.extend(set.second_masks);
            all.masks_of_none.extend(set.masks_of_none);
            all.masks_of_normal.extend(set.masks_of_normal);
            all.passed_over.add(set.passed_over);
            all.left_out.extend(set.left_out);
        }
        all
    }

    /// Whether any mask was found: without one, pixel metrics have nothing to compare with.
    pub fn has_masks(&self) -> bool {
        self.images.iter().any(|i| !i.masks.is_empty())
    }
}

/// What is trained and evaluated by itself: an object of MVTec AD, or all of a dataset that knows no such parts.
#[derive(Debug)]
pub struct Category {
    /// Empty where it is all there is.
    pub name: String,
    /// Or why there is nothing to train on.
    pub train: Result<TrainSet>,
    /// Pictures that are neither trained nor tested on; mostly none.
    pub validation: Vec<Sample>,
    /// Or why there is nothing to test on.
    pub test: Result<TestSet>,
    /// What lies beside all of these and means nothing.
    pub passed_over: PassedOver,
    /// What is not as it should be and yet keeps nobody from using what there is, each in words.
    pub problems: Vec<String>,
    /// What the layout decided that somebody may want to know, such as a split of its own.
    pub notes: Vec<String>,
}

impl Category {
    /// The same, with a note of its pictures for validation.
    fn telling_of_validation(mut self) -> Self {
        if !self.validation.is_empty() {
            let count = plural(self.validation.len(), "picture");
            self.notes.push(format!("{count} for validation: for a threshold alone, neither to train nor to test on"));
        }
        self
    }

    /// All pictures of it.
    pub fn samples(&self) -> impl Iterator<Item = (Split, &Sample)> {
        let train = self.train.iter().flat_map(|set| set.good.iter().chain(&set.anomalous));
        let test = self.test.iter().flat_map(|set| &set.images);
        let train = train.map(|s| (Split::Train, s));
        train.chain(self.validation.iter().map(|s| (Split::Validation, s))).chain(test.map(|s| (Split::Test, s)))
    }
}

/// A dataset as its layout reads it.
pub struct Dataset {
    /// Where it lies: what was named, or a folder in it.
    pub root: PathBuf,
    pub layout: &'static Layout,
    /// At least one, sorted by name.
    pub categories: Vec<Category>,
    /// What was decided of all of it that somebody may want to know: that it lies in another folder than the one that was named.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Reads the dataset in `root` (a folder, or a CSV file) in the layout given, or in the first of [`LAYOUTS`] that
    /// recognises it or a single folder in it. What none does is read as folders, whose errors say what was expected.
    pub fn open(root: &Path, layout: Option<&'static Layout>, options: &Options) -> Result<Self> {
        std::fs::metadata(root).map_err(|e| Error::unread(root, e, &format!("a dataset ({})", folder::HOLDS)))?;
        let asked = layout;
        let recognise::Place { root, layout, note } = recognise::place(root, layout)?;
        if !layout.classes && !options.normal.is_empty() {
            let (name, normal) = (layout.name, layout.normal);
            return Err(Error::Usage(format!(
                "--normal-class: what is normal is fixed in layout {name} ({normal}); --layout {} takes every folder for a class",
                classes::LAYOUT.name
            )));
        }
        let categories = (layout.read)(&root, options).map_err(|e| match asked {
            // The others say themselves what they expect.
            Some(asked) if !(asked.recognise)(&root) && asked.name != folder::LAYOUT.name => Error::Invalid(format!(
                "{}: not of layout {}, which is recognised by this: {} ({e})",
                root.display(),
                asked.name,
                asked.looks
            )),
            _ => e,
        })?;
        Ok(Dataset { root, layout, categories, notes: Vec::from_iter(note) })
    }

    /// The categories of these names, or all of them.
    pub fn categories(self, names: &[String]) -> Result<Vec<Category>> {
        let (layout, root) = (self.layout.name, self.root.display());
        let there: Vec<&str> = self.categories.iter().map(|c| c.name.as_str()).collect();
        if let Some(unknown) = names.iter().find(|n| !there.contains(&n.as_str())) {
            let holds = match there[..] {
                [""] => "is one category, without a name".to_string(),
                _ => format!("holds {}", there.join(", ")),
            };
            return Err(Error::Usage(format!(
                "category {unknown} is not in {root}, a dataset of layout {layout} that {holds}"
            )));
        }
        Ok(self.categories.into_iter().filter(|c| names.is_empty() || names.contains(&c.name)).collect())
    }
}

/// The class of pictures known only to be anomalous somewhere.
pub const COARSE: &str = "anomalous";

/// Names of classes and folders of normal pictures, in any case; the first is that of most datasets.
pub const NORMAL: [&str; 4] = ["good", "ok", "normal", "nominal"];

fn is_normal(name: &str) -> bool {
    NORMAL.iter().any(|normal| normal.eq_ignore_ascii_case(name))
}

/// The last part of a path.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
