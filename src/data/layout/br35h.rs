//! Slices of brains in magnetic resonance, with and without a tumour (Br35H, Hamada 2020, on Kaggle; sets before and after it lie
//! alike): `no/` and `yes/`. `pred/` has no labels, and `Br35H-Mask-RCNN/` some of the same pictures again: both are passed over.

use super::Layout;
use super::classes::{Classes, of_folder, read_classes};

const CLASSES: [&str; 2] = ["no", "yes"];

pub const LAYOUT: Layout = Layout {
    name: "br35h",
    others: &[],
    looks: "no and yes",
    normal: "no",
    classes: true,
    recognise: |root| CLASSES.iter().all(|class| root.join(class).is_dir()),
    read: |root, options| read_classes(root, &Classes { usual: &CLASSES[..1], kind: of_folder, is_class }, options),
};

fn is_class(folder: &str) -> bool {
    CLASSES.contains(&folder)
}
