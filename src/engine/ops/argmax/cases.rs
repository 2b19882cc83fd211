//! Cases of the search for the largest value.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, map| Case::new("argmax", name, &[map], |t, v| t.argmax(v[0])).forward_only().exact();
    vec![
        case("small maps", [3, 3, 5, 1]),
        case("more values than threads", [2, 28, 28, 1]),
        case("one value", [4, 1, 1, 1]),
        // Of a flat map the first.
        Case::new("argmax", "equals", &[[2, 1, 1, 1]], |t, v| {
            let flat = t.anomaly_map(v, 20, 0.0)?;
            t.argmax(flat)
        })
        .forward_only()
        .exact(),
    ]
}
