//! CIFAR-10 (Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>): the batches of its binary version, whose records are
//! a byte for the class and 32 x 32 bytes each of red, green and blue; or folders of pictures by class.
//!
//! One class is normal, the other nine are not: airplane, unless another is asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classes::{Classes, has_classes, of_folder, read_classes};
use super::found::{Found, normal_classes};
use super::{Category, Layout, Options, Sample, Split, name_of};
use crate::data::image::Source;
use crate::error::{Error, Result};
use crate::invalid;

const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const SIDE: usize = 32;
/// Bytes of a record.
const RECORD: usize = 1 + 3 * SIDE * SIDE;
/// Records of a batch as it is published.
const RECORDS: usize = 10_000;
/// Where the batches lie as they are unpacked.
const INSIDE: &str = "cifar-10-batches-bin";
/// A batch of the version for Python.
const PICKLED: &str = "data_batch_1";
const TEST: &str = "test_batch.bin";

pub const LAYOUT: Layout = Layout {
    name: "cifar10",
    others: &["cifar"],
    looks: "data_batch_1.bin to data_batch_5.bin and test_batch.bin, also in cifar-10-batches-bin; or train/airplane to truck",
    normal: "airplane",
    classes: true,
    recognise: |root| batches(root).is_some() || root.join(PICKLED).is_file() || has_classes(root, &CLASSES),
    read,
};

/// The folder of the batches.
fn batches(root: &Path) -> Option<PathBuf> {
    [root.to_path_buf(), root.join(INSIDE)].into_iter().find(|f| (1..=5).any(|i| f.join(batch(i)).is_file()))
}

fn batch(number: usize) -> String {
    format!("data_batch_{number}.bin")
}

fn read(root: &Path, options: &Options) -> Result<Vec<Category>> {
    let Some(folder) = batches(root) else {
        if root.join(PICKLED).is_file() {
            invalid!("{}: the version for Python, expected the binary one (cifar-10-binary.tar.gz)", root.display());
        }
        let how = Classes { all: &CLASSES, usual: &CLASSES[..1], kind: of_folder, is_class: |_| true };
        return read_classes(root, &how, options);
    };
    let normal = normal_classes(root, &CLASSES.map(String::from), &CLASSES[..1], options)?;
    let mut found = Found::default();
    let published = (1..=5).map(|i| (Split::Train, batch(i))).chain([(Split::Test, TEST.to_string())]);
    let all: Vec<(Split, (PathBuf, Vec<u8>))> = published
        .map(|(split, name)| (split, folder.join(name)))
        .filter_map(|(split, file)| match file.is_file() {
            true => Some(labels(&file).map(|labels| (split, (file, labels)))),
            false => {
                found.left_out.push(format!("{}: there is no such batch", file.display()));
                None
            }
        })
        .collect::<Result<_>>()?;
    let others = all.iter().filter(|(_, (_, labels))| labels.len() != RECORDS);
    let others: Vec<String> = others.map(|(_, (file, labels))| format!("{} {}", name_of(file), labels.len())).collect();
    if !others.is_empty() {
        let (folder, others) = (folder.display(), others.join(", "));
        found.problems.push(format!("{folder}: a batch has {RECORDS} records as published, here {others}: cut short?"));
    }
    for (split, (path, labels)) in all {
        let file: Arc<Path> = path.into();
        for (i, label) in labels.into_iter().enumerate() {
            let Some(class) = CLASSES.get(usize::from(label)) else {
                invalid!("{}: record {i} has class {label}, expected 0 to 9: not CIFAR-10, or damaged", file.display());
            };
            let mut name = file.as_os_str().to_os_string();
            name.push(format!("#{i}"));
            let at = (i * RECORD + 1) as u64;
            let source = Source::Planes { name: name.into(), file: file.clone(), at, width: SIDE, height: SIDE };
            found.add(split, Sample::new(source, *class, !normal.contains(*class)));
        }
    }
    Ok(vec![found.category("", root)])
}

/// The classes of a batch's records.
fn labels(file: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    if bytes.is_empty() {
        invalid!("{}: is empty, expected records of {RECORD} bytes: unpack the archive again", file.display());
    }
    if bytes.len() % RECORD != 0 {
        let (file, length) = (file.display(), bytes.len());
        invalid!(
            "{file}: {length} bytes are no whole number of records of {RECORD}: cut short? unpack the archive again"
        );
    }
    Ok(bytes.iter().step_by(RECORD).copied().collect())
}
