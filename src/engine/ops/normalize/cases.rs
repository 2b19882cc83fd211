//! Cases of the pixel normalisation.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, picture| {
        Case::new("normalize", name, &[picture], |t, v| t.normalize(v[0], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
            .pixels()
    };
    vec![case("two pictures", [2, 8, 8, 3]), case("odd number of bytes", [1, 3, 5, 3]), case("one pixel", [1, 1, 1, 3])]
}
