//! Cases of the weighting by a neighbourhood. The distances are those to the nearest of the neighbours.

use crate::engine::ops::case::Case;
use crate::engine::tensor::Shape;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, n: usize, k: usize, c: usize| {
        Case::new("neighbourhood", name, &[[n, 1, 1, c], [n, k, 1, c]], move |t, v| {
            let bank = t.view(v[1], Shape([n * k, 1, 1, c]))?;
            let nearest = t.nearest(v[0], bank, 1)?.0;
            t.neighbourhood(nearest, v[0], v[1])
        })
        .forward_only()
    };
    vec![case("nine", 3, 9, 12), case("two", 1, 2, 5), case("sixteen, 16-byte rows", 2, 16, 40)]
}
