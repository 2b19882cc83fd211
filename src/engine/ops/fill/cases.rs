//! Case of the constant.

use super::Fill;
use crate::engine::ops::case::Case;
use crate::engine::tensor::Shape;

pub fn cases() -> Vec<Case> {
    let fill = |name: &str, shape| {
        Case::new("fill", name, &[], move |t, _| {
            let y = t.record1(Fill { value: -1.5 }, vec![], Shape(shape))?;
            Ok(t.exact(y))
        })
        .forward_only()
    };
    vec![fill("scalar", [1; 4]), fill("several blocks", [1, 7, 31, 11])]
}
