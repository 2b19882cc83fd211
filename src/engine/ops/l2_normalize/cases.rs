//! Cases of the channel normalisation.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let shapes = [
        ("small", [2, 3, 2, 4]),
        ("batch 1, long vectors", [1, 1, 2, 67]),
        ("more rows than a block", [1, 9, 8, 2]),
        ("16-byte packs", [1, 3, 3, 16]),
        ("more packs than a warp has threads", [1, 1, 2, 520]),
    ];
    // Off zero, where a vector's direction turns faster than finite differences can follow.
    let mut all: Vec<Case> =
        shapes.map(|(name, x)| Case::new("l2_normalize", name, &[x], |t, v| t.l2_normalize(v[0]))).into();
    // Alone its gradient would be 0, which no relative error can be told of.
    all.push(Case::new(
        "l2_normalize",
        "one channel: only the sign is left, beside the input",
        &[[1, 2, 2, 1]],
        |t, v| {
            let sign = t.l2_normalize(v[0])?;
            t.add(sign, v[0])
        },
    ));
    all.into_iter().map(|c| c.off_kinks(&[0.0])).collect()
}
