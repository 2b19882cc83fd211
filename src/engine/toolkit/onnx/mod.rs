//! ONNX nodes, and what the ops' `onnx.rs` compose them with.
//!
//! Activations are (n, c, h, w) there, as ONNX has them, with any n: nothing is composed of the batch size that a program was recorded
//! with. Numbers of rows, which programs keep as floats, are integers.

pub mod proto;

use crate::engine::tensor::Shape;
use proto::{Attribute, AttributeType, DataType, Graph, Node, Tensor};

/// Version of the operators that are composed with.
pub const OPSET: i64 = 17;

/// The name of a value in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(pub String);

/// What a record reads.
#[derive(Clone, Debug)]
pub struct Operand {
    pub value: Value,
    pub shape: Shape,
    /// Of a parameter its shape in model files, which its value has in the graph.
    pub file_shape: Option<Vec<usize>>,
}

/// A node's attribute.
#[derive(Clone, Debug)]
pub enum Attr {
    F(f64),
    I(i64),
    Ints(Vec<i64>),
}

/// The nodes of one record, as they are composed.
pub struct Composer<'a> {
    graph: &'a mut Graph,
    /// Names of nodes begin with it.
    name: String,
    inputs: Vec<Operand>,
    outputs: Vec<(Shape, Option<Value>)>,
    /// Nodes and constants so far.
    count: usize,
}

impl<'a> Composer<'a> {
    /// Of a record that reads `inputs` and has outputs of these shapes; `name` is no other record's.
    pub fn new(graph: &'a mut Graph, name: String, inputs: Vec<Operand>, outputs: Vec<Shape>) -> Self {
        Composer { graph, name, inputs, outputs: outputs.into_iter().map(|shape| (shape, None)).collect(), count: 0 }
    }

    /// What was composed of each output; none of those that ONNX's operators do not give.
    pub fn finish(self) -> Vec<Option<Value>> {
        self.outputs.into_iter().map(|(_, value)| value).collect()
    }

    /// Of the `i`-th input.
    pub fn shape(&self, i: usize) -> Shape {
        self.inputs[i].shape
    }

    /// Of the `i`-th output.
    pub fn output_shape(&self, i: usize) -> Shape {
        self.outputs[i].0
    }

    /// The `i`-th input: (n, c, h, w); of a parameter with the shape that it has in files.
    pub fn input(&self, i: usize) -> Value {
        self.inputs[i].value.clone()
    }

    /// A convolution's weights (k, r, s, c) as (k, c, r, s).
    pub fn weights(&mut self, i: usize) -> Value {
        match &self.inputs[i].file_shape {
            Some(shape) if shape.len() != 4 => {
                let [k, r, s, c] = self.shape(i).0.map(|v| v as i64);
                self.reshape(&self.input(i), &[k, c, r, s])
            }
            _ => self.input(i),
        }
    }

    /// An input (1, 1, 1, c) as (c).
    pub fn vector(&mut self, i: usize) -> Value {
        match &self.inputs[i].file_shape {
            Some(shape) if shape.len() == 1 => self.input(i),
            _ => self.reshape(&self.input(i), &[-1]),
        }
    }

    /// An input's channel vectors, one behind the other: (rows, c).
    pub fn rows(&mut self, i: usize) -> Value {
        match &self.inputs[i].file_shape {
            Some(shape) if shape.len() == 2 => self.input(i),
            _ => {
                let (channels_last, c) = (self.channels_last(&self.input(i)), self.shape(i).c());
                self.reshape(&channels_last, &[-1, c as i64])
            }
        }
    }

