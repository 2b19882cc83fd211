//! What has its place for itself: whole networks, states, frozen weights as they are or rearranged.

use super::{Arena, Decision, Usage, bytes_of};
use crate::engine::tape::{NetId, Storage, Tape, Var, Whole};
use crate::engine::tensor::Shape;
use std::collections::HashMap;
use std::ops::Range;

/// A network as a whole. All is empty for frozen networks, whose parameters are placed one by one: weights that every use
/// takes packed are not kept as they were.
struct NetworkRanges {
    params: Range<usize>,
    /// Empty but in programs of 16 bits.
    rounded: Range<usize>,
    grads: Range<usize>,
}

pub struct Fixed {
    networks: Vec<NetworkRanges>,
    states: Vec<Range<usize>>,
    /// Rearranged weights of each record.
    packed: Vec<Option<Range<usize>>>,
    frozen: HashMap<Var, Range<usize>>,
}

impl Fixed {
    pub fn place(tape: &Tape, decisions: &[Decision], arena: &mut Arena, usage: &mut Usage) -> Fixed {
        let states = vec![0..0; tape.states().len()];
        let mut fixed = Fixed { networks: vec![], states, packed: vec![], frozen: HashMap::new() };
        for net in (0..tape.nets.len()).map(NetId) {
            fixed.place_network(tape, net, arena, usage);
        }
        fixed.place_packed(tape, decisions, arena, usage);
        fixed.place_frozen(tape, arena, usage);
        fixed
    }

    /// A trained network, and the states of any.
    fn place_network(&mut self, tape: &Tape, net: NetId, arena: &mut Arena, usage: &mut Usage) {
        let (kept, exact) = (tape.dtype(), tape.dtype().exact());
        let elements = if tape.trains(net) { tape.parameters(net).len() } else { 0 };
        let params = arena.take(elements * exact.size());
        let rounded = arena.take(if kept == exact { 0 } else { elements * kept.size() });
        let grads = arena.take(elements * exact.size());
        usage.parameters += params.len() + rounded.len();
        usage.optimizer += grads.len();
        self.networks.push(NetworkRanges { params, rounded, grads });
        for (state, place) in tape.states().iter().zip(&mut self.states).filter(|(s, _)| s.net == net) {
            *place = arena.take(bytes_of(tape, state.var));
            usage.optimizer += if tape.shape(state.var) == Shape::SCALAR { 0 } else { place.len() };
        }
    }

    /// Weights that records take rearranged.
    fn place_packed(&mut self, tape: &Tape, decisions: &[Decision], arena: &mut Arena, usage: &mut Usage) {
        for (r, decision) in tape.records.iter().zip(decisions) {
            let weights = r.inputs.get(1).map(|w| tape.info(tape.root(*w)).storage);
            let bytes = match weights {
                Some(Storage::Param { net, .. }) if !tape.trains(net) => decision.packed,
                _ => 0,
            };
            usage.packed += bytes;
            self.packed.push((bytes > 0).then(|| arena.take(bytes)));
        }
    }

    /// Frozen parameters that records take as they are.
    fn place_frozen(&mut self, tape: &Tape, arena: &mut Arena, usage: &mut Usage) {
        for (r, packed) in tape.records.iter().zip(&self.packed) {
            for (k, v) in r.inputs.iter().enumerate() {
                let root = tape.root(*v);
                let Storage::Param { net, .. } = tape.info(root).storage else { continue };
                let as_it_is = k != 1 || packed.is_none();
                if as_it_is && !tape.trains(net) {
                    self.frozen.entry(root).or_insert_with(|| {
                        usage.parameters += bytes_of(tape, root);
                        arena.take(bytes_of(tape, root))
                    });
                }
            }
        }
    }

    /// Where `root`, no view, is, if it has a place for itself; empty for frozen weights that are only kept packed.
    pub fn of(&self, tape: &Tape, root: Var) -> Option<Range<usize>> {
        let exact = tape.dtype().exact().size();
        Some(match tape.info(root).storage {
            Storage::Input | Storage::Temp | Storage::View(_) => return None,
            Storage::Param { net, .. } if !tape.trains(net) => self.frozen.get(&root).cloned().unwrap_or(0..0),
            Storage::Param { net, index } => match &self.networks[net.0] {
                n if n.rounded.is_empty() => within(tape, &n.params, net, index, exact),
                n => within(tape, &n.rounded, net, index, tape.dtype().size()),
            },
            Storage::Grad { net, index } => within(tape, &self.networks[net.0].grads, net, index, exact),
            Storage::Whole { net, what: Whole::Params } => self.networks[net.0].params.clone(),
            Storage::Whole { net, what: Whole::Rounded } => self.networks[net.0].rounded.clone(),
            Storage::Whole { net, what: Whole::Grads } => self.networks[net.0].grads.clone(),
            Storage::State { index } => self.states[index].clone(),
        })
    }

    /// Where the numbers are that `root`, a trained parameter of a 16-bit program, is a rounded copy of.
    pub fn master(&self, tape: &Tape, root: Var) -> Option<Range<usize>> {
        let Storage::Param { net, index } = tape.info(root).storage else { return None };
        let NetworkRanges { params, rounded, .. } = &self.networks[net.0];
        (!rounded.is_empty()).then(|| within(tape, params, net, index, tape.dtype().exact().size()))
    }

    pub fn packed(&self, record: usize) -> Option<Range<usize>> {
        self.packed[record].clone()
    }

    /// Whole networks and states.
    pub fn kept(&self) -> Vec<Range<usize>> {
        let networks = self.networks.iter().flat_map(|n| [&n.params, &n.rounded, &n.grads]);
        networks.chain(&self.states).filter(|r| !r.is_empty()).cloned().collect()
    }
}

/// The bytes of a network's `index`-th parameter in those of all.
fn within(tape: &Tape, all: &Range<usize>, net: NetId, index: usize, element: usize) -> Range<usize> {
    let r = &tape.parameters(net).entries()[index].range;
    all.start + r.start * element..all.start + r.end * element
}
