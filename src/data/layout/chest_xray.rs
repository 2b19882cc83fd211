//! Chest X-rays of children (Kermany et al. 2018, <https://data.mendeley.com/datasets/rscbjbr9sj>, also on Kaggle):
//! `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}`. Which pneumonia it is says the name: `person1_bacteria_2.jpeg`.

use super::Layout;
use super::classes::{Classes, has_classes, read_classes};

const CLASSES: [&str; 2] = ["NORMAL", "PNEUMONIA"];

pub const LAYOUT: Layout = Layout {
    name: "chest_xray",
    others: &[],
    looks: "train/NORMAL and train/PNEUMONIA",
    normal: "NORMAL",
    classes: true,
    recognise: |root| has_classes(root, &CLASSES),
    read: |root, options| {
        read_classes(root, &Classes { all: &CLASSES, usual: &CLASSES[..1], kind, is_class: |_| true }, options)
    },
};

fn kind(folder: &str, name: &str) -> String {
    let cause = ["bacteria", "virus"].into_iter().find(|cause| name.contains(&format!("_{cause}_")));
    cause.filter(|_| folder == "PNEUMONIA").map_or(folder.into(), |cause| format!("{folder}_{cause}"))
}
