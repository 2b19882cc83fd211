//! Cases of the activations.

use super::Activation;
use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, act| Case::new("activate", name, &[[2, 3, 4, 5]], move |t, v| t.activate(v[0], act));
    [
        case("relu", Activation::Relu),
        case("leaky relu", Activation::LeakyRelu(0.1)),
        case("leaky relu, steep", Activation::LeakyRelu(2.0)),
        Case::new("activate", "in place, twice", &[[2, 2, 2, 3]; 2], |t, v| {
            let sum = t.add(v[0], v[1])?;
            let once = t.activate(sum, Activation::LeakyRelu(0.2))?;
            t.activate(once, Activation::LeakyRelu(0.3))
        }),
    ]
    .map(|c| c.off_kinks(&[0.0]))
    .into()
}
