//! Nearest neighbours of ONNX's operators, in the same two steps: a product orders the bank, what was found is measured again.

use super::Nearest;
use crate::Result;
use crate::engine::toolkit::onnx::{Attr, Composer};

pub fn compose(op: &Nearest, c: &mut Composer) -> Result<()> {
    let [k, channels] = [op.k, op.c].map(i64::from);
    let (x, bank) = (c.rows(0), c.rows(1));
    // |b|^2 - 2 x.b
    let squares = c.node("Mul", &[&bank, &bank], &[]);
    let squares = c.sum(&squares, 1);
    let squares = c.reshape(&squares, &[1, -1]);
    let turned = c.node("Transpose", &[&bank], &[("perm", Attr::Ints(vec![1, 0]))]);
    let products = c.node("MatMul", &[&x, &turned], &[]);
    let two = c.floats(&[], [2.0]);
    let twice = c.node("Mul", &[&products, &two], &[]);
    let order = c.node("Sub", &[&squares, &twice], &[]);
    let count = c.ints(&[k]);
    let attributes = [("axis", Attr::I(1)), ("largest", Attr::I(0)), ("sorted", Attr::I(1))];
    let [_, found] = c.nodes("TopK", &[&order, &count], &attributes);
    // |x - b|
    let rows = c.node("Gather", &[&bank, &found], &[("axis", Attr::I(0))]);
    let x = c.reshape(&x, &[-1, 1, channels]);
    let apart = c.node("Sub", &[&rows, &x], &[]);
    let squares = c.node("Mul", &[&apart, &apart], &[]);
    let squares = c.sum(&squares, 2);
    let distances = c.node("Sqrt", &[&squares], &[]);
    let [_, h, w, _] = c.shape(0).0.map(|v| v as i64);
    for (i, y) in [distances, found].into_iter().enumerate() {
        let y = c.reshape(&y, &[-1, h, w, k]);
        let y = c.channels_first(&y);
        c.output(i, y);
    }
    Ok(())
}
