//! Programs as ONNX graphs: every record is composed of standard operators by its op; what lies between records is here.

use crate::engine::ops::{Operation, dispatch};
use crate::engine::tape::{NetId, Record, Storage, Tape, Var};
use crate::engine::tensor::DType;
use crate::engine::toolkit::onnx::proto::{self, DataType, Dimension, Graph, Model, OperatorSet, Property, Size};
use crate::engine::toolkit::onnx::{Attr, Composer, OPSET, Operand, Value, tensor};
use crate::error::{Error, Result};
use crate::invalid;
use crate::output::write_atomically;
use prost::Message;
use std::collections::HashMap;
use std::path::Path;

/// The format's version that brought nothing which [`OPSET`] does not need.
const IR_VERSION: i64 = 8;
/// Protocol buffers end below 2 GB.
const LARGEST: usize = (1 << 31) - 1;

/// How many pictures the graph takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// As many as come: the dimension is called `batch`.
    Any,
    /// As many as the program was recorded for.
    Recorded,
}

/// A variable that the graph shows under a name.
pub struct Named<'a> {
    pub name: &'a str,
    pub var: Var,
}

/// How an output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// (n, c, h, w)
    Whole,
    /// One channel: (n, h, w).
    Maps,
    /// One number a picture: (n).
    Numbers,
}

/// A graph as it is made of a tape: inputs, parameters, records and outputs, in this order.
pub struct Builder<'a> {
    tape: &'a Tape,
    batch: Batch,
    graph: Graph,
    values: HashMap<Var, Value>,
}

impl<'a> Builder<'a> {
    pub fn new(tape: &'a Tape, batch: Batch) -> Self {
        Builder { tape, batch, graph: Graph { name: "ckaad".into(), ..Default::default() }, values: HashMap::new() }
    }

    /// Bytes enter as they lie in memory, (n, h, w, c), floats as (n, c, h, w).
    pub fn inputs(&mut self, inputs: &[Named]) -> Result<()> {
        for Named { name, var } in inputs {
            let (info, value) = (self.tape.info(*var), Value(name.to_string()));
            let [n, h, w, c] = info.shape.0;
            let (kind, sizes) = match info.dtype {
                DType::U8 => (DataType::Uint8, [h, w, c]),
                DType::F32 => (DataType::Float, [c, h, w]),
                other => invalid!("input {name} of {other}: programs are exported in f32"),
            };
            let info = self.info(name, kind, n, &sizes);
            self.graph.input.push(info);
            let value = match kind {
                DataType::Uint8 => {
                    let to = ("to", Attr::I(DataType::Float as i64));
                    let mut c = Composer::new(&mut self.graph, format!("{name}/float"), vec![], vec![]);
                    let floats = c.node("Cast", &[&value], &[to]);
                    c.channels_first(&floats)
                }
                _ => value,
            };
            self.values.insert(*var, value);
        }
        Ok(())
    }

    /// The values of a network's `index`-th parameter, in the order that files have.
    pub fn parameter(&mut self, net: NetId, index: usize, values: &[f32]) -> Result<()> {
        let parameters = self.tape.parameters(net);
        let (Some(entry), Some(var)) = (parameters.entries().get(index), self.tape.param_var(net, index)) else {
            invalid!("{} has no parameter {index}", parameters.network)
        };
        let name = format!("{}.{}", parameters.network, entry.name);
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.graph.initializer.push(tensor(name.clone(), DataType::Float, &entry.file_shape, bytes));
        self.values.insert(var, Value(name));
        Ok(())
    }

    /// Composes all records.
    pub fn records(&mut self) -> Result<()> {
        for (i, record) in self.tape.records().iter().enumerate() {
            let named = |e: Error| e.within(format!("record {i}, {}", describe(record)));
            self.record(i, record).map_err(named)?;
        }
        Ok(())
    }

