//! A recorded program with some of its convolutions in bytes. The program is what a method recorded; which of its layers are to be
//! quantised, and by which scales, a [`Scheme`] says by name.
//!
//! A convolution in bytes takes its input in bytes, and keeps its result so if nothing but such convolutions reads it. What others make
//! becomes bytes in a record of its own. A first layer that is not to have 8 bits takes pixels as they come, with weights of 16 bits: as
//! exact as need be, and faster than real numbers.

use super::ops::conv2d::{Conv2d, Forward, Options};
use super::ops::conv2d_int8::Quantized;
use super::ops::conv2d_pixels::Conv2dPixels;
use super::ops::pool::MaxPool;
use super::ops::{Activation, Op};
use super::params::Init;
use super::tape::{Record, Storage, Tape, Var};
use super::tensor::DType;
use super::toolkit::{Quantization, Stored};
use crate::{Result, invalid};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is quantised, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheme {
    /// Names of weights, `<network>.<parameter>`, of 8 bits.
    pub layers: BTreeSet<String>,
    /// What one step of a byte is worth, by the names that [`values`] gives.
    pub scales: BTreeMap<String, f32>,
}

/// A convolution with frozen weights that can be taken in bytes.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Of its weights, `<network>.<parameter>`.
    pub name: String,
    /// The axis of weights as they are in files along which output channels are counted.
    pub axis: usize,
    /// What it convolves.
    pub x: Var,
    /// The name of its bias, as that of its weights.
    pub bias: Option<String>,
    pub multiply_adds: u64,
}

/// Something computed that is needed in bytes.
#[derive(Clone, Debug)]
pub struct Value {
    /// The layer that makes it, and its op.
    pub name: String,
    pub var: Var,
    /// Its byte of 0.
    pub zero: u8,
}

/// The name of the scales of a layer's output channels, beside its weights'.
pub fn scale_of(weights: &str) -> String {
    format!("{weights}_scale")
}

/// All layers that can be quantised, in the order of their first use.
pub fn layers(tape: &Tape) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for (i, record) in tape.records.iter().enumerate() {
        if let Some(layer) = layer(tape, record)
            && !layers.iter().any(|l| l.name == layer.name)
            && uses(tape, record.inputs[1]).all(|(of, operand)| of == i || operand == 1)
        {
            layers.push(layer);
        }
    }
    layers
}

/// The layer that a record is, if it can be one.
fn layer(tape: &Tape, record: &Record) -> Option<Layer> {
    let (axis, bias) = match &record.op {
        Op::Conv2d(o) => (0, o.bias.then(|| record.inputs[2])),
        Op::ConvTranspose2d(_) => (1, None),
        _ => return None,
    };
    let name = |v: Var| match tape.info(v).storage {
        Storage::Param { net, index } if !tape.trains(net) => {
            let parameters = tape.parameters(net);
            Some(format!("{}.{}", parameters.network, parameters.entries()[index].name))
        }
        _ => None,
    };
    let (name, bias, x) = (name(record.inputs[1])?, bias.and_then(name), tape.root(record.inputs[0]));
    let exact = tape.dtype().exact() == tape.dtype();
    exact.then_some(Layer { name, axis, x, bias, multiply_adds: record.op.multiply_adds() })
}

/// Records that read a variable or a view of it, and as which of their inputs.
fn uses(tape: &Tape, v: Var) -> impl Iterator<Item = (usize, usize)> {
    let root = tape.root(v);
    tape.records.iter().enumerate().flat_map(move |(i, record)| {
        let here = record.inputs.iter().enumerate().filter(move |(_, input)| tape.root(**input) == root);
        here.map(move |(operand, _)| (i, operand))
    })
}

/// What a program computes that is needed in bytes where these layers are quantised, each once.
pub fn values(tape: &Tape, layers: &BTreeSet<String>) -> Vec<Value> {
    let how = How::of(tape, layers);
    let mut values: Vec<Value> = Vec::new();
    for record in &tape.records {
        let x = how.quantised(record).then(|| record.inputs[0]);
        let kept = how.makes_bytes(record) && how.only_bytes(record.outputs[0]);
        for v in x.into_iter().chain(kept.then(|| record.outputs[0])) {
            let value = how.value(v);
            if !values.iter().any(|known| known.var == value.var) {
                values.push(value);
            }
        }
    }
    values
}

