//! The plan: in which memory. Lifetimes of all variables and one place for each in a single arena, known before
//! anything runs, so that a program's peak memory can be told in advance and nothing is allocated while stepping.

use crate::engine::ops::{Op, Operation, dispatch};
use crate::engine::tape::{NetId, Record, Storage, Tape, Var, Whole};
use crate::engine::tensor::Shape;
use crate::{Result, invalid};
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

/// Byte ranges of one network as a whole. All are empty for frozen networks, whose parameters are placed one by one:
/// weights that every use takes packed are not kept as they were.
#[derive(Clone, Debug, Default)]
struct Network {
    params: Range<usize>,
    /// Empty but in programs of 16 bits.
    rounded: Range<usize>,
    grads: Range<usize>,
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

/// A buffer of the shared region: its size and the first and last record that need it.
struct Buffer {
    bytes: usize,
    first: usize,
    last: usize,
}

impl Plan {
    pub fn new(tape: &Tape, device: &dyn Sizing) -> Result<Plan> {
        let end = tape.records.len();
        let mut cursor = 0;
        let mut take = |bytes: usize| {
            let start = cursor;
            cursor += bytes.next_multiple_of(ALIGN);
            start..start + bytes
        };

        let (element, exact) = (tape.dtype().size(), tape.dtype().exact().size());
        let mut usage = Usage::default();
        let mut nets = Vec::new();
        let mut states = vec![0..0; tape.states().len()];
        for (i, layout) in tape.nets.iter().enumerate() {
            let net = NetId(i);
            let bytes = if tape.trains(net) { layout.len() * exact } else { 0 };
            let network = Network {
                params: take(bytes),
                rounded: take(if element < exact { bytes / exact * element } else { 0 }),
                grads: take(bytes),
            };
            usage.parameters += network.params.len() + network.rounded.len();
            usage.optimizer += network.grads.len();
            nets.push(network);
            for (state, place) in tape.states().iter().zip(&mut states).filter(|(s, _)| s.net == net) {
                *place = take(bytes_of(tape, state.var));
                usage.optimizer += if tape.shape(state.var) == Shape::SCALAR { 0 } else { place.len() };
            }
        }
        let wholes = nets.iter().flat_map(|n| [&n.params, &n.rounded, &n.grads]);
        let kept = wholes.chain(&states).filter(|r| !r.is_empty()).cloned().collect();
        let packed: Vec<Option<Range<usize>>> = tape
            .records
            .iter()
            .map(|r| {
                let weights = r.inputs.get(1).map(|w| tape.info(tape.root(*w)).storage);
                let Some(Storage::Param { net, .. }) = weights else { return None };
                let bytes = if nets[net.0].params.is_empty() { device.packed_weights(&r.op) } else { 0 };
                usage.packed += bytes;
                (bytes > 0).then(|| take(bytes))
            })
            .collect();
        let mut frozen: HashMap<Var, Range<usize>> = HashMap::new();
        for (r, packed) in tape.records.iter().zip(&packed) {
            for (k, v) in r.inputs.iter().enumerate() {
                let root = tape.root(*v);
                let Storage::Param { net, .. } = tape.info(root).storage else { continue };
                if nets[net.0].params.is_empty() && !(k == 1 && packed.is_some()) {
                    frozen.entry(root).or_insert_with(|| {
                        usage.parameters += bytes_of(tape, root);
                        take(bytes_of(tape, root))
                    });
                }
            }
        }

        // Lifetimes, by root variable.
        let mut last_use: HashMap<Var, usize> = HashMap::new();
        for (i, r) in tape.records.iter().enumerate() {
            for v in r.inputs.iter().chain(&r.outputs) {
                last_use.insert(tape.root(*v), i);
            }
        }
        for v in &tape.outputs {
            last_use.insert(tape.root(*v), end);
        }

        let mut buffers: Vec<Buffer> = Vec::new();
        let mut buffer_of: HashMap<Var, usize> = HashMap::new();
        for i in 0..tape.vars.len() {
            let v = Var(i as u32);
            if tape.vars[i].storage == Storage::Input {
                buffer_of.insert(v, buffers.len());
                let last = last_use.get(&v).copied().unwrap_or(0);
                buffers.push(Buffer { bytes: bytes_of(tape, v), first: 0, last });
            }
        }
        let mut scratch_buffer = vec![None; end];
        let mut handed_on_buffer = vec![None; end];
        for (i, r) in tape.records.iter().enumerate() {
            for (k, v) in r.outputs.iter().enumerate() {
                if tape.info(*v).storage != Storage::Temp {
                    continue;
                }
                let reused = (k == 0).then(|| in_place_buffer(tape, r, i, &last_use, &buffer_of)).flatten();
                let id = reused.unwrap_or(buffers.len());
                let last = last_use[v];
                match reused {
                    Some(id) => buffers[id].last = last,
                    None => buffers.push(Buffer { bytes: bytes_of(tape, *v), first: i, last }),
                }
                buffer_of.insert(*v, id);
            }
            let next = tape.records.get(i + 1).filter(|next| follows(tape, r, next));
            let bytes = next.map_or(0, |next| device.handed_on(&r.op, &next.op));
            if bytes > 0 {
                handed_on_buffer[i] = Some(buffers.len());
                buffers.push(Buffer { bytes, first: i, last: i + 1 });
                continue;
            }
            let bytes = device.scratch(&r.op);
            if bytes > 0 {
                scratch_buffer[i] = Some(buffers.len());
                buffers.push(Buffer { bytes, first: i, last: i });
            }
        }
        let (offsets, size) = place(&buffers);
        let region = take(size).start;
        usage.activations = size;
        usage.activations_unshared = buffers.iter().map(|b| b.bytes).sum();
        let buffer_range = |id: usize| region + offsets[id]..region + offsets[id] + buffers[id].bytes;

        let (mut vars, mut masters) = (HashMap::new(), HashMap::new());
        for i in 0..tape.vars.len() {
            let v = Var(i as u32);
            let root = tape.root(v);
            let within = |arena: &Range<usize>, net: NetId, index: usize, element: usize| {
                let r = &tape.nets[net.0].entries()[index].range;
                arena.start + r.start * element..arena.start + r.end * element
            };
            let range = match tape.info(root).storage {
                Storage::Param { net, .. } if nets[net.0].params.is_empty() => {
                    frozen.get(&root).cloned().unwrap_or(0..0)
                }
                Storage::Param { net, index } => {
                    let place = within(&nets[net.0].params, net, index, exact);
                    if nets[net.0].rounded.is_empty() {
                        place
                    } else {
                        masters.insert(v, place);
                        within(&nets[net.0].rounded, net, index, element)
                    }
                }
                Storage::Grad { net, index } => within(&nets[net.0].grads, net, index, exact),
                Storage::Whole { net, what: Whole::Params } => nets[net.0].params.clone(),
                Storage::Whole { net, what: Whole::Rounded } => nets[net.0].rounded.clone(),
                Storage::Whole { net, what: Whole::Grads } => nets[net.0].grads.clone(),
                Storage::State { index } => states[index].clone(),
                _ => match buffer_of.get(&root) {
                    Some(&id) => buffer_range(id),
                    None => continue,
                },
            };
            vars.insert(v, range);
        }

        let mut steps = Vec::with_capacity(end);
        for (i, r) in tape.records.iter().enumerate() {
            let places = |of: &[Var]| of.iter().map(|v| vars[v].clone()).collect::<Vec<_>>();
            let (mut inputs, outputs) = (places(&r.inputs), places(&r.outputs));
            for input in &mut inputs {
                if outputs.first() == Some(input) {
                    *input = 0..0;
                }
            }
            let range = |id: Option<usize>| id.map(buffer_range).unwrap_or(0..0);
            let [scratch, handed_on] = [scratch_buffer[i], handed_on_buffer[i]].map(range);
            let handed_over = if i > 0 { range(handed_on_buffer[i - 1]) } else { 0..0 };
            steps.push(Step { inputs, outputs, scratch, handed_on, handed_over, packed: packed[i].clone() });
        }
        let total = cursor;
        Ok(Plan { steps, kept, total, usage, vars, masters })
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

/// Whether the first input of `next`, and no other, is the result of `r` as it is.
fn follows(tape: &Tape, r: &Record, next: &Record) -> bool {
    let Some(result) = r.outputs.first() else { return false };
    let reads = next.inputs.iter().filter(|v| tape.root(**v) == *result).count();
    next.inputs.first() == Some(result) && reads == 1
}

/// The buffer of the input that record `i` may overwrite with its first output, if that input dies here.
fn in_place_buffer(
    tape: &Tape,
    r: &Record,
    i: usize,
    last_use: &HashMap<Var, usize>,
    buffer_of: &HashMap<Var, usize>,
) -> Option<usize> {
    let k = dispatch!(&r.op, o => o.in_place())?;
    let root = tape.root(r.inputs[k]);
    let id = *buffer_of.get(&root)?;
    let dies = last_use[&root] == i && tape.info(root).storage == Storage::Temp;
    let alone = r.inputs.iter().filter(|v| buffer_of.get(&tape.root(**v)) == Some(&id)).count() == 1;
    (dies && alone && bytes_of(tape, root) == bytes_of(tape, r.outputs[0])).then_some(id)
}

/// Offsets for buffers such that no two that live at the same time overlap: largest first, each at the lowest free place.
fn place(buffers: &[Buffer]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
    let mut offsets = vec![0; buffers.len()];
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
            if offsets[j] >= at + bytes {
                break;
            }
            at = at.max(offsets[j] + other.bytes.next_multiple_of(ALIGN));
        }
        offsets[i] = at;
        size = size.max(at + bytes);
        let position = placed.partition_point(|&j| offsets[j] <= at);
        placed.insert(position, i);
    }
    (offsets, size)
}
