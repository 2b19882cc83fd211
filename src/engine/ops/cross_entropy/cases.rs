//! Cases of the cross-entropy. Labels are numbers of nearest neighbours: whole, f32 in all programs, and no matter to differences.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    // Logits, channels of what neighbours are found in, smoothing.
    let case = |name: &str, x: [usize; 4], c: usize, smoothing: f64| {
        let [n, h, w, classes] = x;
        Case::new("cross_entropy", name, &[x, [n, h, w, c], [classes, 1, 1, c]], move |t, v| {
            let labels = t.nearest(v[1], v[2], 1)?.1;
            t.cross_entropy(v[0], labels, smoothing)
        })
    };
    vec![
        case("one row", [1, 1, 1, 5], 2, 0.0),
        case("one row, smoothed", [1, 1, 1, 5], 2, 0.1),
        case("pictures", [7, 1, 1, 10], 3, 0.1),
        case("positions", [2, 3, 5, 6], 2, 0.25),
        case("16-byte packs", [9, 1, 1, 16], 2, 0.1),
        case("more packs than a warp has threads", [3, 1, 1, 264], 1, 0.1),
        case("more classes than a warp has threads", [2, 1, 1, 77], 1, 0.0),
        case("more rows than a block sums at once", [3, 21, 23, 3], 2, 0.1),
    ]
}
