//! Where a plan runs. A [`Session`] is a program with its memory on one device: fill the inputs, run, read the outputs.
//! Ops do not know of it; what they are built from is the [`toolkit`](super::toolkit).

mod backend;
pub mod cpu;
pub mod cuda;
#[cfg(test)]
mod tests;
pub mod tune;

pub use backend::{Backend, Device};

use crate::engine::ops::case::{Recorded, uniform};
use crate::engine::params::Values;
use crate::engine::plan::Plan;
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Storage, Tape, Var, Whole};
use crate::engine::tensor::{DType, Element, Tensor};
use crate::engine::toolkit::cuda::Launch;
use crate::{Result, invalid};
use rayon::prelude::*;
use std::ops::Range;

/// A planned program with its memory.
pub trait Session: Send {
    fn tape(&self) -> &Tape;
    fn plan(&self) -> &Plan;
    /// Copies bytes into a variable (an input, a parameter, a state) from the host, of the type that [`Session::dtype`] says.
    fn write_bytes(&mut self, v: Var, bytes: &[u8]) -> Result<()>;
    /// Copies a variable declared as output, a parameter, a gradient or a state to the host.
    fn read_bytes(&self, v: Var, bytes: &mut [u8]) -> Result<()>;
    /// Copies data that inputs are later filled from into memory of the device, once in a session's life. `false`, and
    /// nothing kept, where that memory has no room to spare or, as the CPU's, is the host's.
    fn keep(&mut self, bytes: &[u8]) -> Result<bool>;
    /// Fills an input from parts of the bytes that [`Session::keep`] took, one behind the other. Nothing passes through the host.
    fn write_kept(&mut self, v: Var, parts: &[Range<usize>]) -> Result<()>;
    /// Replays the program once.
    fn run(&mut self) -> Result<()>;
    /// Waits for all runs.
    fn synchronize(&self) -> Result<()>;
    /// Runs that may be on their way at once.
    fn lanes(&self) -> usize;
    /// Fills inputs, each from its parts one behind the other, and starts a run. What parts leave out keeps its value.
    fn submit(&mut self, inputs: &[(Var, &[&[u8]])]) -> Result<()>;
    /// Waits for the oldest run that [`Session::submit`] started and lends outputs of it, where they came to lie.
    fn collect(&mut self, outputs: &[Var]) -> Result<Vec<&[u8]>>;
    /// Runs the program and tells what each record, or each launch of it, costs by itself.
    fn profile(&mut self, repetitions: usize) -> Result<Vec<Profile>>;

    /// What `v` is written and read as: the type it is kept in; for parameters that are trained in 16 bits, f32.
    fn dtype(&self, v: Var) -> DType {
        let kept = self.tape().info(v).dtype;
        if self.plan().master(v).is_some() { kept.exact() } else { kept }
    }
}

/// Fills the memory of an input from parts, one behind the other; what they leave out keeps its value.
fn fill(v: Var, memory: &mut [u8], parts: &[&[u8]]) -> Result<()> {
    let (len, mut rest) = (memory.len(), memory);
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let Some((place, behind)) = rest.split_at_mut_checked(part.len()) else {
            invalid!("variable %{} takes {len} bytes, found more", v.0)
        };
        places.push((place, *part));
        rest = behind;
    }
    copy_all(places);
    Ok(())
}

/// Copies from one memory to another, by all threads where it is so much that one is slower than the memory.
pub fn copy_all(copies: Vec<(&mut [u8], &[u8])>) {
    const MUCH: usize = 1 << 20;
    if copies.iter().map(|(to, _)| to.len()).sum::<usize>() < MUCH {
        copies.into_iter().for_each(|(to, from)| to.copy_from_slice(from));
        return;
    }
    copies.into_par_iter().for_each(|(to, from)| {
        to.par_chunks_mut(MUCH).zip(from.par_chunks(MUCH)).for_each(|(to, from)| to.copy_from_slice(from));
    });
}

/// What running something costs.
#[derive(Clone, Debug)]
pub enum Cost {
    /// Seconds of every repetition.
    Seconds(Vec<f64>),
    /// What it did, in the emulator.
    Counters(Box<ptxsim::Counters>),
}

/// A part of a program and what it costs.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Index of the record on the tape.
    pub record: usize,
    /// On CUDA and the emulator; on the CPU a record is one piece.
    pub launch: Option<Launch>,
    pub cost: Cost,
}

