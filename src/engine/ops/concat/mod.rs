//! Concatenation over channels (the fusion layer) or over the batch (normal beside anomalous images).

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Batch,
    Channels,
}

/// Rows of all inputs side by side. Over the batch there is one "row", the whole tensor.
#[derive(Clone, Debug)]
pub struct Concat {
    pub rows: usize,
    /// Elements each input contributes to a row.
    pub parts: Vec<usize>,
}

/// One input's share of a concatenation's gradient.
#[derive(Clone, Debug)]
pub struct ConcatBwd {
    pub rows: usize,
    pub row: usize,
    pub offset: usize,
}

impl Tape {
    /// Concatenates 1 to 8 tensors that agree in every other axis.
    pub fn concat(&mut self, inputs: &[Var], axis: Axis) -> Result<Var> {
        let axis_index = if axis == Axis::Batch { 0 } else { 3 };
        let Some(&first) = inputs.first() else {
            return Err(self.shape_error(Concat::NAME, "no inputs".into()));
        };
        let mut shape = self.shape(first);
        shape.0[axis_index] = 0;
        for &v in inputs {
            let mut s = self.shape(v);
            shape.0[axis_index] += s.0[axis_index];
            s.0[axis_index] = shape.0[axis_index];
            if s != shape || inputs.len() > super::MAX_OPERANDS {
                let all: Vec<Shape> = inputs.iter().map(|v| self.shape(*v)).collect();
                return Err(self.shape_error(Concat::NAME, format!("shapes do not fit together: {all:?}")));
            }
        }
        let rows = if axis == Axis::Batch { 1 } else { shape.len() / shape.c() };
        let parts = inputs.iter().map(|v| self.shape(*v).len() / rows).collect();
        self.record1(Concat { rows, parts }, inputs.to_vec(), shape)
    }
}

impl Operation for Concat {
    const NAME: &'static str = "concat";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let row = self.parts.iter().sum();
        let mut offset = 0;
        let mut grads = Vec::new();
        for (i, part) in self.parts.iter().enumerate() {
            let shape = b.tape.shape(b.input(i));
            let op = ConcatBwd { rows: self.rows, row, offset };
            grads.push(if b.wanted(i) { Some(b.tape.record1(op, vec![dy], shape)?) } else { None });
            offset += part;
        }
        Ok(grads)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let inputs: Vec<Value> = (0..self.parts.len()).map(|i| c.input(i)).collect();
        let axis = if c.output_shape(0).c() == c.shape(0).c() { 0 } else { 1 };
        let y = c.node("Concat", &inputs.iter().collect::<Vec<_>>(), &[("axis", Attr::I(axis))]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [y, ..] = a.outputs;
        let row: usize = self.parts.iter().sum();
        let mut offset = 0;
        for (x, &part) in a.inputs.iter().zip(&self.parts) {
            for (y, x) in y.chunks_exact_mut(row).zip(x.chunks_exact(part)) {
                y[offset..offset + part].copy_from_slice(x);
            }
            offset += part;
        }
    }
}

impl Operation for ConcatBwd {
    const NAME: &'static str = "concat_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, ..], [dx, ..]) = (a.inputs, a.outputs);
        let part = dx.len() / self.rows;
        for (dx, dy) in dx.chunks_exact_mut(part).zip(dy.chunks_exact(self.row)) {
            dx.copy_from_slice(&dy[self.offset..self.offset + part]);
        }
    }
}
