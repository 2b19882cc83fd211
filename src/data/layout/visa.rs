//! VisA (Zou et al. 2022, <https://github.com/amazon-science/spot-diff>): twelve objects, each with `Data/Images/{Normal,Anomaly}` and
//! `Data/Masks/Anomaly`, and tables beside them that say what is for what. The one-class split is taken, `split_csv/1cls.csv`,
//! whose columns are `object,split,label,image,mask`, unless another table there is named (`2cls_highshot.csv`, where anomalies are
//! labelled). Pixels of masks hold 1 and above, not 255.

use super::found::no_row_names;
use super::{Category, Layout, Options, name_of, records, table};
use crate::data::listing;
use crate::error::Result;
use crate::invalid;
use crate::output::folder_of;
use std::path::Path;

const TABLE: &str = "split_csv/1cls.csv";
const COLUMNS: [&str; 5] = ["object", "split", "label", "image", "mask"];

pub const LAYOUT: Layout = Layout {
    name: "visa",
    others: &[],
    looks: "split_csv/1cls.csv beside folders of objects; one of these, Data/Images; or a table in split_csv",
    normal: "normal in the table",
    classes: false,
    recognise: |root| {
        let object = || root.join("Data/Images").is_dir() && folder_of(root).join(TABLE).is_file();
        root.join(TABLE).is_file() || object() || is_table(root)
    },
    read,
};

/// Whether it is one of the owners' tables, whose paths are below the folder above theirs.
fn is_table(file: &Path) -> bool {
    let folder = std::path::absolute(file).ok().and_then(|file| Some(name_of(file.parent()?)));
    folder.is_some_and(|name| name == "split_csv")
        && file.is_file()
        && records::read(file, &mut vec![]).is_ok_and(|(header, _)| header.iter().eq(COLUMNS))
}

fn read(root: &Path, options: &Options) -> Result<Vec<Category>> {
    if root.join(TABLE).is_file() {
        return read_all(&root.join(TABLE), root, options);
    }
    if is_table(root) {
        let folder = folder_of(root);
        // Of a file in the working folder.
        let above = if folder.ends_with("split_csv") { folder_of(&folder) } else { folder.join("..") };
        return read_all(root, &above, options);
    }
    let above = folder_of(root);
    let mut categories = read_table(&above.join(TABLE), &above, options)?;
    let name = name_of(root);
    categories.retain(|c| c.name == name);
    if categories.is_empty() {
        invalid!("{}: {} has no rows of {name}", root.display(), above.join(TABLE).display());
    }
    Ok(categories)
}

/// All objects of a table. The first tells which lie below `base` that the table has not.
fn read_all(file: &Path, base: &Path, options: &Options) -> Result<Vec<Category>> {
    let mut categories = read_table(file, base, options)?;
    let folders = listing::folders(base, "").map(|found| found.0).unwrap_or_default();
    let objects = folders.iter().filter(|folder| folder.join("Data/Images").is_dir()).map(|folder| name_of(folder));
    let others: Vec<String> = objects.filter(|name| categories.iter().all(|c| c.name != *name)).collect();
    if let (Some(first), false) = (categories.first_mut(), others.is_empty()) {
        first.notes.push(format!("no categories, as {} has no rows of them: {}", file.display(), others.join(", ")));
    }
    Ok(categories)
}

/// What the table says, and which pictures of its objects it says nothing of.
fn read_table(file: &Path, base: &Path, options: &Options) -> Result<Vec<Category>> {
    let mut categories = table::read_table(file, base, options)?;
    for category in &mut categories {
        let named = category.samples().map(|(_, sample)| sample.path()).collect();
        let note = no_row_names(&base.join(&category.name).join("Data/Images"), file, &named);
        category.notes.extend(note);
    }
    Ok(categories)
}