impl dyn Session + '_ {
    fn check<E: Element>(&self, v: Var, len: usize) -> Result<()> {
        let (shape, dtype) = (self.tape().shape(v), self.dtype(v));
        if dtype != E::DTYPE || shape.len() != len {
            invalid!("variable %{} holds {shape} {dtype}, found {len} values of {}", v.0, E::DTYPE);
        }
        Ok(())
    }

    /// Fills an input.
    pub fn write<E: Element>(&mut self, v: Var, values: &[E]) -> Result<()> {
        self.check::<E>(v, values.len())?;
        self.write_bytes(v, bytemuck::cast_slice(values))
    }

    /// Reads an output into `values`.
    pub fn read_into<E: Element>(&self, v: Var, values: &mut [E]) -> Result<()> {
        self.check::<E>(v, values.len())?;
        self.read_bytes(v, bytemuck::cast_slice_mut(values))
    }

    /// Reads an output.
    pub fn read<E: Element>(&self, v: Var) -> Result<Vec<E>> {
        let mut values = vec![bytemuck::Zeroable::zeroed(); self.tape().shape(v).len()];
        self.read_into(v, &mut values)?;
        Ok(values)
    }

    /// Fills an input of any type from `f64`.
    pub fn write_values(&mut self, v: Var, values: &[f64]) -> Result<()> {
        let (shape, dtype) = (self.tape().shape(v), self.dtype(v));
        if shape.len() != values.len() {
            invalid!("variable %{} holds {shape} {dtype}, found {} values", v.0, values.len());
        }
        self.write_bytes(v, Tensor::rounded(shape, dtype, values.iter().copied()).bytes())
    }

    /// Reads an output of any type as `f64`.
    pub fn read_values(&self, v: Var) -> Result<Vec<f64>> {
        let mut t = Tensor::zeros(self.tape().shape(v), self.dtype(v));
        self.read_bytes(v, t.bytes_mut())?;
        Ok(t.to_vec())
    }

    /// Reads a scalar output.
    pub fn scalar(&self, v: Var) -> Result<f64> {
        Ok(self.read_values(v)?[0])
    }

    /// Fills a network's parameters. The values must be of the same parameters as the program's.
    pub fn write_params<T: Real>(&mut self, net: NetId, values: &Values<T>) -> Result<()> {
        self.expect_length(net, values)?;
        for (index, e) in values.parameters.entries().iter().enumerate() {
            self.write_param(net, index, &values.data[e.range.clone()])?;
        }
        Ok(())
    }

    /// Reads a network's parameters into `values`.
    pub fn read_params<T: Real>(&self, net: NetId, values: &mut Values<T>) -> Result<()> {
        self.expect_length(net, values)?;
        for (index, e) in values.parameters.entries().iter().enumerate() {
            if let Some(v) = self.tape().param_var(net, index) {
                self.read_numbers(v, &mut values.data[e.range.clone()])?;
            }
        }
        Ok(())
    }

    /// Reads the gradients of a network's parameters into `values`.
    pub fn read_grads<T: Real>(&self, net: NetId, values: &mut Values<T>) -> Result<()> {
        self.expect_length(net, values)?;
        match self.tape().find_whole(net, Whole::Grads) {
            Some(v) => self.read_numbers(v, &mut values.data),
            None => invalid!("this program takes no gradients of network {}", self.tape().parameters(net).network),
        }
    }

    fn expect_length<T>(&self, net: NetId, values: &Values<T>) -> Result<()> {
        let ours = self.tape().parameters(net);
        if ours.len() != values.data.len() {
            invalid!("network {}: expected {} values, found {}", ours.network, ours.len(), values.data.len());
        }
        Ok(())
    }

    /// Fills the `index`-th parameter of a network, values in memory order.
    pub fn write_param<T: Real>(&mut self, net: NetId, index: usize, values: &[T]) -> Result<()> {
        let (tape, entry) = (self.tape(), self.tape().parameters(net).entries().get(index));
        match (tape.param_var(net, index), entry) {
            (Some(v), Some(e)) if e.range.len() == values.len() => self.write_numbers(v, values),
            _ => invalid!("{} has no parameter {index} of {} values", tape.parameters(net).network, values.len()),
        }
    }

    /// Fills a variable from a network's own numbers, f32 or f64; a program may keep others.
    fn write_numbers<T: Real>(&mut self, v: Var, values: &[T]) -> Result<()> {
        if self.dtype(v).size() == size_of::<T>() {
            return self.write_bytes(v, bytemuck::cast_slice(values));
        }
        self.write_values(v, &values.iter().map(|x| x.f64()).collect::<Vec<_>>())
    }

    /// Reads a variable as [`write_numbers`](Self::write_numbers) fills it.
    fn read_numbers<T: Real>(&self, v: Var, values: &mut [T]) -> Result<()> {
        if self.dtype(v).size() == size_of::<T>() {
            return self.read_bytes(v, bytemuck::cast_slice_mut(values));
        }
        values.iter_mut().zip(self.read_values(v)?).for_each(|(to, x)| *to = T::of(x));
        Ok(())
    }
}

impl Recorded {
    /// Fills the inputs, and the parameters (by their names), of a session that runs this program.
    pub fn write(&self, session: &mut dyn Session, inputs: &[Vec<f64>]) -> Result<()> {
        for (v, values) in self.inputs.iter().zip(inputs) {
            session.write_values(*v, values)?;
        }
        for (i, info) in self.tape.vars.iter().enumerate() {
            let Storage::Param { net, index } = info.storage else { continue };
            let name = &self.tape.parameters(net).entries()[index].name;
            let values: Vec<f64> = uniform(name, info.shape.len()).into_iter().map(f64::from).collect();
            session.write_values(Var(i as u32), &values)?;
        }
        Ok(())
    }
}
