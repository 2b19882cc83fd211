//! Cases of the preprocessing.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, pictures, size| {
        Case::new("preprocess", name, &[pictures], move |t, v| {
            t.preprocess(v[0], size, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        })
        .pixels()
    };
    vec![
        case("two pictures, no resize", [2, 8, 8, 3], 8),
        case("odd number of bytes, no resize", [1, 5, 5, 3], 5),
        case("one pixel", [1, 1, 1, 3], 1),
        case("one pixel to many", [2, 1, 1, 3], 3),
        case("to one pixel", [1, 6, 7, 3], 1),
        case("smaller, columns first", [2, 20, 32, 3], 16),
        case("smaller, rows first", [2, 61, 13, 3], 11),
        case("larger", [1, 5, 6, 3], 16),
        case("wider, lower", [1, 40, 9, 3], 16),
        case("columns alone", [2, 8, 19, 3], 8),
        case("rows alone, whole groups", [2, 19, 8, 3], 8),
        case("rows alone, odd", [1, 19, 5, 3], 5),
        case("much smaller", [1, 150, 131, 3], 4),
    ]
}
