//! What is recorded of PatchCore: patches from feature maps, and their distances to the memory bank.

use crate::Result;
use crate::engine::ops::concat::Axis;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;

/// Distances of patches to the memory bank.
pub struct Scores {
    /// Of every patch to the bank's nearest row, (n, h, w, 1).
    pub distances: Var,
    /// That row's number, (n, h, w, 1).
    pub nearest: Var,
    /// Of each picture, (n, 1, 1, 1).
    pub images: Var,
}

/// Patches: every layer's features averaged over 3x3 positions, at the first layer's size (its largest), side by side.
pub fn patches(tape: &mut Tape, layers: &[Var]) -> Result<Var> {
    let mut parts = Vec::with_capacity(layers.len());
    for &layer in layers {
        let mean = tape.mean_pool(layer, 3, 1, 1)?;
        let size = tape.shape(*parts.first().unwrap_or(&mean));
        parts.push(tape.interpolate(mean, size.h(), size.w())?);
    }
    if let [single] = parts[..] { Ok(single) } else { tape.concat(&parts, Axis::Channels) }
}

/// Compares patches (n, h, w, c) with `bank` (m, 1, 1, c). A picture's score is the distance of its most anomalous patch,
/// weighted by that patch's distances to the `neighbours` rows of the bank that are nearest to the row nearest to it; with one
/// neighbour, or a bank of one row, it is the distance itself.
pub fn scores(tape: &mut Tape, patches: Var, bank: Var, neighbours: usize) -> Result<Scores> {
    let (distances, nearest) = tape.nearest(patches, bank, 1)?;
    let at = tape.argmax(distances)?;
    let largest = tape.gather(distances, at)?;
    let (n, bank_shape) = (tape.shape(patches).n(), tape.shape(bank));
    let neighbours = neighbours.min(bank_shape.len() / bank_shape.c());
    let images = if neighbours <= 1 {
        largest
    } else {
        let patch = tape.gather(patches, at)?;
        let row = tape.gather(nearest, at)?;
        let row = tape.gather(bank, row)?;
        let around = tape.nearest(row, bank, neighbours)?.1;
        let around = tape.view(around, Shape([n, neighbours, 1, 1]))?;
        let around = tape.gather(bank, around)?;
        tape.neighbourhood(largest, patch, around)?
    };
    Ok(Scores { distances, nearest, images })
}
