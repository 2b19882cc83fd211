//! Retinas in optical coherence tomography (Kermany et al. 2018, <https://data.mendeley.com/datasets/rscbjbr9sj>, also on Kaggle):
//! `OCT2017/{train,val,test}/{CNV,DME,DRUSEN,NORMAL}`. Later versions have no `val`.

use super::Layout;
use super::classes::{Classes, has_classes, of_folder, read_classes};

const CLASSES: [&str; 4] = ["CNV", "DME", "DRUSEN", "NORMAL"];

pub const LAYOUT: Layout = Layout {
    name: "oct2017",
    others: &[],
    looks: "train/{CNV,DME,DRUSEN,NORMAL}",
    normal: "NORMAL",
    classes: true,
    recognise: |root| has_classes(root, &CLASSES),
    read: |root, options| {
        let how = Classes { all: &CLASSES, usual: &["NORMAL"], kind: of_folder, is_class: |_| true };
        read_classes(root, &how, options)
    },
};
