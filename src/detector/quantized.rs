//! A detector's weights with layers of 8 bits, and the model files that hold them: version 3 of [`file`](super::file).
//!
//! Their tensors are `<network>.<name>` of every network that scores, of 8 bits with `<network>.<name>_scale` beside them, or f32; the
//! backbone's batch norms are folded. `scale.<layer>.<op>`, one number each, are the scales of what is computed.

use super::file::{Config, ModelFile, metadata};
use crate::engine::device::Session;
use crate::engine::ops::Op;
use crate::engine::ops::conv2d_int8::LARGEST_SUM;
use crate::engine::quantized::{Layer, Scheme, layers, scale_of};
use crate::engine::tape::{Storage, Tape, Var};
use crate::engine::tensor::DType;
use crate::program::Program;
use crate::weights::{Archive, Elem, Tensor, write_safetensors};
use crate::{Result, invalid};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// In front of names of what is computed.
const SCALE: &str = "scale.";

/// Weights of 8 bits: `values[i] * scales[channel]`, symmetric.
#[derive(Clone, Debug)]
pub struct Weights8 {
    /// In the order and shape that files have.
    pub values: Vec<i8>,
    pub shape: Vec<usize>,
    /// One for each output channel.
    pub scales: Vec<f32>,
}

impl Weights8 {
    /// Of f32 weights whose output channels are counted along `axis`: each channel's largest becomes 127.
    pub fn of(values: &[f32], shape: &[usize], axis: usize) -> Self {
        let (channels, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let channel = |i: usize| i / inner % channels;
        let mut largest = vec![0f32; channels];
        values.iter().enumerate().for_each(|(i, v)| largest[channel(i)] = largest[channel(i)].max(v.abs()));
        // Of nothing but zeros: any would do.
        let scales: Vec<f32> =
            largest.iter().map(|l| if *l > 0.0 { (l / 127.0).max(f32::MIN_POSITIVE) } else { 1.0 }).collect();
        let step = |(i, v): (usize, &f32)| (v / scales[channel(i)]).round_ties_even().clamp(-127.0, 127.0) as i8;
        Weights8 { values: values.iter().enumerate().map(step).collect(), shape: shape.to_vec(), scales }
    }

    /// What they stand for.
    pub fn f32(&self, axis: usize) -> Vec<f32> {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let of = |(i, v): (usize, &i8)| f32::from(*v) * self.scales[i / inner % self.scales.len()];
        self.values.iter().enumerate().map(of).collect()
    }
}

/// All that a detector scores with, by `<network>.<name>`, in the order that files have: as it is, and layers of 8 bits.
#[derive(Default)]
pub struct Weights {
    pub real: BTreeMap<String, Vec<f32>>,
    pub layers: BTreeMap<String, Weights8>,
    /// Biases that take the place of others where a layer has 8 bits: whose they are, and they.
    pub biases: BTreeMap<String, (String, Vec<f32>)>,
}

impl Weights {
    /// A model's, with 8 bits of every layer of `layers`, all of its scoring program.
    pub fn of(model: &ModelFile, program: &Program, layers: &[Layer]) -> Result<Self> {
        let mut weights = Weights::default();
        for network in &program.networks {
            let parameters = program.tape.parameters(network.id);
            model.each_parameter(program, network.id, |index, values| {
                let e = &parameters.entries()[index];
                let name = format!("{}.{}", parameters.network, e.name);
                if let Some(layer) = layers.iter().find(|l| l.name == name) {
                    weights.layers.insert(name.clone(), Weights8::of(values, &e.file_shape, layer.axis));
                }
                weights.real.insert(name, values.to_vec());
                Ok(())
            })?;
        }
        Ok(weights)
    }

    fn layer(&self, name: &str) -> Result<&Weights8> {
        match self.layers.get(name) {
            Some(layer) => Ok(layer),
            None => invalid!("there are no weights of 8 bits of {name}"),
        }
    }

