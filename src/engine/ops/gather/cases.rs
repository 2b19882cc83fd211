//! Cases of the gathering of rows. The numbers of rows are those of nearest neighbours and of largest values.

use crate::engine::ops::case::Case;
use crate::engine::tensor::Shape;

pub fn cases() -> Vec<Case> {
    let bank = |name: &str, x: [usize; 4], rows: usize, k: usize| {
        Case::new("gather", name, &[x, [rows, 1, 1, x[3]]], move |t, v| {
            let found = t.nearest(v[0], v[1], k)?.1;
            let found = t.view(found, Shape([x[0], x[1] * x[2] * k, 1, 1]))?;
            t.gather(v[1], found)
        })
        .forward_only()
    };
    vec![
        bank("a bank's rows", [2, 3, 2, 5], 17, 1),
        bank("16-byte packs, several of each", [1, 2, 2, 16], 20, 3),
        bank("more than a block has threads", [1, 3, 3, 40], 30, 2),
        // f32 in all programs.
        Case::new("gather", "the largest values", &[[3, 4, 4, 1]], |t, v| {
            let at = t.argmax(v[0])?;
            t.gather(v[0], at)
        })
        .forward_only()
        .exact(),
    ]
}
