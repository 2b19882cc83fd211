//! A CSV file with a row for each picture, and how VisA's own is read.
//!
//! The first line names the columns, in any order and case: `path` (or `image`, `file`, `filename`), `label` (or `class`), and
//! where there are such `split`, `mask` (several files separated by `|`) and `category` (or `object`). Paths are absolute, or
//! below the folder of the file. Labels are `good`, `ok`, `normal`, `nominal` or 0 of normal pictures; any others are classes of
//! anomalies (1 is [`COARSE`]). Separators may be semicolons or tabs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::found::{Found, normal_classes};
use super::records::{self, Record, Said};
use super::{COARSE, Category, Layout, NORMAL, Options, Sample, Split, split};
use crate::data::image::marks_any;
use crate::error::{Error, Result};
use crate::invalid;
use crate::output::folder_of;

pub const LAYOUT: Layout = Layout {
    name: "csv",
    others: &[],
    looks: "a file .csv with the columns path, label and perhaps split, mask, category",
    normal: "good, ok, normal, nominal or 0; or --normal-class",
    classes: true,
    recognise: |root| root.is_file() && root.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")),
    read: |root, options| {
        if !root.is_file() {
            invalid!("{}: no file, expected {}", root.display(), LAYOUT.looks);
        }
        read_table(root, &folder_of(root), options)
    },
};

/// Names of the columns.
const PATH: &[&str] = &["path", "image", "file", "filename"];
const LABEL: &[&str] = &["label", "class"];
const SPLIT: &[&str] = &["split"];
const MASK: &[&str] = &["mask"];
const CATEGORY: &[&str] = &["category", "object"];

/// A row as it is written.
struct Row {
    line: usize,
    path: PathBuf,
    label: String,
    /// None where there is no such column.
    split: Option<String>,
    masks: Vec<PathBuf>,
    category: String,
}

/// What rows come to, by category.
type Categories = BTreeMap<String, Found>;

/// Reads a table whose paths are below `base`.
pub fn read_table(file: &Path, base: &Path, options: &Options) -> Result<Vec<Category>> {
    let (mut categories, mut of_none) = (Categories::new(), Vec::new());
    let rows = rows(file, base, &mut categories, &mut of_none)?;
    let first = |categories: &Categories, of_none: &[String]| {
        let why = of_none.iter().chain(categories.values().flat_map(|found| &found.left_out)).next();
        let why = why.map_or("it has no rows", String::as_str);
        Error::Invalid(format!("{}: no row can be used: {why}", file.display()))
    };
    if rows.is_empty() {
        return Err(first(&categories, &of_none));
    }
    let labels: BTreeSet<String> = rows.iter().map(|row| row.label.clone()).collect();
    let normal = normal_classes(file, &Vec::from_iter(labels), &[&NORMAL[..], &["0"]].concat(), options)?;
    let (mut said, mut masks_of_normal, mut wrong_masks) = (Said::default(), Vec::new(), Vec::new());
    // Pictures without a split, with their categories.
    let mut unsplit: Vec<(String, Sample)> = Vec::new();
    for row in rows {
        let Row { line, path, label, split, mut masks, category } = row;
        let found = categories.entry(category.clone()).or_default();
        let mut refuse = |why: String| found.left_out.push(format!("{}: line {line}: {why}", file.display()));
        let side = match split.as_deref().map(|name| (name, Split::find(name))) {
            Some((name, None)) => {
                refuse(format!("unknown split \"{name}\", expected train, validation or test"));
                continue;
            }
            Some((_, found)) => found,
            None => None,
        };
        if !path.is_file() {
            refuse(format!("there is no file {}", path.display()));
            continue;
        }
        let called = [Some(label.as_str()), side.map(Split::name)].into_iter().flatten().collect::<Vec<_>>().join(", ");
        if let Some(first) = said.before(file, line, &path, &called)? {
            refuse(format!("{} is in line {first} already", path.display()));
            continue;
        }
        masks.retain(|mask| {
            let there = mask.is_file();
            if !there {
                let (file, mask) = (file.display(), mask.display());
                let why =
                    format!("{file}: line {line}: there is no file {mask}; its picture is taken without that mask");
                wrong_masks.push((side, category.clone(), why));
            }
            there
        });
        let anomalous = !normal.contains(&label);
        let kind = match label.as_str() {
            "0" if !anomalous => NORMAL[0].to_string(),
            "1" if anomalous => COARSE.to_string(),
            _ => label,
        };
        if !anomalous {
            // They may be there, all black.
            masks_of_normal.extend(masks.drain(..).map(|mask| MaskOfNormal {
                line,
                mask,
                side,
                category: category.clone(),
            }));
        }
        let sample = Sample { masks, ..Sample::new(path, kind, anomalous) };
        match side {
            Some(side) => found.add(side, sample),
            None => unsplit.push((category, sample)),
        }
    }
    add_unsplit(unsplit, &mut categories);
    wrong_masks.extend(masks_of_normal.par_iter().filter_map(|mask| mask.wrong(file)).collect::<Vec<_>>());
    for (side, category, why) in wrong_masks {
        categories.entry(category).or_default().wrong_mask(side, why);
    }
    if categories.values().all(Found::is_empty) {
        return Err(first(&categories, &of_none));
    }
    // A row that names no category is none.
    if categories.get("").is_some_and(Found::is_empty) {
        of_none.extend(categories.remove("").into_iter().flat_map(|found| found.left_out));
    }
    let category = |(name, mut found): (String, Found)| {
        found.left_out.extend(of_none.iter().cloned());
        found.category(name, file)
    };
    Ok(categories.into_iter().map(category).collect())
}

