//! VisA (Zou et al. 2022, <https://github.com/amazon-science/spot-diff>): twelve objects, each with `Data/Images/{Normal,Anomaly}` and
//! `Data/Masks/Anomaly`, and tables beside them that say what is for what. The one-class split is taken, `split_csv/1cls.csv`,
//! whose columns are `object,split,label,image,mask`. Pixels of masks hold 1 and above, not 255.

use super::{Category, Layout, Options, name_of, table};
use crate::error::Result;
use crate::invalid;
use crate::output::folder_of;
use std::path::Path;

const TABLE: &str = "split_csv/1cls.csv";

pub const LAYOUT: Layout = Layout {
    name: "visa",
    others: &[],
    looks: "split_csv/1cls.csv beside folders of objects; or one of these, Data/Images",
    normal: "normal in the table",
    classes: false,
    recognise: |root| {
        root.join(TABLE).is_file() || (root.join("Data/Images").is_dir() && folder_of(root).join(TABLE).is_file())
    },
    read,
};

fn read(root: &Path, options: &Options) -> Result<Vec<Category>> {
    if root.join(TABLE).is_file() {
        return table::read_table(&root.join(TABLE), root, options);
    }
    let above = folder_of(root);
    let mut categories = table::read_table(&above.join(TABLE), &above, options)?;
    let name = name_of(root);
    categories.retain(|c| c.name == name);
    if categories.is_empty() {
        invalid!("{}: {} has no rows of {name}", root.display(), above.join(TABLE).display());
    }
    Ok(categories)
}
