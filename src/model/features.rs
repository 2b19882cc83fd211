//! From images to the feature maps that everything else works on, in whichever form the images come.

use super::{Architecture, resnet};
use crate::Result;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::{DType, Shape};

/// In which form a group of images enters the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Bytes, already resized.
    Pixels,
    /// Normalised pictures.
    Pictures,
    /// Feature maps, computed before.
    Features,
}

/// Records the backbone over `n` images given as `feed`; returns what to fill and the feature maps.
pub fn record(tape: &mut Tape, net: NetId, a: &Architecture, n: usize, feed: Feed) -> Result<(Vec<Var>, Vec<Var>)> {
    let picture = Shape([n, a.image_size, a.image_size, 3]);
    let dtype = tape.dtype();
    match feed {
        Feed::Pixels => {
            let pixels = tape.input(picture, DType::U8)?;
            tape.set_label("pixels");
            let x = tape.preprocess(pixels, a.image_size, a.mean, a.std)?;
            Ok((vec![pixels], resnet::record(tape, net, a, x)?))
        }
        Feed::Pictures => {
            let x = tape.input(picture, dtype)?;
            Ok((vec![x], resnet::record(tape, net, a, x)?))
        }
        Feed::Features => {
            let map = |(s, c): (usize, usize)| tape.input(Shape([n, s, s, c]), dtype);
            let maps: Vec<Var> = a.sizes().into_iter().zip(a.channels()).map(map).collect::<Result<_>>()?;
            Ok((maps.clone(), maps))
        }
    }
}