/// A mask in the row of a normal picture.
struct MaskOfNormal {
    line: usize,
    mask: PathBuf,
    side: Option<Split>,
    category: String,
}

impl MaskOfNormal {
    /// Where it marks something one of both is wrong: the side and the category of the row, and why, which names it.
    fn wrong(&self, file: &Path) -> Option<(Option<Split>, String, String)> {
        let why = match marks_any(&self.mask) {
            Ok(false) => return None,
            Ok(true) => {
                format!("its label is of normal pictures, and its mask {} marks something", self.mask.display())
            }
            Err(e) => e.to_string(),
        };
        let (file, line) = (file.display(), self.line);
        let why = format!("{file}: line {line}: {why}; its picture is taken for normal, without that mask");
        Some((self.side, self.category.clone(), why))
    }
}

/// Splits pictures of all categories at once, since one model may be trained on all of them.
fn add_unsplit(unsplit: Vec<(String, Sample)>, categories: &mut Categories) {
    let samples: Vec<&Sample> = unsplit.iter().map(|(_, sample)| sample).collect();
    let stratum = |i: usize| (unsplit[i].0.clone(), samples[i].kind.clone());
    let sides = split::sides(&samples, stratum, |i| samples[i].path().to_path_buf());
    let mut split: BTreeMap<String, Vec<(Split, Sample)>> = BTreeMap::new();
    for (side, (category, sample)) in sides.into_iter().zip(unsplit) {
        split.entry(category).or_default().push((side, sample));
    }
    for (category, samples) in split {
        categories.entry(category).or_default().add_split(samples);
    }
}

/// The rows that say what they are of. Others are left out of their categories; those that cannot be read, of none.
fn rows(file: &Path, base: &Path, categories: &mut Categories, of_none: &mut Vec<String>) -> Result<Vec<Row>> {
    let (header, records) = records::read(file, of_none)?;
    let column = |names: &[&str]| records::column(file, &header, names);
    let (Some(path), Some(label)) = (column(PATH)?, column(LABEL)?) else {
        let found: Vec<&str> = header.iter().collect();
        invalid!(
            "{}: its first line is \"{}\", expected the names of columns: path, label and perhaps split, mask, category",
            file.display(),
            found.join(",")
        );
    };
    let (split, mask, category) = (column(SPLIT)?, column(MASK)?, column(CATEGORY)?);
    let mut rows = Vec::new();
    for Record { line, fields } in records {
        let field = |at: usize| fields.get(at).unwrap_or_default();
        let category = category.map_or("", field).to_string();
        if let Some((_, name)) = [(path, "path"), (label, "label")].into_iter().find(|(at, _)| field(*at).is_empty()) {
            let left_out = &mut categories.entry(category).or_default().left_out;
            left_out.push(format!("{}: line {line}: no {name}", file.display()));
            continue;
        }
        rows.push(Row {
            line,
            path: base.join(field(path)),
            label: field(label).to_string(),
            split: split.map(|at| field(at).to_string()),
            masks: mask.map_or("", field).split('|').filter(|m| !m.is_empty()).map(|m| base.join(m)).collect(),
            category,
        });
    }
    Ok(rows)
}
