//! Skin lesions, ISIC 2018 challenge, task 3 (<https://challenge.isic-archive.com/data/#2018>): folders of pictures, and tables of
//! their classes with 1.0 in one of seven columns. The validation set is what papers test on; the test set, whose classes were
//! published years later, is passed over.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::found::{Found, normal_classes};
use super::records::{self, Said};
use super::{Category, Layout, Options, Sample, Split};
use crate::error::{Error, Result, plural};
use crate::invalid;

const CLASSES: [&str; 7] = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"];

pub const LAYOUT: Layout = Layout {
    name: "isic2018",
    others: &["isic"],
    looks: "ISIC2018_Task3_Training_Input, ISIC2018_Task3_Training_GroundTruth, and the same of Validation",
    normal: "NV",
    classes: true,
    // What is lost of it is named when it is read.
    recognise: |root| {
        let holds = |part| ["Input", "GroundTruth"].into_iter().any(|what| folder(root, part, what).is_dir());
        PARTS.into_iter().any(|(part, _)| holds(part))
    },
    read,
};

/// Published parts, and what each is for.
const PARTS: [(&str, Split); 2] = [("Training", Split::Train), ("Validation", Split::Test)];

fn folder(root: &Path, part: &str, what: &str) -> PathBuf {
    root.join(format!("ISIC2018_Task3_{part}_{what}"))
}

fn read(root: &Path, options: &Options) -> Result<Vec<Category>> {
    let normal = normal_classes(root, &CLASSES.map(String::from), &["NV"], options)?;
    let mut found = Found::default();
    for (part, split) in PARTS {
        let classes = classes(&folder(root, part, "GroundTruth"), part, &mut found)?;
        let mut without = HashSet::<&String>::from_iter(classes.keys());
        for path in found.below(&folder(root, part, "Input")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            without.remove(&name);
            match classes.get(&name) {
                Some(&class) => found.add(split, Sample::new(path, class, !normal.contains(class))),
                None => found.left_out.push(format!("{}: no row of the table of {part} names it", path.display())),
            }
        }
        let mut without = Vec::from_iter(without);
        without.sort();
        found
            .left_out
            .extend(without.into_iter().map(|name| format!("{name}: in the table of {part}, but no picture")));
    }
    let test = folder(root, "Test", "Input");
    if test.is_dir() {
        found.passed_over.folder("ISIC2018_Task3_Test_Input", &test);
    }
    Ok(vec![found.category("", root)])
}

/// Names of pictures with their classes.
fn classes(folder: &Path, part: &str, found: &mut Found) -> Result<HashMap<String, &'static str>> {
    let file = folder.join(format!("ISIC2018_Task3_{part}_GroundTruth.csv"));
    if let Err(e) = std::fs::metadata(&file) {
        let what = if part == "Training" { "training set" } else { "validation set, which is tested on" };
        let expected = format!("the classes of the {what}; the archive ISIC2018_Task3_{part}_GroundTruth.zip has them");
        return Err(Error::unread(&file, e, &expected));
    }
    let (header, records) = records::read(&file, &mut found.left_out)?;
    let mut columns: Vec<(usize, &str)> = Vec::new();
    for class in CLASSES {
        columns.extend(records::column(&file, &header, &[class])?.map(|at| (at, class)));
    }
    let (Some(image), true) = (records::column(&file, &header, &["image"])?, columns.len() == CLASSES.len()) else {
        let (file, header) = (file.display(), header.iter().collect::<Vec<_>>().join(","));
        invalid!("{file}: its first line is \"{header}\", expected image,{}", CLASSES.join(","));
    };
    let (mut classes, mut said, mut again) = (HashMap::new(), Said::default(), 0);
    for record in records {
        let one = |at: usize| record.fields.get(at).and_then(|v| v.parse::<f64>().ok()) == Some(1.0);
        let mut marked = columns.iter().filter(|(at, _)| one(*at));
        let (Some(&(_, class)), None) = (marked.next(), marked.next()) else {
            let line = record.line;
            found.left_out.push(format!("{}: line {line}: expected 1.0 in one column of a class", file.display()));
            continue;
        };
        let name = record.fields.get(image).unwrap_or_default();
        again += usize::from(said.before(&file, record.line, Path::new(name), class)?.is_some());
        classes.insert(name.to_string(), class);
    }
    if again > 0 {
        let rows = plural(again, "row");
        found.notes.push(format!(
            "{rows} of the table of {part} not needed: their pictures have one of the same class before"
        ));
    }
    Ok(classes)
}