    /// Writes a model file with the scheme's layers in 8 bits.
    pub fn save(&self, path: &Path, config: &Config, scheme: &Scheme, program: &Program) -> Result<()> {
        let (mut tensors, mut real) = (Vec::new(), Vec::new());
        for network in &program.networks {
            let parameters = program.tape.parameters(network.id);
            for e in parameters.entries() {
                let name = format!("{}.{}", parameters.network, e.name);
                match self.layers.get(&name).filter(|_| scheme.layers.contains(&name)) {
                    Some(layer) => {
                        tensors.push(Tensor::new(scale_of(&name), &[layer.scales.len()], &layer.scales)?);
                        tensors.push(Tensor::new(name, &e.file_shape, &layer.values)?);
                    }
                    None => real.push((name, e.file_shape.clone())),
                }
            }
        }
        let chosen = Chosen(self, scheme);
        let real: Vec<_> =
            real.iter().map(|(name, shape)| Ok((name, shape, chosen.real(name, shape)?))).collect::<Result<_>>()?;
        for (name, shape, values) in &real {
            tensors.push(Tensor::new(name.as_str(), shape, values)?);
        }
        for (name, scale) in &scheme.scales {
            tensors.push(Tensor::new(format!("{SCALE}{name}"), &[1], std::slice::from_ref(scale))?);
        }
        write_safetensors(path, &tensors, &metadata(config)?)
    }
}

/// Where the numbers of a session come from, by `<network>.<name>`, in the order that files have.
pub trait Source {
    /// Weights of 8 bits.
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [i8]>>;
    /// The scales of their channels.
    fn scales(&self, weights: &str, channels: usize) -> Result<Cow<'_, [f32]>>;
    fn real(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>>;
}

/// What a scheme takes of weights.
pub struct Chosen<'a>(pub &'a Weights, pub &'a Scheme);

impl Source for Chosen<'_> {
    fn bytes(&self, name: &str, _: &[usize]) -> Result<Cow<'_, [i8]>> {
        self.0.layer(name).map(|layer| layer.values.as_slice().into())
    }

    fn scales(&self, weights: &str, _: usize) -> Result<Cow<'_, [f32]>> {
        self.0.layer(weights).map(|layer| layer.scales.as_slice().into())
    }

    fn real(&self, name: &str, _: &[usize]) -> Result<Cow<'_, [f32]>> {
        let Chosen(weights, scheme) = self;
        let other = weights.biases.get(name).filter(|(layer, _)| scheme.layers.contains(layer)).map(|(_, bias)| bias);
        match other.or_else(|| weights.real.get(name)) {
            Some(values) => Ok(values.as_slice().into()),
            None => invalid!("scoring needs {name}, which is not there"),
        }
    }
}

/// A model file of version 3.
struct Filed<'a> {
    archive: &'a Archive,
    /// Along which axis of weights output channels are counted.
    axes: BTreeMap<String, usize>,
}

impl Source for Filed<'_> {
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [i8]>> {
        let view = self.archive.get(name)?;
        let path = self.archive.path().display();
        if view.elem != Elem::I8 || view.shape != shape || !view.is_contiguous() {
            invalid!("{path}: {name}: expected {shape:?} of I8, found {:?} of {}", view.shape, view.elem);
        }
        Ok(bytemuck::cast_slice(view.data).into())
    }

    fn scales(&self, weights: &str, channels: usize) -> Result<Cow<'_, [f32]>> {
        scales(self.archive, &scale_of(weights), channels)
    }

    /// Also of weights of 8 bits, what they stand for.
    fn real(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        let eight = self.archive.contains(name) && self.archive.get(name)?.elem == Elem::I8;
        let Some(axis) = self.axes.get(name).filter(|_| eight) else { return self.archive.f32(name, shape) };
        let (values, shape) = (self.bytes(name, shape)?.into_owned(), shape.to_vec());
        let scales = self.scales(name, shape[*axis])?.into_owned();
        Ok(Weights8 { values, shape, scales }.f32(*axis).into())
    }
}

