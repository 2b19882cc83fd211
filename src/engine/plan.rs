//! The plan: in which memory. Lifetimes of all variables and one place for each in a single arena, known before
//! anything runs, so that a program's peak memory can be told in advance and nothing is allocated while stepping.

mod fixed;
mod shared;

use crate::engine::ops::Op;
use crate::engine::tape::{Record, Tape, Var};
use crate::{Result, invalid};
use fixed::Fixed;
use shared::Shared;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Alignment of every buffer in bytes: a cache line, and what 16-byte vector accesses on a GPU need.
const ALIGN: usize = 64;

/// What a device needs beyond inputs and outputs to run an op, in bytes.
pub trait Sizing {
    fn scratch(&self, op: &Op) -> usize;
    /// Size of the op's weights rearranged for this device; 0 if it takes them as they are.
    fn packed_weights(&self, op: &Op) -> usize;
    /// What the op leaves, in place of its scratch memory, for the record right behind it, whose first input is its
    /// result; 0 if nothing.
    fn handed_on(&self, _: &Op, _next: &Op) -> usize {
        0
    }
}

/// Byte ranges in the arena of everything one record touches.
#[derive(Clone, Debug)]
pub struct Step {
    /// An empty range stands for an input that shares the first output's buffer (the op works in place).
    pub inputs: Vec<Range<usize>>,
    pub outputs: Vec<Range<usize>>,
    pub scratch: Range<usize>,
    /// What this record leaves for the next beside its outputs, and what the one before left for this.
    pub handed_on: Range<usize>,
    pub handed_over: Range<usize>,
    /// Where the frozen weights (input 1) are kept rearranged.
    pub packed: Option<Range<usize>>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Whole networks and states: zero before the first run, kept from run to run.
    pub kept: Vec<Range<usize>>,
    /// Bytes of the arena.
    pub total: usize,
    pub usage: Usage,
    vars: HashMap<Var, Range<usize>>,
    masters: HashMap<Var, Range<usize>>,
}

/// Where a plan's memory goes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub parameters: usize,
    /// Gradients and what else is kept from run to run, single numbers aside.
    pub optimizer: usize,
    /// Frozen weights, rearranged for the device.
    pub packed: usize,
    /// Activations, saved values and scratch: the size of the region that they share over time.
    pub activations: usize,
    /// What they would take if no buffer were ever reused.
    pub activations_unshared: usize,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mb = |b: usize| b as f64 / 1e6;
        writeln!(f, "parameters                {:>9.1} MB", mb(self.parameters))?;
        writeln!(f, "gradients and moments     {:>9.1} MB", mb(self.optimizer))?;
        writeln!(f, "packed weights            {:>9.1} MB", mb(self.packed))?;
        writeln!(
            f,
            "activations and scratch   {:>9.1} MB (without reuse {:.1} MB)",
            mb(self.activations),
            mb(self.activations_unshared)
        )?;
        write!(
            f,
            "total                     {:>9.1} MB",
            mb(self.parameters + self.optimizer + self.packed + self.activations)
        )
    }
}

/// The arena while it is handed out: its bytes so far.
#[derive(Default)]
struct Arena(usize);

impl Arena {
    fn take(&mut self, bytes: usize) -> Range<usize> {
        let start = self.0;
        self.0 += bytes.next_multiple_of(ALIGN);
        start..start + bytes
    }
}

impl Plan {
    pub fn new(tape: &Tape, device: &dyn Sizing) -> Result<Plan> {
        let (mut arena, mut usage) = (Arena::default(), Usage::default());
        let fixed = Fixed::place(tape, device, &mut arena, &mut usage);
        let shared = Shared::place(tape, device, &mut arena, &mut usage);
        let (mut vars, mut masters) = (HashMap::new(), HashMap::new());
        for v in (0..tape.vars.len() as u32).map(Var) {
            let root = tape.root(v);
            if let Some(place) = fixed.of(tape, root).or_else(|| shared.of(root)) {
                vars.insert(v, place);
            }
            if let Some(master) = fixed.master(tape, root) {
                masters.insert(v, master);
            }
        }
        let places = |of: &[Var]| -> Vec<Range<usize>> { of.iter().map(|v| vars[v].clone()).collect() };
        let step = |(i, record): (usize, &Record)| {
            let (mut inputs, outputs) = (places(&record.inputs), places(&record.outputs));
            for input in inputs.iter_mut().filter(|input| outputs.first() == Some(input)) {
                *input = 0..0;
            }
            let handed_over = if i > 0 { shared.handed_on(i - 1) } else { 0..0 };
            let (scratch, handed_on, packed) = (shared.scratch(i), shared.handed_on(i), fixed.packed(i));
            Step { inputs, outputs, scratch, handed_on, handed_over, packed }
        };
        let steps = tape.records.iter().enumerate().map(step).collect();
        Ok(Plan { steps, kept: fixed.kept(), total: arena.0, usage, vars, masters })
    }

    /// Bytes of `v` in the arena; empty for frozen weights that are only kept packed. Only inputs, outputs, parameters,
    /// gradients and states are meaningful between runs.
    pub fn range(&self, v: Var) -> Result<Range<usize>> {
        match self.vars.get(&v) {
            Some(r) => Ok(r.clone()),
            None => invalid!("variable %{} has no memory in this plan", v.0),
        }
    }

    /// Bytes of the f32 values that `v`, a trained parameter of a 16-bit program, is a rounded copy of.
    pub fn master(&self, v: Var) -> Option<Range<usize>> {
        self.masters.get(&v).cloned()
    }
}

fn bytes_of(tape: &Tape, v: Var) -> usize {
    tape.shape(v).len() * tape.info(v).dtype.size()
}
