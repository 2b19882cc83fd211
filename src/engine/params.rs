//! Parameters: every network keeps its tensors in one flat arena with named ranges, so that the optimizer, the
//! gradient norm and a checkpoint are each one pass over contiguous memory.

use crate::engine::real::Real;
use crate::engine::tensor::Shape;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Elements every range is aligned to (a cache line of f32).
const ALIGN: usize = 16;

/// How a fresh parameter is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal distribution with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform distribution on `[-bound, bound)`.
    Uniform(f64),
}

/// One named tensor of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name in state dicts, without the network's prefix: `encoder.fusion_layer.conv_layers.0.0.0.weight`.
    pub name: String,
    /// Shape as PyTorch stores it: (out, in, kh, kw), (in, out, kh, kw), (out, in) or (c).
    pub file_shape: Vec<usize>,
    /// Shape in memory: the file's axes 0, 2, 3, 1 (missing ones are 1).
    pub shape: Shape,
    pub init: Init,
    /// Where it lies in the network's arena, in elements.
    pub range: Range<usize>,
}

impl Parameter {
    /// Brings values from PyTorch's order (`file_shape`) into memory order.
    pub fn from_file<T: Copy + Send + Sync>(&self, values: &[T], memory: &mut [T]) -> Result<()> {
        if values.len() != self.range.len() || memory.len() != values.len() {
            let expected = self.range.len();
            crate::invalid!(
                "{}: expected {expected} values for shape {:?}, found {}",
                self.name,
                self.file_shape,
                values.len()
            );
        }
        permute(values, memory, self.shape, Direction::FromFile);
        Ok(())
    }
}

/// Names, shapes and places of one network's parameters.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Prefix in model files: `ae`, `discriminator`, `backbone`.
    pub network: String,
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
    len: usize,
    sealed: bool,
}

impl Parameters {
    pub fn new(network: &str) -> Self {
        Parameters { network: network.to_string(), entries: Vec::new(), index: HashMap::new(), len: 0, sealed: false }
    }

    /// Index of the parameter `name`, which is added at its first mention. Asking for another shape is an error.
    pub fn add(&mut self, name: &str, file_shape: &[usize], init: Init) -> Result<usize> {
        if let Some(&i) = self.index.get(name) {
            if self.entries[i].file_shape != file_shape {
                crate::invalid!(
                    "parameter {}.{name} is used with shape {file_shape:?}, but was declared with {:?}",
                    self.network,
                    self.entries[i].file_shape
                );
            }
            return Ok(i);
        }
        if self.sealed {
            crate::invalid!(
                "parameter {0}.{name} comes too late: network {0} was closed when its gradients were taken or its \
                 parameters updated, which is done for all of them at once; record every layer of it before",
                self.network
            );
        }
        let shape = match *file_shape {
            [c] => Shape::vector(c),
            [k, c] => Shape([k, 1, 1, c]),
            [k, c, r, s] => Shape([k, r, s, c]),
            _ => crate::invalid!("parameter {}.{name} has rank {}, expected 1, 2 or 4", self.network, file_shape.len()),
        };
        let start = self.len;
        let range = start..start + shape.check()?.len();
        self.len = range.end.next_multiple_of(ALIGN);
        self.index.insert(name.to_string(), self.entries.len());
        self.entries.push(Parameter { name: name.to_string(), file_shape: file_shape.to_vec(), shape, init, range });
        Ok(self.entries.len() - 1)
    }

    /// From here on every new parameter is refused: something was recorded that works on all of them at once.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    pub fn entries(&self) -> &[Parameter] {
        &self.entries
    }

    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.entries[i])
    }

    /// Elements of the arena, alignment gaps included.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of parameters without the gaps.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|e| e.range.len()).sum()
    }
}

/// Values of one network's parameters (or of anything shaped like them: gradients, moments) in host memory.
#[derive(Clone)]
pub struct Values<T> {
    pub parameters: Arc<Parameters>,
    pub data: Vec<T>,
}

impl<T: Real> Values<T> {
    pub fn zeros(parameters: Arc<Parameters>) -> Self {
        let data = vec![T::ZERO; parameters.len()];
        Values { parameters, data }
    }

    fn entry(&self, name: &str) -> Result<&Parameter> {
        let missing = || Error::Invalid(format!("network {} has no parameter {name}", self.parameters.network));
        self.parameters.find(name).ok_or_else(missing)
    }

    /// Stores values that come in PyTorch's order (`file_shape`).
    pub fn set_from_file(&mut self, name: &str, values: &[T]) -> Result<()> {
        let e = self.entry(name)?.clone();
        if values.len() != e.range.len() {
            crate::invalid!(
                "{name}: expected {} values for shape {:?}, found {}",
                e.range.len(),
                e.file_shape,
                values.len()
            );
        }
        permute(values, &mut self.data[e.range.clone()], e.shape, Direction::FromFile);
        Ok(())
    }

    /// The values of one parameter in PyTorch's order.
    pub fn to_file(&self, e: &Parameter) -> Vec<T> {
        let mut out = vec![T::ZERO; e.range.len()];
        permute(&self.data[e.range.clone()], &mut out, e.shape, Direction::ToFile);
        out
    }

    /// The same values in another number type.
    pub fn cast<U: Real>(&self) -> Values<U> {
        Values { parameters: self.parameters.clone(), data: self.data.iter().map(|x| U::of(x.f64())).collect() }
    }
}

enum Direction {
    FromFile,
    ToFile,
}

/// Reorders between (k, c, r, s) in files and (k, r, s, c) in memory.
fn permute<T: Copy + Send + Sync>(from: &[T], to: &mut [T], shape: Shape, direction: Direction) {
    let [_, r, s, c] = shape.0;
    let taps = r * s;
    if taps == 1 || c == 1 {
        to.copy_from_slice(from);
        return;
    }
    to.par_chunks_mut(taps * c).zip(from.par_chunks(taps * c)).for_each(|(to, from)| {
        for t in 0..taps {
            for c_ in 0..c {
                let (file, memory) = (c_ * taps + t, t * c + c_);
                match direction {
                    Direction::FromFile => to[memory] = from[file],
                    Direction::ToFile => to[file] = from[memory],
                }
            }
        }
    });
}