/// What is there in bytes, and how.
type InBytes = HashMap<Var, (Var, Quantization)>;

/// The layers whose weights have 16 bits where these have 8, as they take pixels as they come.
pub fn of_pixels(tape: &Tape, layers: &BTreeSet<String>) -> BTreeSet<String> {
    let how = How::of(tape, layers);
    let taken = tape.records.iter().filter(|record| how.of_pixels(record).is_some());
    taken.filter_map(|record| Some(layer(tape, record)?.name)).collect()
}

/// What is asked of a program while it is rewritten.
struct How<'a> {
    tape: &'a Tape,
    layers: &'a BTreeSet<String>,
    /// The record that makes a variable.
    made_by: HashMap<Var, usize>,
}

impl<'a> How<'a> {
    fn of(tape: &'a Tape, layers: &'a BTreeSet<String>) -> Self {
        let made = tape.records.iter().enumerate().flat_map(|(i, r)| r.outputs.iter().map(move |v| (*v, i)));
        How { tape, layers, made_by: made.collect() }
    }

    fn quantised(&self, record: &Record) -> bool {
        layer(self.tape, record).is_some_and(|l| self.layers.contains(&l.name))
    }

    /// Whether a record takes pixels as they come; the op that it becomes, but for how it keeps its result.
    fn of_pixels(&self, record: &Record) -> Option<Conv2dPixels> {
        let Op::Conv2d(Forward { sizes, bias: true, residual: false, act, .. }) = record.op else { return None };
        let Op::Preprocess(p) = &self.maker(record.inputs[0])?.op else { return None };
        let alone = |v: &Var| uses(self.tape, *v).count() == 1;
        let frozen = layer(self.tape, record).is_some_and(|l| !self.layers.contains(&l.name) && l.bias.is_some());
        let fits = Conv2dPixels::fits(&sizes) && !p.resizes() && record.inputs.iter().all(alone);
        let pixels = Conv2dPixels { sizes, mean: p.mean, std: p.std, act, y: Stored::Real };
        (!self.layers.is_empty() && frozen && fits && !self.reported(record.inputs[0])).then_some(pixels)
    }

    /// Whether a record is replaced by one that can keep its result in bytes.
    fn makes_bytes(&self, record: &Record) -> bool {
        self.quantised(record) || self.of_pixels(record).is_some()
    }

