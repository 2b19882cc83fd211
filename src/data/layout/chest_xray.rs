//! Chest X-rays of children (Kermany et al. 2018, <https://data.mendeley.com/datasets/rscbjbr9sj>, also on Kaggle):
//! `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}`. Which pneumonia it is says the name: `person1_bacteria_2.jpeg`
//! on Kaggle, `BACTERIA-1008087-0001.jpeg` at Mendeley.

use super::classes::{Classes, has_classes, read_classes};
use super::{Category, Layout};
use crate::error::plural;

const PNEUMONIA: &str = "PNEUMONIA";
const CLASSES: [&str; 2] = ["NORMAL", PNEUMONIA];

pub const LAYOUT: Layout = Layout {
    name: "chest_xray",
    others: &[],
    looks: "train/NORMAL and train/PNEUMONIA",
    normal: "NORMAL",
    classes: true,
    recognise: |root| has_classes(root, &CLASSES),
    read: |root, options| {
        let how = Classes { all: &CLASSES, usual: &CLASSES[..1], kind, is_class: |_| true };
        let mut categories = read_classes(root, &how, options)?;
        categories.iter_mut().for_each(tell_unnamed);
        Ok(categories)
    },
};

fn kind(folder: &str, name: &str) -> String {
    let words = || name.split(|c: char| !c.is_alphanumeric());
    let cause = ["bacteria", "virus"].into_iter().find(|cause| words().any(|word| word.eq_ignore_ascii_case(cause)));
    cause.filter(|_| folder == PNEUMONIA).map_or(folder.into(), |cause| format!("{folder}_{cause}"))
}

/// They are a class of their own then, beside those of the others.
fn tell_unnamed(category: &mut Category) {
    let count = category.samples().filter(|(_, sample)| sample.kind == PNEUMONIA).count();
    if count > 0 {
        let pictures = plural(count, "picture");
        category.notes.push(format!("{pictures} of {PNEUMONIA} whose names say neither bacteria nor virus"));
    }
}
