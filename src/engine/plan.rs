//! The plan: in which memory. Lifetimes of all variables and one place for each in a single arena, known before
//! anything runs, so that a program's peak memory can be told in advance and nothing is allocated while stepping.

mod fixed;
mod shared;

use crate::engine::ops::Op;
use crate::engine::tape::{Record, Tape, Var};
use crate::engine::toolkit::cuda::{Cut, SideOutput};
use crate::{Result, invalid};
use fixed::Fixed;
use shared::Shared;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Alignment of every buffer in bytes: a cache line, and what 16-byte vector accesses on a GPU need.
const ALIGN: usize = 64;

/// How a device runs a record: decided once, here, and read by whoever sizes its memory or launches it. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    pub cut: Cut,
    pub scratch: usize,
    /// Of the weights (input 1) rearranged for this device, should they be frozen; 0 if it takes them as they are.
    pub packed: usize,
    /// What it leaves, in place of its scratch memory, for the record right behind it, which asked for it.
    pub leaves: Option<SideOutput>,
    /// What the record before leaves for this one.
    pub takes: Option<SideOutput>,
}

/// A device that decides.
pub trait Planner {
    /// Decides how an op runs. `next`: the record right behind, if its first input, and no other, is the op's result, with
    /// what was decided of it. Called once for every record, the last one first.
    fn decide(&self, op: &Op, next: Option<(&Op, &Decision)>) -> Decision;
}

fn decide(tape: &Tape, device: &dyn Planner) -> Vec<Decision> {
    let mut decisions = vec![Decision::default(); tape.records.len()];
    for (i, record) in tape.records.iter().enumerate().rev() {
        let next = tape.records.get(i + 1).filter(|next| follows(tape, record, next));
        decisions[i] = device.decide(&record.op, next.map(|next| (&next.op, &decisions[i + 1])));
        if let Some(leaves) = decisions[i].leaves {
            decisions[i + 1].takes = Some(leaves);
        }
    }
    decisions
}

/// Whether the first input of `next`, and no other, is the result of `r` as it is.
fn follows(tape: &Tape, r: &Record, next: &Record) -> bool {
    let Some(result) = r.outputs.first() else { return false };
    let reads = next.inputs.iter().filter(|v| tape.root(**v) == *result).count();
    next.inputs.first() == Some(result) && reads == 1
}

/// Byte ranges in the arena of everything one record touches.
#[derive(Clone, Debug)]
pub struct Step {
    /// An empty range stands for an input that shares the first output's buffer (the op works in place).
    pub inputs: Vec<Range<usize>>,
    pub outputs: Vec<Range<usize>>,
    pub scratch: Range<usize>,
    /// What this record leaves for the next beside its outputs, and what the one before leaves for this.
    pub leaves: Range<usize>,
    pub takes: Range<usize>,
    /// Where the frozen weights (input 1) are kept rearranged.
    pub packed: Option<Range<usize>>,
    pub decision: Decision,
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
    pub fn new(tape: &Tape, device: &dyn Planner) -> Result<Plan> {
        let (mut arena, mut usage) = (Arena::default(), Usage::default());
        let decisions = decide(tape, device);
        let fixed = Fixed::place(tape, &decisions, &mut arena, &mut usage);
        let shared = Shared::place(tape, &decisions, &mut arena, &mut usage);
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
            let takes = if i > 0 { shared.leaves(i - 1) } else { 0..0 };
            let (scratch, leaves, packed) = (shared.scratch(i), shared.leaves(i), fixed.packed(i));
            Step { inputs, outputs, scratch, leaves, takes, packed, decision: decisions[i] }
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

pub fn bytes_of(tape: &Tape, v: Var) -> usize {
    tape.shape(v).len() * tape.info(v).dtype.size()
}
