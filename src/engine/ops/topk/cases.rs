//! Cases of the top-k mean.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case =
        |name: &str, map, k| Case::new("topk_mean", name, &[map], move |t, v| t.topk_mean(v[0], k)).forward_only();
    vec![
        case("5 of 63", [2, 9, 7, 1], Some(5)),
        case("the largest", [3, 4, 4, 1], Some(1)),
        case("all", [2, 5, 5, 1], None),
        case("more than there are", [1, 3, 3, 1], Some(100)),
    ]
}
