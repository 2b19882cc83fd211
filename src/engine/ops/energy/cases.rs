//! Cases of the energy terms.

use super::Term;
use crate::engine::ops::case::Case;
use crate::engine::tape::{Tape, Var};

pub fn cases() -> Vec<Case> {
    const MARGIN: f64 = 0.5;
    let mut all = Vec::new();
    for (name, term) in [("low", Term::Low), ("high", Term::High { margin: MARGIN })] {
        for (part, images) in [("whole batch", 0..4), ("first images", 0..1), ("last images", 1..4)] {
            let build = move |t: &mut Tape, v: &[Var]| t.energy(v[0], term, images.clone());
            let case = Case::new("energy", format!("{name}, {part}"), &[[4, 3, 2, 1]], build);
            all.push(case.off_kinks(&[-MARGIN, 0.0, MARGIN]));
        }
    }
    all
}