/// Fills the networks of a session of a program, quantised or not, tensor by tensor.
pub fn fill(session: &mut dyn Session, program: &Program, source: &dyn Source) -> Result<()> {
    let (mut bytes, mut memory): (Vec<i8>, Vec<f32>) = Default::default();
    let tape = &program.tape;
    let filled = fill_of_pixels(session, tape, source)?;
    // By what the scales of a layer's channels are multiplied.
    let factors: BTreeMap<Var, f32> = tape
        .records()
        .iter()
        .filter_map(|r| match &r.op {
            Op::Conv2dInt8(op) => Some((r.inputs[2], op.x.scale)),
            _ => None,
        })
        .collect();
    for network in &program.networks {
        let parameters = tape.parameters(network.id);
        let full = |name: &str| format!("{}.{name}", parameters.network);
        let eight: BTreeMap<String, &str> =
            parameters.entries().iter().map(|e| (scale_of(&e.name), e.name.as_str())).collect();
        for (index, e) in parameters.entries().iter().enumerate() {
            let Some(var) = tape.param_var(network.id, index).filter(|var| !filled.contains(var)) else { continue };
            if tape.info(var).dtype == DType::I8 {
                bytes.resize(e.range.len(), 0);
                e.from_file(&source.bytes(&full(&e.name), &e.file_shape)?, &mut bytes)?;
                session.write_bytes(var, bytemuck::cast_slice(&bytes))?;
                continue;
            }
            let values = match eight.get(&e.name) {
                Some(weights) => source.scales(&full(weights), e.range.len())?,
                None => source.real(&full(&e.name), &e.file_shape)?,
            };
            // Bytes hold neither NaN nor infinity: what would lead to them is refused here, or nobody would see it.
            let largest = factors.get(&var).map_or(1.0, |factor| factor * LARGEST_SUM);
            if let Some(value) = values.iter().find(|v| !(*v * largest).is_finite()) {
                invalid!("{}: {value:e} is too large a number, or none: the model's weights are broken", full(&e.name));
            }
            memory.resize(values.len(), 0.0);
            e.from_file(&values, &mut memory)?;
            session.write_param(network.id, index, &memory)?;
        }
    }
    Ok(())
}

/// Weights of 16 bits for convolutions of pixels, with their scales and biases, all of real ones. What was filled.
fn fill_of_pixels(session: &mut dyn Session, tape: &Tape, source: &dyn Source) -> Result<Vec<Var>> {
    let mut filled = Vec::new();
    for record in tape.records() {
        let (Op::Conv2dPixels(op), &[_, weights, scale, bias]) = (&record.op, &record.inputs[..]) else { continue };
        let real = |v: Var| {
            let Storage::Param { net, index } = tape.info(v).storage else {
                invalid!("{}: its weights and biases are no parameters", record.label)
            };
            let parameters = tape.parameters(net);
            let e = &parameters.entries()[index];
            let mut memory = vec![0.0; e.range.len()];
            e.from_file(&source.real(&format!("{}.{}", parameters.network, e.name), &e.file_shape)?, &mut memory)?;
            Ok(memory)
        };
        let whole = op.whole(&real(weights)?, &real(bias)?).map_err(|e| e.within(&record.label))?;
        session.write(weights, &whole.weights)?;
        session.write(scale, &whole.scale)?;
        session.write(bias, &whole.bias)?;
        filled.extend([weights, scale, bias]);
    }
    Ok(filled)
}

/// The numbers of a file with quantised layers, for a program that has them in 8 bits or as they are.
pub fn filed<'a>(archive: &'a Archive, program: &Program) -> impl Source + 'a {
    let axes = layers(&program.tape).into_iter().map(|l| (l.name, l.axis)).collect();
    Filed { archive, axes }
}

/// The scheme that a file's tensors tell. Errors: a scale that is no positive number, or more than one; scales of weights that have not 8
/// bits.
pub fn scheme(archive: &Archive) -> Result<Scheme> {
    let mut scheme = Scheme::default();
    for t in archive.tensors() {
        if t.elem == Elem::I8 {
            scheme.layers.insert(t.name.to_string());
        } else if let Some(name) = t.name.strip_prefix(SCALE) {
            let scale = scales(archive, t.name, 1)?[0];
            scheme.scales.insert(name.to_string(), scale);
        } else if let Some(weights) = t.name.strip_suffix("_scale")
            && archive.contains(weights)
            && archive.get(weights)?.elem != Elem::I8
        {
            let (path, elem) = (archive.path().display(), archive.get(weights)?.elem);
            invalid!("{path}: {weights} has scales, so it should be of I8; found {elem:?}");
        }
    }
    Ok(scheme)
}

/// So many scales.
fn scales<'a>(archive: &'a Archive, name: &str, len: usize) -> Result<Cow<'a, [f32]>> {
    let scales = archive.f32(name, &[len])?;
    if let Some(i) = scales.iter().position(|s| *s <= 0.0) {
        invalid!("{}: {name}: value {i} is {}, expected a positive number", archive.path().display(), scales[i]);
    }
    Ok(scales)
}
