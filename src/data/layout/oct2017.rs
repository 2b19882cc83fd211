//! Retinas in optical coherence tomography (Kermany et al. 2018, <https://data.mendeley.com/datasets/rscbjbr9sj>, also on Kaggle):
//! `OCT2017/{train,val,test}/{CNV,DME,DRUSEN,NORMAL}`. Later versions have no `val`.

use super::Layout;
use super::classes::{Classes, has_classes, of_folder, read_classes};

pub const LAYOUT: Layout = Layout {
    name: "oct2017",
    others: &[],
    looks: "train/{CNV,DME,DRUSEN,NORMAL}",
    normal: "NORMAL",
    classes: true,
    recognise: |root| has_classes(root, "train", &["CNV", "DME", "DRUSEN", "NORMAL"]),
    read: |root, options| {
        read_classes(root, &Classes { usual: &["NORMAL"], kind: of_folder, is_class: |_| true }, options)
    },
};
