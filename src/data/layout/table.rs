//! A CSV file with a row for each picture, and how VisA's own is read.
//!
//! The first line names the columns, in any order and case: `path` (or `image`, `file`, `filename`), `label` (or `class`), and
//! where there are such `split`, `mask` (several files separated by `|`) and `category` (or `object`). Paths are absolute, or
//! below the folder of the file. Labels are `good`, `ok`, `normal`, `nominal` or 0 of normal pictures; any others are classes of
//! anomalies (1 is [`COARSE`]). Separators may be semicolons or tabs.

use ::csv::StringRecord;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::found::{Found, normal_classes};
use super::{COARSE, Category, Layout, NORMAL, Options, Sample, Split};
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

/// The header and the records of a CSV file, without a byte order mark, by the separator of its first line. Records that cannot be
/// read are left out, and named.
pub fn read(file: &Path, left_out: &mut Vec<String>) -> Result<(StringRecord, Vec<StringRecord>)> {
    let mut bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        invalid!("{}: is UTF-16, expected UTF-8: save it as \"CSV UTF-8\"", file.display());
    }
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |separator: &u8| first.iter().filter(|b| *b == separator).count();
    // Of several that are as frequent the last one.
    let separator = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
    let named = |e: ::csv::Error| Error::Invalid(format!("{}: {e}", file.display()));
    let mut table = ::csv::ReaderBuilder::new().delimiter(separator).trim(::csv::Trim::All).from_reader(&bytes[..]);
    let header = table.headers().map_err(named)?.clone();
    let mut records = Vec::new();
    for record in table.records() {
        match record {
            Ok(record) => records.push(record),
            Err(e) => left_out.push(named(e).to_string()),
        }
    }
    Ok((header, records))
}

/// A row as it is written.
struct Row {
    line: u64,
    path: PathBuf,
    label: String,
    /// None where there is no such column.
    split: Option<String>,
    masks: Vec<PathBuf>,
    category: String,
}

/// Reads a table whose paths are below `base`.
pub fn read_table(file: &Path, base: &Path, options: &Options) -> Result<Vec<Category>> {
    let mut left_out = Vec::new();
    let rows = rows(file, base, &mut left_out)?;
    let labels: BTreeSet<String> = rows.iter().map(|row| row.label.clone()).collect();
    let normal = normal_classes(file, &Vec::from_iter(labels), &[&NORMAL[..], &["0"]].concat(), options)?;
    // In which line a picture was, and what it was called there.
    let mut seen: HashMap<PathBuf, (u64, String)> = HashMap::new();
    let mut categories: BTreeMap<String, (Found, Vec<Sample>)> = BTreeMap::new();
    for row in rows {
        let Row { line, path, label, split, mut masks, category } = row;
        let mut refuse = |why: String| left_out.push(format!("{}: line {line}: {why}", file.display()));
        if label.is_empty() {
            refuse("no label".into());
            continue;
        }
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
        if let Some((first, other)) = seen.get(&path) {
            if *other != called {
                let (file, path) = (file.display(), path.display());
                invalid!(
                    "{file}: line {line}: {path} is \"{called}\" here and \"{other}\" in line {first}: a picture has one label \
                     and is on one side"
                );
            }
            refuse(format!("{} is in line {first} already", path.display()));
            continue;
        }
        seen.insert(path.clone(), (line, called));
        masks.retain(|mask| {
            let there = mask.is_file();
            if !there {
                refuse(format!("there is no file {}; its picture is taken without that mask", mask.display()));
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
            masks.clear();
        }
        let sample = Sample { masks, ..Sample::new(path, kind, anomalous) };
        let (found, unsplit) = categories.entry(category).or_default();
        match side {
            Some(side) => found.add(side, sample),
            None => unsplit.push(sample),
        }
    }
    if categories.is_empty() {
        let why = left_out.first().map_or("it has no rows".into(), String::clone);
        invalid!("{}: no row can be used: {why}", file.display());
    }
    let category = |(name, (mut found, unsplit)): (String, (Found, Vec<Sample>))| {
        if !unsplit.is_empty() {
            found.add_unsplit(unsplit, |s| s.kind.clone(), |s| s.path().to_path_buf());
        }
        // Rows of no use belong to no category in particular.
        found.left_out.clone_from(&left_out);
        found.category(name, file)
    };
    Ok(categories.into_iter().map(category).collect())
}

fn rows(file: &Path, base: &Path, left_out: &mut Vec<String>) -> Result<Vec<Row>> {
    let (header, records) = read(file, left_out)?;
    let column = |names: &[&str]| header.iter().position(|h| names.iter().any(|n| n.eq_ignore_ascii_case(h)));
    let (Some(path), Some(label)) = (column(PATH), column(LABEL)) else {
        let found: Vec<&str> = header.iter().collect();
        invalid!(
            "{}: its first line is \"{}\", expected the names of columns: path, label and perhaps split, mask, category",
            file.display(),
            found.join(",")
        );
    };
    let (split, mask, category) = (column(SPLIT), column(MASK), column(CATEGORY));
    let mut rows = Vec::new();
    for record in records {
        let line = record.position().map_or(0, |p| p.line());
        let field = |at: usize| record.get(at).unwrap_or_default();
        if field(path).is_empty() {
            left_out.push(format!("{}: line {line}: no path", file.display()));
            continue;
        }
        rows.push(Row {
            line,
            path: base.join(field(path)),
            label: field(label).to_string(),
            split: split.map(|at| field(at).to_string()),
            masks: mask.map_or("", field).split('|').filter(|m| !m.is_empty()).map(|m| base.join(m)).collect(),
            category: category.map_or("", field).to_string(),
        });
    }
    Ok(rows)
}
