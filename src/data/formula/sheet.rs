//! A contact sheet, to look at.

use super::{FAMILIES, Formula, Scratch};
use crate::data::image::Picture;

/// Rows are the first classes of the family, columns instances of each, every one in a view of its own.
pub fn sheet(formula: &Formula, family: usize, classes: usize, instances: usize) -> Picture {
    assert!(family < FAMILIES.len() && classes <= formula.classes_per_family);
    let (size, gap) = (formula.size, 2);
    let (width, height) = (instances * (size + gap), classes * (size + gap));
    let mut rgb = vec![255; width * height * 3];
    let mut one = vec![0; size * size * 3];
    let mut scratch = Scratch::default();
    for row in 0..classes {
        for column in 0..instances {
            let class = family * formula.classes_per_family + row;
            formula.draw(class, column as u64, 0, &mut one, &mut scratch);
            for (y, line) in one.chunks_exact(size * 3).enumerate() {
                let at = ((row * (size + gap) + y) * width + column * (size + gap)) * 3;
                rgb[at..at + line.len()].copy_from_slice(line);
            }
        }
    }
    Picture::new(width, height, rgb)
}
