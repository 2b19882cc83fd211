//! Cases of the cosine loss and the cosine map.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let x = [3, 2, 3, 4];
    let loss =
        |name: &str, images| Case::new("cosine_loss", name, &[x, x], move |t, v| t.cosine_loss(v[0], v[1], images));
    let map = |name: &str, x| Case::new("cosine_map", name, &[x, x], |t, v| t.cosine_map(v[0], v[1])).forward_only();
    vec![
        loss("whole batch", 3),
        loss("first images", 2),
        loss("one image", 1),
        Case::new("cosine_loss", "with a part of itself", &[x, x], |t, v| {
            let sum = t.add(v[0], v[1])?;
            t.cosine_loss(sum, v[0], 3)
        }),
        map("small", x),
        map("long vectors", [1, 2, 2, 70]),
        map("one channel", [1, 3, 2, 1]),
    ]
}
