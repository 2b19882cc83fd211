//! Cases of the sum, and of views, whose gradients meet in sums.

use crate::engine::ops::case::Case;
use crate::engine::tensor::Shape;

pub fn cases() -> Vec<Case> {
    let x = [2, 3, 2, 4];
    vec![
        Case::new("add", "two", &[x, x], |t, v| t.add(v[0], v[1])),
        Case::new("add", "several blocks, values behind the last 16 bytes", &[[1, 7, 31, 11]; 2], |t, v| {
            t.add(v[0], v[1])
        }),
        Case::new("add", "to itself", &[x], |t, v| t.add(v[0], v[0])),
        Case::new("add", "chain, one used twice", &[x, x], |t, v| {
            let sum = t.add(v[0], v[1])?;
            let more = t.add(sum, v[1])?;
            t.add(more, sum)
        }),
        Case::new("view", "normalised over another axis", &[x], |t, v| {
            let rows = t.view(v[0], Shape([2, 3, 4, 2]))?;
            t.l2_normalize(rows)
        }),
        Case::new("view", "beside the viewed", &[x, x], move |t, v| {
            let sum = t.add(v[0], v[1])?;
            let flat = t.view(sum, Shape([1, 1, 6, 8]))?;
            let flat = t.l2_normalize(flat)?;
            let back = t.view(flat, Shape(x))?;
            t.add(sum, back)
        }),
        Case::new("view", "of a view", &[x], |t, v| {
            let flat = t.view(v[0], Shape::vector(48))?;
            let again = t.view(flat, Shape([4, 1, 1, 12]))?;
            t.l2_normalize(again)
        }),
    ]
}
