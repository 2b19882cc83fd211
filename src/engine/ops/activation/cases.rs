//! Cases of the activations.

use super::Activation;
use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let sized = |name: &str, x, act| Case::new("activate", name, &[x], move |t, v| t.activate(v[0], act));
    let case = |name: &str, act| sized(name, [2, 3, 4, 5], act);
    [
        case("relu", Activation::Relu),
        case("leaky relu", Activation::LeakyRelu(0.1)),
        case("leaky relu, steep", Activation::LeakyRelu(2.0)),
        case("none", Activation::None).forward_only(),
        sized("values behind the last 16 bytes", [1, 3, 3, 3], Activation::LeakyRelu(0.1)),
        sized("fewer values than 16 bytes", [1, 1, 1, 3], Activation::LeakyRelu(0.1)),
        sized("several blocks", [1, 7, 31, 10], Activation::Relu),
        Case::new("activate", "in place, twice", &[[2, 2, 2, 3]; 2], |t, v| {
            let sum = t.add(v[0], v[1])?;
            let once = t.activate(sum, Activation::LeakyRelu(0.2))?;
            t.activate(once, Activation::LeakyRelu(0.3))
        }),
    ]
    .map(|c| c.off_kinks(&[0.0]))
    .into()
}
