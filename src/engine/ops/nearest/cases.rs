//! Cases of the nearest neighbours: distances, and the rows they belong to.

use crate::engine::ops::case::Case;

/// Name, vectors, rows of the bank, neighbours.
type Sizes = (&'static str, [usize; 4], usize, usize);

const SIZES: [Sizes; 9] = [
    ("the nearest", [2, 3, 3, 8], 20, 1),
    ("nine", [1, 3, 2, 16], 70, 9),
    ("all there are", [1, 2, 2, 5], 4, 4),
    ("one row", [2, 1, 2, 3], 1, 1),
    ("sixteen, odd depth", [1, 2, 3, 21], 40, 16),
    ("more vectors than a tile, parts of the bank", [1, 9, 8, 8], 200, 1),
    ("many tiles a block", [1, 2, 2, 3], 1100, 2),
    ("more slices than the ring holds", [1, 2, 2, 264], 33, 3),
    ("one channel", [1, 2, 2, 1], 50, 1),
];

pub fn cases() -> Vec<Case> {
    let distances = |(name, x, rows, k): Sizes| {
        let inputs = [x, [rows, 1, 1, x[3]]];
        Case::new("nearest", name, &inputs, move |t, v| Ok(t.nearest(v[0], v[1], k)?.0)).forward_only()
    };
    let rows = |(name, x, rows, k): Sizes| {
        let inputs = [x, [rows, 1, 1, x[3]]];
        let name = format!("{name}: rows");
        Case::new("nearest", name, &inputs, move |t, v| Ok(t.nearest(v[0], v[1], k)?.1)).forward_only()
    };
    // Of a single row the number is 0, which no relative error can be told of; one channel's are rounded to equals in bf16.
    let told = |s: &Sizes| s.2 > 1 && s.1[3] > 1;
    SIZES.map(distances).into_iter().chain(SIZES.into_iter().filter(told).map(rows)).collect()
}
