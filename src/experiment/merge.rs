//! Merging: what shards made of a grid's cells, held against the grid, as one set of results.

use super::folder::RESULTS;
use super::grid::Cell;
use super::inputs::Inputs;
use super::results::{self, Outcome};
use super::shard::Shard;
use crate::backend::Request;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file of results.
pub struct Source {
    pub path: PathBuf,
    pub outcomes: Vec<Outcome>,
}

/// What lies at the places that somebody named.
#[derive(Default)]
pub struct Found {
    pub sources: Vec<Source>,
    /// Into how many shards the grid was split, as folders are called.
    pub splits: BTreeSet<usize>,
    /// Folders without results.
    pub empty: Vec<PathBuf>,
}

/// Reads files of results, those in folders, and those in the folders of shards there; each once, however often it is named, and not
/// that of `out` itself, to which they are added.
pub fn find(out: &Path, places: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    let mut seen: BTreeSet<PathBuf> = out.join(RESULTS).canonicalize().into_iter().collect();
    for place in places {
        let shards = if place.is_file() { vec![] } else { shards_in(place)? };
        found.splits.extend(shards.iter().map(|shard| shard.of));
        let own = if place.is_file() { place.clone() } else { place.join(RESULTS) };
        let mut files = if own.exists() { vec![own] } else { vec![] };
        files.extend(shards.iter().map(|shard| place.join(shard.folder()).join(RESULTS)));
        if files.is_empty() {
            found.empty.push(place.clone());
        }
        for path in files {
            let folder = path.parent().unwrap_or(place);
            if !path.exists() {
                found.empty.push(folder.to_path_buf());
                continue;
            }
            let resolved = path.canonicalize().map_err(|e| Error::io(&path, e))?;
            let name = resolved.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            found.splits.extend(Shard::of_folder(&name).map(|shard| shard.of));
            if seen.insert(resolved) {
                let outcomes = results::read(&path)?;
                found.sources.push(Source { path, outcomes });
            }
        }
    }
    Ok(found)
}

/// Of which shards there are folders in one, in their order.
fn shards_in(folder: &Path) -> Result<Vec<Shard>> {
    let expected = "a folder that `ckaad experiment` wrote results into, or their file";
    let entries = std::fs::read_dir(folder).map_err(|e| Error::unread(folder, e, expected))?;
    let mut shards = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        shards.extend(Shard::of_folder(&entry.file_name().to_string_lossy()));
    }
    shards.sort();
    Ok(shards)
}

/// A cell of which two files have results.
pub struct Twice<'a> {
    pub cell: String,
    pub files: [&'a Path; 2],
}

/// A result that is none of the grid's.
pub struct Passed<'a> {
    pub path: &'a Path,
    pub cell: String,
    pub why: String,
}

/// What comes of it.
pub struct Merged<'a> {
    /// The grid's cells, each on the device that its result is of.
    pub cells: Vec<Cell>,
    /// One of each cell that has any, in the grid's order.
    pub outcomes: Vec<Outcome>,
    /// Which cells have none.
    pub missing: Vec<usize>,
    /// Of equal results, and of such that differ in more than the time they took.
    pub equal: Vec<Twice<'a>>,
    pub different: Vec<Twice<'a>>,
    pub passed: Vec<Passed<'a>>,
    /// Those of them that the others are added to.
    pub kept: Vec<Outcome>,
    /// Results of datasets that are not there.
    pub of_missing: usize,
}

