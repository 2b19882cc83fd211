//! Slices of brains in magnetic resonance, with and without a tumour (Br35H, Hamada 2020, on Kaggle; sets before and after it lie
//! alike): `no/` and `yes/`. What lies in `pred/` has no label and is passed over.

use super::Layout;
use super::classes::{Classes, of_folder, read_classes};

pub const LAYOUT: Layout = Layout {
    name: "br35h",
    others: &[],
    looks: "no and yes",
    normal: "no",
    classes: true,
    recognise: |root| ["no", "yes"].iter().all(|class| root.join(class).is_dir()),
    read: |root, options| read_classes(root, &Classes { usual: &["no"], kind: of_folder, without: &["pred"] }, options),
};
