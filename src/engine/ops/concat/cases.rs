//! Cases of the concatenation.

use super::Axis;
use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case =
        |name: &str, inputs: &[[usize; 4]], axis| Case::new("concat", name, inputs, move |t, v| t.concat(v, axis));
    vec![
        case("channels", &[[2, 3, 2, 4], [2, 3, 2, 1], [2, 3, 2, 3]], Axis::Channels),
        case("channels, one input", &[[1, 2, 2, 3]], Axis::Channels),
        case("channels, eight inputs", &[[1, 2, 1, 2]; 8], Axis::Channels),
        case("channels, 16-byte packs", &[[2, 3, 2, 8], [2, 3, 2, 24], [2, 3, 2, 16]], Axis::Channels),
        case("channels, one input not of whole packs", &[[2, 9, 8, 8], [2, 9, 8, 3]], Axis::Channels),
        case("batch, 16-byte packs", &[[1, 2, 3, 8], [3, 2, 3, 8]], Axis::Batch),
        case("batch", &[[2, 2, 3, 2], [1, 2, 3, 2]], Axis::Batch),
        Case::new("concat", "the same twice", &[[2, 2, 2, 3]], |t, v| t.concat(&[v[0], v[0]], Axis::Channels)),
    ]
}
