//! Cells of solar modules in electroluminescence (ELPV, Deitsch et al. 2019, <https://github.com/zae-bayern/elpv-dataset>):
//! `labels.csv` (in the repository below `src/elpv_dataset/data`), with a path, the probability of a defect (0, 1/3, 2/3, 1) and mono or poly in a line, separated by blanks.
//! As in the field's comparisons, cells of which the experts were not sure are left alone. No split is published.

use std::path::{Path, PathBuf};

use super::found::{Found, no_row_names, normal_classes};
use super::records::Said;
use super::{Category, Layout, Options, Sample};
use crate::error::{Error, Result, plural};
use crate::invalid;

const TABLE: &str = "labels.csv";
const CLASSES: [&str; 3] = ["functional", "defective_mono", "defective_poly"];

pub const LAYOUT: Layout = Layout {
    name: "elpv",
    others: &[],
    looks: "labels.csv and images, also in src/elpv_dataset/data",
    normal: "probability 0",
    classes: true,
    recognise: |root| folder(root).is_some(),
    read,
};

/// Where the repository has them, seen from it and from its only folder.
const INSIDE: [&str; 2] = ["src/elpv_dataset/data", "elpv_dataset/data"];

/// The folder of the table and the pictures.
fn folder(root: &Path) -> Option<PathBuf> {
    let holds = |f: &PathBuf| f.join(TABLE).is_file() && f.join("images").is_dir();
    std::iter::once(root.to_path_buf()).chain(INSIDE.map(|inside| root.join(inside))).find(holds)
}

fn read(root: &Path, options: &Options) -> Result<Vec<Category>> {
    let root = &folder(root).unwrap_or_else(|| root.to_path_buf());
    let file = root.join(TABLE);
    let text = std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))?;
    let normal = normal_classes(root, &CLASSES.map(String::from), &CLASSES[..1], options)?;
    let (mut found, mut samples, mut unsure) = (Found::default(), Vec::new(), 0);
    let (mut said, mut again) = (Said::default(), 0);
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        let mut refuse = |why: &str| found.left_out.push(format!("{}: line {}: {why}", file.display(), i + 1));
        let (path, probability, kind) = match fields[..] {
            [path, probability, kind] => (root.join(path), probability.parse::<f64>(), kind),
            _ => {
                refuse("expected a path, a probability and mono or poly");
                continue;
            }
        };
        let called = probability.as_ref().map_or(fields[1].to_string(), |p| format!("{p}, {kind}"));
        if said.before(&file, i + 1, &path, &called)?.is_some() {
            again += 1;
            continue;
        }
        let class = match (probability, kind) {
            (Ok(0.0), "mono" | "poly") => CLASSES[0],
            (Ok(1.0), "mono") => CLASSES[1],
            (Ok(1.0), "poly") => CLASSES[2],
            (Ok(p), "mono" | "poly") if p > 0.0 && p < 1.0 => {
                unsure += 1;
                continue;
            }
            _ => {
                refuse("expected a probability from 0 to 1, and mono or poly");
                continue;
            }
        };
        match path.is_file() {
            true => samples.push(Sample::new(path, class, !normal.contains(class))),
            false => refuse(&format!("there is no file {}", path.display())),
        }
    }
    if again > 0 {
        found.notes.push(format!("{} not needed: an earlier one says the same of their cell", plural(again, "line")));
    }
    if unsure > 0 {
        let cells = plural(unsure, "cell");
        found
            .notes
            .push(format!("{cells} of which the experts were not sure (probability above 0 and below 1) not taken"));
    }
    found.notes.extend(no_row_names(&root.join("images"), &file, &said.pictures()));
    if samples.is_empty() {
        let why = found.left_out.first().map_or("it is empty".into(), String::clone);
        invalid!("{}: no line can be used: {why}", file.display());
    }
    found.add_unsplit(samples, |s| s.kind.clone(), |s| s.path().to_path_buf());
    Ok(vec![found.category("", root)])
}