    /// A node with one output.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attr)]) -> Value {
        let [value] = self.nodes(op, inputs, attributes);
        value
    }

    /// A node with `N` outputs.
    pub fn nodes<const N: usize>(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attr)]) -> [Value; N] {
        let name = self.fresh(op);
        let outputs: [Value; N] =
            std::array::from_fn(|i| Value(if i == 0 { name.clone() } else { format!("{name}:{i}") }));
        self.push(op, inputs, attributes, outputs.iter().map(|v| v.0.clone()).collect());
        outputs
    }

    fn push(&mut self, op: &str, inputs: &[&Value], attributes: &[(&str, Attr)], output: Vec<String>) {
        self.graph.node.push(Node {
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            name: output[0].clone(),
            output,
            op_type: op.into(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
    }

    /// `x` under another shape as a result of the graph.
    pub fn result(&mut self, x: &Value, to: &[i64], name: &str) {
        let shape = self.ints(to);
        self.push("Reshape", &[x, &shape], &[], vec![name.into()]);
    }

    /// A constant of f32.
    pub fn floats(&mut self, dims: &[usize], values: impl IntoIterator<Item = f64>) -> Value {
        let bytes = values.into_iter().flat_map(|x| (x as f32).to_le_bytes()).collect();
        self.constant(DataType::Float, dims, bytes)
    }

    /// A constant vector of integers.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(DataType::Int64, &[values.len()], bytes)
    }

    /// A constant integer.
    pub fn integer(&mut self, value: i64) -> Value {
        self.constant(DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, kind: DataType, dims: &[usize], raw_data: Vec<u8>) -> Value {
        let name = self.fresh("constant");
        self.graph.initializer.push(tensor(name.clone(), kind, dims, raw_data));
        Value(name)
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}/{}_{}", self.name, what.to_lowercase(), self.count)
    }

    pub fn reshape(&mut self, x: &Value, to: &[i64]) -> Value {
        let shape = self.ints(to);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// (n, c, h, w) as (n, h, w, c).
    pub fn channels_last(&mut self, x: &Value) -> Value {
        self.node("Transpose", &[x], &[("perm", Attr::Ints(vec![0, 2, 3, 1]))])
    }

    /// (n, h, w, c) as (n, c, h, w).
    pub fn channels_first(&mut self, x: &Value) -> Value {
        self.node("Transpose", &[x], &[("perm", Attr::Ints(vec![0, 3, 1, 2]))])
    }

    /// Sum over an axis, which stays, of length 1.
    pub fn sum(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.node("ReduceSum", &[x, &axes], &[("keepdims", Attr::I(1))])
    }

    /// Euclidean length over channels of (n, c, h, w), at least `least`.
    pub fn length(&mut self, x: &Value, least: f64) -> Value {
        let squares = self.node("Mul", &[x, x], &[]);
        let sum = self.sum(&squares, 1);
        let length = self.node("Sqrt", &[&sum], &[]);
        let least = self.floats(&[], [least]);
        self.node("Max", &[&length, &least], &[])
    }

    /// `left` x (n, c, h, w) x `right`, both constant: along the rows (to h', from h), along the columns (to w', from w).
    pub fn stretch(&mut self, x: &Value, left: &Matrix, right: &Matrix) -> Value {
        let along_rows = self.floats(&[left.rows, left.columns], left.values.iter().copied());
        let right = right.transposed();
        let along_columns = self.floats(&[right.rows, right.columns], right.values);
        let x = self.node("MatMul", &[&along_rows, x], &[]);
        self.node("MatMul", &[&x, &along_columns], &[])
    }

    /// What is fused behind the ops: a residual, then for negative values a slope.
    pub fn finish_with(&mut self, y: Value, residual: Option<usize>, negative_slope: Option<f32>) -> Value {
        let y = match residual {
            Some(i) => self.node("Add", &[&y, &self.input(i)], &[]),
            None => y,
        };
        match negative_slope {
            None => y,
            Some(0.0) => self.node("Relu", &[&y], &[]),
            Some(slope) => self.node("LeakyRelu", &[&y], &[("alpha", Attr::F(slope.into()))]),
        }
    }

    /// `value` is the record's `i`-th output.
    pub fn output(&mut self, i: usize, value: Value) {
        self.outputs[i].1 = Some(value);
    }
}

/// A matrix of constants, rows first.
#[derive(Clone)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Matrix { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// Linear interpolation from `from` values to `to`: `source` tells for one of these the two it lies between, and the second's share.
    pub fn between(from: usize, to: usize, source: impl Fn(usize, usize, usize) -> (usize, usize, f64)) -> Self {
        let mut matrix = Matrix::zeros(to, from);
        for row in 0..to {
            let (first, second, share) = source(row, from, to);
            *matrix.at(row, first) += 1.0 - share;
            *matrix.at(row, second) += share;
        }
        matrix
    }

    pub fn at(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.values[row * self.columns + column]
    }

    pub fn transposed(&self) -> Matrix {
        let mut to = Matrix::zeros(self.columns, self.rows);
        for (i, x) in self.values.iter().enumerate() {
            *to.at(i % self.columns, i / self.columns) = *x;
        }
        to
    }

    /// This one times `other`.
    pub fn times(&self, other: &Matrix) -> Matrix {
        let mut to = Matrix::zeros(self.rows, other.columns);
        for (row, out) in self.values.chunks_exact(self.columns).zip(to.values.chunks_exact_mut(other.columns)) {
            for (x, line) in row.iter().zip(other.values.chunks_exact(other.columns)) {
                out.iter_mut().zip(line).for_each(|(out, y)| *out += x * y);
            }
        }
        to
    }
}

fn attribute(name: &str, value: &Attr) -> Attribute {
    let (name, r#type) = (name.to_string(), |t: AttributeType| t as i32);
    match value {
        Attr::F(f) => {
            Attribute { name, f: Some(*f as f32), r#type: r#type(AttributeType::Float), ..Default::default() }
        }
        Attr::I(i) => Attribute { name, i: Some(*i), r#type: r#type(AttributeType::Int), ..Default::default() },
        Attr::Ints(ints) => {
            Attribute { name, ints: ints.clone(), r#type: r#type(AttributeType::Ints), ..Default::default() }
        }
    }
}

/// A constant by name; `raw_data` little-endian.
pub fn tensor(name: String, kind: DataType, dims: &[usize], raw_data: Vec<u8>) -> Tensor {
    Tensor { dims: dims.iter().map(|d| *d as i64).collect(), data_type: kind as i32, name, raw_data }
}
