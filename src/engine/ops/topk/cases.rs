//! Cases of the top-k mean.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, map, k| {
        Case::new("topk_mean", name, &[map], move |t, v| t.topk_mean(v[0], k)).forward_only().exact()
    };
    vec![
        case("5 of 63", [2, 9, 7, 1], Some(5)),
        case("the largest", [3, 4, 4, 1], Some(1)),
        case("all", [2, 5, 5, 1], None),
        case("more than there are", [1, 3, 3, 1], Some(100)),
        case("one value", [2, 1, 1, 1], Some(1)),
        case("100 of many", [2, 60, 60, 1], Some(100)),
        case("all but one, odd", [1, 41, 41, 1], Some(1680)),
        case("all of many", [1, 300, 300, 1], None),
        // A flat map has one value many times, of which some count.
        Case::new("topk_mean", "ties", &[[2, 2, 2, 1]], |t, v| {
            let map = t.anomaly_map(v, 1, 0.0)?;
            let flat = t.anomaly_map(&[map], 12, 0.0)?;
            t.topk_mean(flat, Some(77))
        })
        .forward_only()
        .exact(),
    ]
}