    fn record(&mut self, i: usize, record: &Record) -> Result<()> {
        let mut inputs = Vec::with_capacity(record.inputs.len());
        for v in &record.inputs {
            let file_shape = match self.tape.info(*v).storage {
                Storage::Param { net, index } => Some(self.tape.parameters(net).entries()[index].file_shape.clone()),
                _ => None,
            };
            inputs.push(Operand { value: self.value(*v)?, shape: self.tape.shape(*v), file_shape });
        }
        let outputs = record.outputs.iter().map(|v| self.tape.shape(*v)).collect();
        let mut composer = Composer::new(&mut self.graph, format!("{i}/{}", describe(record)), inputs, outputs);
        dispatch!(&record.op, op => op.onnx(&mut composer))?;
        for (v, value) in record.outputs.iter().zip(composer.finish()) {
            if let Some(value) = value {
                self.values.insert(*v, value);
            }
        }
        Ok(())
    }

    /// What stands for a variable; views are composed when they are read.
    fn value(&mut self, v: Var) -> Result<Value> {
        if let Some(value) = self.values.get(&v) {
            return Ok(value.clone());
        }
        let Storage::View(of) = self.tape.info(v).storage else {
            invalid!("reads %{}, which nothing in ONNX stands for", v.0)
        };
        let (from, to) = (self.tape.shape(of), self.tape.shape(v));
        if self.batch == Batch::Any && from.n() != to.n() {
            invalid!("reads {from} as {to}: the pictures of a batch cannot be told apart any more");
        }
        let value = self.value(of)?;
        let mut c = Composer::new(&mut self.graph, format!("view {}", v.0), vec![], vec![]);
        let flat = c.channels_last(&value);
        let [_, h, w, channels] = to.0.map(|s| s as i64);
        // The first axis is what is left: the pictures of a batch of any size.
        let flat = c.reshape(&flat, &[-1, h, w, channels]);
        let value = c.channels_first(&flat);
        self.values.insert(v, value.clone());
        Ok(value)
    }

    /// Declares a result.
    pub fn output(&mut self, Named { name, var }: &Named, shown: Shown) -> Result<()> {
        let value = self.value(*var)?;
        let [n, h, w, channels] = self.tape.shape(*var).0;
        let (to, sizes): (Vec<i64>, Vec<usize>) = match shown {
            Shown::Whole => (vec![-1, channels as i64, h as i64, w as i64], vec![channels, h, w]),
            Shown::Maps => (vec![-1, h as i64, w as i64], vec![h, w]),
            Shown::Numbers => (vec![-1], vec![]),
        };
        let mut c = Composer::new(&mut self.graph, format!("{name}/shown"), vec![], vec![]);
        c.result(&value, &to, name);
        let info = self.info(name, DataType::Float, n, &sizes);
        self.graph.output.push(info);
        Ok(())
    }

    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Of a value whose first axis counts pictures.
    fn info(&self, name: &str, kind: DataType, n: usize, sizes: &[usize]) -> proto::ValueInfo {
        let batch = match self.batch {
            Batch::Any => Size::Name("batch".into()),
            Batch::Recorded => Size::Value(n as i64),
        };
        let sizes = sizes.iter().map(|s| Size::Value(*s as i64));
        let dim = std::iter::once(batch).chain(sizes).map(|size| Dimension { size: Some(size) }).collect();
        let tensor_type = proto::TensorType { elem_type: kind as i32, shape: Some(proto::TensorShape { dim }) };
        proto::ValueInfo { name: name.into(), r#type: Some(proto::Type { tensor_type: Some(tensor_type) }) }
    }
}

/// `conv2d encoder.0`
fn describe(record: &Record) -> String {
    format!("{} {}", record.op.name(), record.label).trim_end().to_string()
}

/// Writes a graph as a model file of ONNX, atomically.
pub fn write(graph: Graph, metadata: &[(String, String)], path: &Path) -> Result<()> {
    let property = |(key, value): &(String, String)| Property { key: key.clone(), value: value.clone() };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: metadata.iter().map(property).collect(),
    };
    let bytes = model.encoded_len();
    if bytes > LARGEST {
        invalid!("{}: {bytes} bytes are more than the {LARGEST} that a file of ONNX holds", path.display());
    }
    let bytes = model.encode_to_vec();
    write_atomically(path, |file| file.write_all(&bytes))
}