/// Holds results against all `cells` of a grid, whose device is an empty text: that of the results is meant, since whoever merges
/// computes nothing. `own` are those to which the others are added; that they have what a shard has, too, is no news. Results of the datasets
/// called `missing` cannot be judged. Errors: results of several devices, of which `asked` names none.
pub fn merge<'a>(
    cells: &[Cell],
    own: &'a Source,
    sources: &'a [Source],
    asked: &Request,
    missing: &[&str],
) -> Result<Merged<'a>> {
    let mut of: Vec<Vec<(&Path, &Outcome)>> = vec![vec![]; cells.len()];
    let (mut passed, mut kept, mut of_missing) = (Vec::new(), Vec::new(), 0);
    let mut devices: BTreeMap<String, usize> = BTreeMap::new();
    for source in std::iter::once(own).chain(sources) {
        for outcome in &source.outcomes {
            let kind = outcome.cell.inputs.kind_of_device();
            let cell = on_any_device(&outcome.cell);
            let at = cells.iter().position(|c| *c == cell);
            if let Some(at) = at.filter(|_| is_asked_for(&kind, asked)) {
                *devices.entry(kind).or_default() += 1;
                of[at].push((&source.path, outcome));
                continue;
            }
            let is_missing = missing.contains(&outcome.cell.dataset.as_str());
            of_missing += usize::from(is_missing);
            let why = match at {
                Some(_) => format!("made on another device, {kind}"),
                None if is_missing => "its dataset is not there".into(),
                None => why_not(&outcome.cell, cells),
            };
            if std::ptr::eq(source, own) {
                kept.push(outcome.clone());
            }
            passed.push(Passed { path: &source.path, cell: outcome.cell.describe(), why });
        }
    }
    if devices.len() > 1 {
        let counts: Vec<String> = devices.iter().map(|(kind, n)| format!("{n} of {kind}")).collect();
        return Err(Error::Usage(format!(
            "there are results of different devices ({}); say with --device and --precision which are meant",
            counts.join(", ")
        )));
    }
    let mut merged = Merged {
        cells: cells.to_vec(),
        outcomes: vec![],
        missing: vec![],
        equal: vec![],
        different: vec![],
        passed,
        kept,
        of_missing,
    };
    for (at, results) in of.iter().enumerate() {
        let Some((first, outcome)) = results.first() else {
            merged.missing.push(at);
            continue;
        };
        merged.cells[at] = outcome.cell.clone();
        merged.outcomes.push((*outcome).clone());
        let cell = outcome.cell.describe();
        let text = comparable(outcome)?;
        let mut of_shard = Some(*first).filter(|path| *path != own.path);
        for (path, other) in &results[1..] {
            if comparable(other)? != text {
                merged.different.push(Twice { cell: cell.clone(), files: [first, path] });
            } else if let Some(first) = of_shard {
                merged.equal.push(Twice { cell: cell.clone(), files: [first, path] });
            } else {
                of_shard = Some(path);
            }
        }
    }
    Ok(merged)
}

/// The same cell with its device left open.
fn on_any_device(cell: &Cell) -> Cell {
    Cell { inputs: Inputs { device: String::new(), ..cell.inputs.clone() }, ..cell.clone() }
}

/// Whether a device, as [`Inputs::kind_of_device`] has it, is what somebody asked for.
fn is_asked_for(kind: &str, asked: &Request) -> bool {
    let (device, number) = kind.split_once(" in ").unwrap_or((kind, ""));
    let is = |asked: Option<String>, found: &str| asked.is_none_or(|asked| asked.split(':').next() == Some(found));
    is(asked.device.map(|d| d.to_string()), device) && is(asked.number.map(|n| n.to_string()), number)
}

/// What a result says, but for how long it took and on how much of which machine.
fn comparable(outcome: &Outcome) -> Result<String> {
    results::to_text(&[Outcome { cell: on_any_device(&outcome.cell), seconds: 0.0, threads: 0, ..outcome.clone() }])
}

/// How a cell that is none of the grid's differs from the one that would be its own.
fn why_not(cell: &Cell, cells: &[Cell]) -> String {
    let is_same = |c: &&Cell| {
        c.dataset == cell.dataset
            && c.categories == cell.categories
            && c.row == cell.row
            && c.classes == cell.classes
            && c.seed == cell.seed
    };
    let Some(own) = cells.iter().find(is_same) else { return "no cell of this grid".into() };
    let others = [
        (own.settings != cell.settings, "settings"),
        (own.validation != cell.validation, "share for validation"),
        (own.inputs.pictures != cell.inputs.pictures, "pictures"),
        (own.inputs.weights != cell.inputs.weights, "weights"),
    ];
    let others: Vec<&str> = others.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect();
    format!("of other {}", others.join(" and "))
}