    fn maker(&self, v: Var) -> Option<&'a Record> {
        self.made_by.get(&self.tape.root(v)).map(|i| &self.tape.records[*i])
    }

    /// Whether a result is kept in bytes alone: what makes it can make bytes, and nothing reads it otherwise.
    fn only_bytes(&self, v: Var) -> bool {
        match self.maker(v) {
            Some(record) if self.makes_bytes(record) => self.read_as_bytes(v),
            Some(record) => self.pools_bytes(record).is_some(),
            None => false,
        }
    }

    /// Whether something reads a result, all of it as bytes.
    fn read_as_bytes(&self, v: Var) -> bool {
        let root = self.tape.root(v);
        let reads = || uses(self.tape, root);
        let bytes = |(i, operand): (usize, usize)| {
            let record = &self.tape.records[i];
            match &record.op {
                Op::MaxPool(pool) => pool.of_bytes().is_some() && self.read_as_bytes(record.outputs[0]),
                _ => self.quantised(record) && (operand == 0 || self.residual(record) == Some(operand)),
            }
        };
        !self.reported(root) && reads().next().is_some() && reads().all(bytes)
    }

    fn reported(&self, v: Var) -> bool {
        self.tape.outputs.iter().any(|o| self.tape.root(*o) == self.tape.root(v))
    }

    /// The pooling of bytes that a record becomes, if what it pools is kept in them alone.
    fn pools_bytes(&self, record: &Record) -> Option<MaxPool> {
        match &record.op {
            Op::MaxPool(pool) if self.only_bytes(record.inputs[0]) => pool.of_bytes(),
            _ => None,
        }
    }

    /// Whether a record is what [`How::of_pixels`] does with what it reads.
    fn becomes_part(&self, record: &Record) -> bool {
        let pixels = |(i, _): (usize, usize)| self.of_pixels(&self.tape.records[i]).is_some();
        matches!(record.op, Op::Preprocess(_)) && uses(self.tape, record.outputs[0]).any(pixels)
    }

    /// Which input of a convolution is its residual.
    fn residual(&self, record: &Record) -> Option<usize> {
        match &record.op {
            Op::Conv2d(Forward { bias, residual: true, .. }) => Some(2 + usize::from(*bias)),
            _ => None,
        }
    }

    /// What has to be known of a variable that is needed in bytes; the largest of some numbers need no other scale than all.
    fn value(&self, v: Var) -> Value {
        let var = self.tape.root(v);
        match self.maker(var) {
            Some(Record { op: Op::MaxPool(_), inputs, .. }) => self.value(inputs[0]),
            Some(record) => {
                let zero = if self.never_negative(var) { 0 } else { 128 };
                Value { name: format!("{}.{}", record.label, record.op.name()), var, zero }
            }
            None => Value { name: format!("input.{}", var.0), var, zero: 128 },
        }
    }

    fn never_negative(&self, v: Var) -> bool {
        let Some(record) = self.maker(v) else { return false };
        match &record.op {
            Op::Conv2d(o) => o.act == Activation::Relu,
            Op::InstanceNorm(o) => o.act == Activation::Relu,
            Op::BatchNorm(o) => o.act == Activation::Relu,
            Op::Activate(o) => o.act == Activation::Relu,
            Op::MaxPool(_) | Op::MeanPool(_) | Op::Concat(_) | Op::Interpolate(_) => {
                record.inputs.iter().all(|input| self.never_negative(*input))
            }
            _ => false,
        }
    }
}

/// The program with the scheme's layers in bytes. Their weights become variables of 8 bits; the scales of their channels are further
/// parameters, see [`scale_of`]. What the program takes and reports keeps its variables.
///
/// Errors: a layer that the program does not have, a scale that is missing, no positive number or beyond all use.
pub fn rewrite(tape: &Tape, scheme: &Scheme) -> Result<Tape> {
    let known: BTreeSet<String> = layers(tape).into_iter().map(|l| l.name).collect();
    if let Some(name) = scheme.layers.difference(&known).next() {
        invalid!("{name} has 8 bits, but the program has no convolution with such weights");
    }
    let how = How::of(tape, &scheme.layers);
    let mut out = tape.clone();
    out.records.clear();
    let mut bytes = InBytes::new();
    for record in &tape.records {
        out.set_label(&record.label);
        if how.quantised(record) {
            convolve(&how, scheme, record, &mut out, &mut bytes)?;
        } else if let Some(pool) = how.pools_bytes(record) {
            let Some(&(x, q)) = bytes.get(&tape.root(record.inputs[0])) else { invalid!("max_pool: no bytes to pool") };
            let y = out.fresh(tape.shape(record.outputs[0]), DType::U8);
            out.record_into(pool, vec![x], vec![y]);
            bytes.insert(record.outputs[0], (y, q));
        } else if let Some(op) = how.of_pixels(record) {
            convolve_pixels(&how, scheme, record, op, &mut out, &mut bytes)?;
        } else if !how.becomes_part(record) {
            out.records.push(record.clone());
        }
    }
    out.set_label("");
    Ok(out)
}

fn quantization(how: &How, scheme: &Scheme, v: Var) -> Result<Quantization> {
    let value = how.value(v);
    match scheme.scales.get(&value.name) {
        // So that what it divides and multiplies stays a number with all of its digits.
        Some(&scale) if (f32::MIN_POSITIVE..=1.0 / f32::MIN_POSITIVE).contains(&scale) => {
            Ok(Quantization { scale, zero: value.zero })
        }
        Some(scale) => {
            invalid!("the scale of {} is {scale:e}, expected a positive number, not beyond 1e-38 or 1e38", value.name)
        }
        None => invalid!("there is no scale of {}, which is needed in 8 bits", value.name),
    }
}

