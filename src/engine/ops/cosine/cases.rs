//! Cases of the cosine loss and the cosine map.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let x = [3, 2, 3, 4];
    let loss = |name: &str, first, end| {
        Case::new("cosine_loss", name, &[x, x], move |t, v| t.cosine_loss(v[0], v[1], first..end))
    };
    let odd = |name: &str, x| Case::new("cosine_loss", name, &[x, x], |t, v| t.cosine_loss(v[0], v[1], 0..1));
    let map = |name: &str, x| {
        Case::new("cosine_map", name, &[x, x], |t, v| Ok(t.cosine_map(&[(v[0], v[1])])?[0])).forward_only()
    };
    // What comes out is the sum of the maps, upsampled.
    let maps = |name: &str, layers: &[[usize; 4]]| {
        let inputs: Vec<[usize; 4]> = layers.iter().flat_map(|x| [*x, *x]).collect();
        Case::new("cosine_map", name, &inputs, |t, v| {
            let pairs: Vec<_> = v.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            let maps = t.cosine_map(&pairs)?;
            t.anomaly_map(&maps, 9, 0.0)
        })
        .forward_only()
    };
    vec![
        loss("whole batch", 0, 3),
        loss("first images", 0, 2),
        loss("one image", 0, 1),
        loss("last images", 1, 3),
        loss("in the middle", 1, 2),
        Case::new("cosine_loss", "with a part of itself", &[x, x], |t, v| {
            let sum = t.add(v[0], v[1])?;
            t.cosine_loss(sum, v[0], 0..3)
        }),
        odd("odd length", [2, 3, 3, 5]),
        odd("several chunks", [2, 24, 24, 16]),
        Case::new("cosine_loss", "last image in several chunks", &[[3, 24, 24, 16]; 2], |t, v| {
            t.cosine_loss(v[0], v[1], 2..3)
        }),
        odd("several chunks, odd length", [1, 29, 29, 11]),
        map("small", x),
        map("long vectors", [1, 2, 2, 70]),
        map("one channel", [1, 3, 2, 1]),
        map("many channels", [1, 3, 3, 328]),
        maps("two layers", &[[2, 5, 5, 16], [2, 3, 3, 24]]),
        maps("three layers", &[[1, 4, 4, 3], [1, 2, 2, 8], [1, 1, 1, 12]]),
        maps("four layers", &[[2, 6, 6, 4], [2, 3, 3, 7], [2, 2, 2, 8], [2, 1, 1, 33]]),
    ]
}
