//! Cases of the bilinear resizing.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, x: [usize; 4], oh, ow| {
        Case::new("interpolate", name, &[x], move |t, v| t.interpolate(v[0], oh, ow)).forward_only()
    };
    vec![
        case("twice the size", [2, 3, 4, 5], 6, 8),
        case("16-byte packs", [2, 4, 4, 16], 8, 8),
        case("odd sizes", [1, 5, 3, 3], 7, 8),
        case("four times, one channel", [1, 7, 9, 1], 28, 36),
        case("one pixel", [2, 1, 1, 8], 3, 2),
        case("one axis alone", [1, 4, 6, 8], 9, 6),
        case("smaller", [1, 9, 8, 4], 4, 3),
        case("down to one pixel", [1, 3, 5, 2], 1, 1),
    ]
}
