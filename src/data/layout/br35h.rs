//! Slices of brains in magnetic resonance, with and without a tumour (Br35H, Hamada 2020, on Kaggle; sets before and after it lie
//! alike): `no/` and `yes/`. `pred/` has no labels, and `Br35H-Mask-RCNN/` some of the same pictures again: both are passed over.

use super::classes::{Classes, of_folder, read_classes};
use super::{Layout, name_of};
use crate::data::listing;

const CLASSES: [&str; 2] = ["no", "yes"];

pub const LAYOUT: Layout = Layout {
    name: "br35h",
    others: &[],
    looks: "no and yes",
    normal: "no",
    classes: true,
    recognise: |root| {
        let folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
        CLASSES.iter().all(|class| folders.iter().any(|f| name_of(f).eq_ignore_ascii_case(class)))
    },
    read: |root, options| {
        read_classes(root, &Classes { all: &CLASSES, usual: &CLASSES[..1], kind: of_folder, is_class }, options)
    },
};

fn is_class(folder: &str) -> bool {
    CLASSES.iter().any(|class| class.eq_ignore_ascii_case(folder))
}
