//! The memory that inputs, results and scratch share over time: when each is needed, and where it then is.

use super::{ALIGN, Arena, Decision, Usage, bytes_of};
use crate::engine::ops::{Operation, dispatch};
use crate::engine::tape::{Record, Storage, Tape, Var};
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

/// A piece of the shared memory: its size and the first and last record that need it.
struct Buffer {
    bytes: usize,
    first: usize,
    last: usize,
}

#[derive(Default)]
pub struct Shared {
    buffers: Vec<Buffer>,
    /// Where each buffer starts.
    starts: Vec<usize>,
    /// Inputs and results, not views of them.
    of_var: HashMap<Var, usize>,
    scratch: Vec<Option<usize>>,
    leaves: Vec<Option<usize>>,
}

impl Shared {
    pub fn place(tape: &Tape, decisions: &[Decision], arena: &mut Arena, usage: &mut Usage) -> Shared {
        let last_use = last_use(tape);
        let mut shared = Shared::default();
        for v in (0..tape.vars.len() as u32).map(Var).filter(|v| tape.info(*v).storage == Storage::Input) {
            let last = last_use.get(&v).copied().unwrap_or(0);
            let id = shared.add(bytes_of(tape, v), 0..=last);
            shared.of_var.insert(v, id);
        }
        for (i, record) in tape.records.iter().enumerate() {
            shared.add_outputs(tape, i, record, &last_use);
            shared.add_beside(i, &decisions[i]);
        }
        let (offsets, size) = offsets(&shared.buffers);
        let region = arena.take(size).start;
        shared.starts = offsets.into_iter().map(|at| region + at).collect();
        usage.activations = size;
        usage.activations_unshared = shared.buffers.iter().map(|b| b.bytes).sum();
        shared
    }

    fn add(&mut self, bytes: usize, needed: RangeInclusive<usize>) -> usize {
        self.buffers.push(Buffer { bytes, first: *needed.start(), last: *needed.end() });
        self.buffers.len() - 1
    }

    /// Buffers of the results of record `i`.
    fn add_outputs(&mut self, tape: &Tape, i: usize, record: &Record, last_use: &HashMap<Var, usize>) {
        for (k, v) in record.outputs.iter().enumerate() {
            if tape.info(*v).storage != Storage::Temp {
                continue;
            }
            let reused = (k == 0).then(|| self.overwritten(tape, i, record, last_use)).flatten();
            let last = last_use[v];
            let id = reused.unwrap_or_else(|| self.add(bytes_of(tape, *v), i..=last));
            self.buffers[id].last = last;
            self.of_var.insert(*v, id);
        }
    }

    /// What record `i` leaves for the next, or else its scratch memory.
    fn add_beside(&mut self, i: usize, decision: &Decision) {
        let leaves = decision.leaves.map(|what| self.add(what.bytes(), i..=i + 1));
        let needed = leaves.is_none() && decision.scratch > 0;
        let scratch = needed.then(|| self.add(decision.scratch, i..=i));
        self.leaves.push(leaves);
        self.scratch.push(scratch);
    }

    /// The buffer of the input that record `i` may overwrite with its first output, if that input dies here.
    fn overwritten(&self, tape: &Tape, i: usize, r: &Record, last_use: &HashMap<Var, usize>) -> Option<usize> {
        let k = dispatch!(&r.op, o => o.in_place())?;
        let root = tape.root(r.inputs[k]);
        let id = *self.of_var.get(&root)?;
        let dies = last_use[&root] == i && tape.info(root).storage == Storage::Temp;
        let alone = r.inputs.iter().filter(|v| self.of_var.get(&tape.root(**v)) == Some(&id)).count() == 1;
        (dies && alone && bytes_of(tape, root) == bytes_of(tape, r.outputs[0])).then_some(id)
    }

    fn range(&self, id: usize) -> Range<usize> {
        self.starts[id]..self.starts[id] + self.buffers[id].bytes
    }

    /// Where `root`, an input or a result, is.
    pub fn of(&self, root: Var) -> Option<Range<usize>> {
        self.of_var.get(&root).map(|id| self.range(*id))
    }

    pub fn scratch(&self, record: usize) -> Range<usize> {
        self.scratch[record].map_or(0..0, |id| self.range(id))
    }

    /// What a record leaves for the next beside its outputs.
    pub fn leaves(&self, record: usize) -> Range<usize> {
        self.leaves[record].map_or(0..0, |id| self.range(id))
    }
}

/// The last record that needs each variable, views counted for what they view. Outputs of the program outlive all.
fn last_use(tape: &Tape) -> HashMap<Var, usize> {
    let mut last_use = HashMap::new();
    for (i, r) in tape.records.iter().enumerate() {
        for v in r.inputs.iter().chain(&r.outputs) {
            last_use.insert(tape.root(*v), i);
        }
    }
    for v in &tape.outputs {
        last_use.insert(tape.root(*v), tape.records.len());
    }
    last_use
}

/// Offsets for buffers such that no two that live at the same time overlap: largest first, each at the lowest free place.
fn offsets(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
    let mut at_of = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new(); // sorted by offset
    let mut size = 0;
    for i in order {
        let b = &buffers[i];
        let bytes = b.bytes.next_multiple_of(ALIGN);
        let mut at = 0;
        for &j in &placed {
            let other = &buffers[j];
            if other.last < b.first || b.last < other.first {
                continue;
            }
            if at_of[j] >= at + bytes {
                break;
            }
            at = at.max(at_of[j] + other.bytes.next_multiple_of(ALIGN));
        }
        at_of[i] = at;
        size = size.max(at + bytes);
        let position = placed.partition_point(|&j| at_of[j] <= at);
        placed.insert(position, i);
    }
    (at_of, size)
}