/// Records a convolution in bytes.
fn convolve(how: &How, scheme: &Scheme, record: &Record, out: &mut Tape, bytes: &mut InBytes) -> Result<()> {
    let tape = how.tape;
    let (sizes, transposed, mut o): (Conv2d, bool, Options) = match &record.op {
        Op::Conv2d(f) => {
            (f.sizes, false, Options { act: f.act, bias: f.bias.then(|| record.inputs[2]), ..Default::default() })
        }
        Op::ConvTranspose2d(f) => (f.sizes, true, Options::default()),
        other => invalid!("{} is no convolution", other.name()),
    };
    let root = tape.root(record.inputs[0]);
    let (x, x_kept) = match bytes.get(&root) {
        Some(known) => *known,
        None => {
            let q = quantization(how, scheme, root)?;
            let made = (out.quantize(root, q)?, q);
            bytes.insert(root, made);
            made
        }
    };
    let mut residual = Stored::Real;
    if let Some(operand) = how.residual(record) {
        let v = record.inputs[operand];
        o.residual = Some(v);
        if let Some((in_bytes, q)) = bytes.get(&tape.root(v)) {
            (o.residual, residual) = (Some(*in_bytes), Stored::Bytes(*q));
        }
    }
    let weights = record.inputs[1];
    let scale = scale_param(how, record, out)?;
    out.kept_in(weights, DType::I8);
    let (kept, to) = result(how, scheme, record, out, bytes)?;
    let q = Quantized { x: x_kept, residual, y: kept };
    let x = if out.shape(x) == tape.shape(record.inputs[0]) { x } else { out.view(x, tape.shape(record.inputs[0]))? };
    let (op, inputs) = out.int8(sizes, transposed, [x, weights, scale], q, o)?;
    out.record_into(op, inputs, vec![to]);
    Ok(())
}

/// Records a convolution of pixels as they come, whose weights are to have 16 bits.
fn convolve_pixels(
    how: &How,
    scheme: &Scheme,
    record: &Record,
    mut op: Conv2dPixels,
    out: &mut Tape,
    bytes: &mut InBytes,
) -> Result<()> {
    let Some(normalised) = how.maker(record.inputs[0]) else { invalid!("{}: nothing makes its pixels", record.label) };
    let scale = scale_param(how, record, out)?;
    out.kept_in(record.inputs[1], DType::I16);
    let inputs = [normalised.inputs[0], record.inputs[1], scale, record.inputs[2]];
    out.check_pixels(&op, inputs)?;
    let to;
    (op.y, to) = result(how, scheme, record, out, bytes)?;
    out.record_into(op, inputs.to_vec(), vec![to]);
    Ok(())
}

/// The scales of a record's output channels, as a parameter beside its weights.
fn scale_param(how: &How, record: &Record, out: &mut Tape) -> Result<Var> {
    let Storage::Param { net, index } = how.tape.info(record.inputs[1]).storage else {
        invalid!("{}: its weights are no parameter", record.label)
    };
    let name = scale_of(&how.tape.parameters(net).entries()[index].name);
    out.param(net, &name, &[how.tape.shape(record.outputs[0]).c()], Init::Ones)
}

/// How a record's result is kept, and as what.
fn result(how: &How, scheme: &Scheme, record: &Record, out: &mut Tape, bytes: &mut InBytes) -> Result<(Stored, Var)> {
    let y = record.outputs[0];
    if !how.only_bytes(y) {
        return Ok((Stored::Real, y));
    }
    let (q, in_bytes) = (quantization(how, scheme, y)?, out.fresh(how.tape.shape(y), DType::U8));
    bytes.insert(y, (in_bytes, q));
    Ok((Stored::Bytes(q), in_bytes))
}
