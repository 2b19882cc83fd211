//! The anomaly map of ONNX's operators. Upsampling and blur are linear, and go along one axis after the other: each layer's map is
//! multiplied by a constant matrix from the left, for its rows, and by one from the right, for its columns.

use super::AnomalyMap;
use super::cpu::{mirror, source};
use crate::Result;
use crate::engine::toolkit::onnx::{Composer, Matrix};

pub fn compose(op: &AnomalyMap, c: &mut Composer) -> Result<()> {
    let blur = blur(op);
    let mut sum = None;
    for (i, &(h, w)) in op.from.iter().enumerate() {
        let [rows, columns] = [h, w].map(|from| blur.times(&Matrix::between(from, op.size, source)));
        let x = c.input(i);
        let map = c.stretch(&x, &rows, &columns);
        sum = Some(match sum {
            None => map,
            Some(before) => c.node("Add", &[&before, &map], &[]),
        });
    }
    if let Some(map) = sum {
        c.output(0, map);
    }
    Ok(())
}

/// Along one axis of the map.
fn blur(op: &AnomalyMap) -> Matrix {
    let mut blur = Matrix::zeros(op.size, op.size);
    for i in 0..op.size {
        for (offset, tap) in op.taps.iter().enumerate() {
            let sides = if offset == 0 { 1 } else { 2 };
            for offset in [offset as isize, -(offset as isize)].into_iter().take(sides) {
                *blur.at(i, mirror(i as isize + offset, op.size)) += tap;
            }
        }
    }
    blur
}
