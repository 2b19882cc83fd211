//! Cases of the weighted sum of scalars.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let scalar = [1; 4];
    [
        Case::new("weighted_sum", "one", &[scalar], |t, v| t.weighted_sum(&[(-2.5, v[0])])),
        Case::new("weighted_sum", "eight", &[scalar; 8], |t, v| {
            t.weighted_sum(&v.iter().enumerate().map(|(i, v)| (0.3 * i as f64 - 1.0, *v)).collect::<Vec<_>>())
        }),
        Case::new("weighted_sum", "the same twice", &[scalar; 2], |t, v| {
            t.weighted_sum(&[(0.5, v[0]), (0.25, v[1]), (2.0, v[0])])
        }),
    ]
    .map(Case::exact)
    .into()
}
