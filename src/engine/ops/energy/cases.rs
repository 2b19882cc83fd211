//! Cases of the terms of a discriminator's losses.

use super::Term;
use crate::engine::ops::case::Case;
use crate::engine::tape::{Tape, Var};

pub fn cases() -> Vec<Case> {
    const MARGIN: f64 = 0.5;
    const TERMS: [(&str, Term); 4] = [
        ("low", Term::Low),
        ("high", Term::High { margin: MARGIN }),
        ("real", Term::Real),
        ("generated", Term::Generated),
    ];
    let small = [4, 3, 2, 1];
    let parts = [
        ("whole batch", small, 0..4),
        ("first images", small, 0..1),
        ("last images", small, 1..4),
        ("odd size", [3, 3, 3, 1], 1..2),
        ("larger", [3, 29, 31, 1], 0..2),
    ];
    let mut all =
        vec![Case::new("energy", "low, one position", &[[1, 1, 1, 1]], |t, v| t.energy(v[0], Term::Low, 0..1))];
    for (name, term) in TERMS {
        for (part, shape, images) in parts.clone() {
            let build = move |t: &mut Tape, v: &[Var]| t.energy(v[0], term, images.clone());
            let case = Case::new("energy", format!("{name}, {part}"), &[shape], build);
            let smooth = matches!(term, Term::Real | Term::Generated);
            all.push(if smooth { case } else { case.off_kinks(&[-MARGIN, 0.0, MARGIN]) });
        }
    }
    all
}
