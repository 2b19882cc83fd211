//! Graphs: work with what each piece is behind of, captured from streams or put together node by node.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Lane;
use crate::queue::Point;
use crate::report::Call;
use crate::work::{Object, Place, Work};

#[derive(Clone)]
pub struct Node {
    pub work: Arc<Work>,
    /// Places of nodes before this one.
    pub after: Vec<usize>,
    pub call: Arc<Call>,
    /// Handle of the context that it works in.
    pub context: u64,
    /// Once the program has asked: its handle. In what was instantiated: that of the node it was made of.
    pub handle: Option<u64>,
    /// In a clone: handle of the node that this is a copy of.
    pub origin: Option<u64>,
    /// Where a program that asked for a kernel's parameters finds each of them.
    pub pointers: Arc<[u64]>,
    /// False in an executable graph that leaves it out.
    pub enabled: bool,
}

impl Node {
    pub fn new(work: Work, after: &[usize], call: &Arc<Call>, context: u64) -> Node {
        let (work, after, call, pointers) = (Arc::new(work), after.to_vec(), call.clone(), [].into());
        Node { work, after, call, context, handle: None, origin: None, pointers, enabled: true }
    }

    /// `CUgraphNodeType`.
    pub fn kind(&self) -> u32 {
        match *self.work {
            Work::Kernel(_) => 0,
            Work::Copy { .. } => 1,
            Work::Fill { .. } => 2,
            Work::Call(_) => 3,
            Work::Child(_) => 4,
            Work::Empty | Work::Keep(_) => 5,
            Work::Wait(_) => 6,
            Work::Record(..) => 7,
            Work::Alloc { .. } => 10,
            Work::Free(_) => 11,
        }
    }
}

/// Nodes and what they are behind of. Those of a capture, and of what is instantiated, stand in an order that they can be done in.
#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// Objects of the program that the nodes use, with their handles; one for each time that it was told so.
    pub objects: Vec<(u64, Arc<Object>)>,
}

impl Graph {
    pub fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The place of the node with this handle.
    pub fn place(&self, handle: u64) -> Option<usize> {
        self.nodes.iter().position(|node| node.handle == Some(handle))
    }

    /// All pairs of a node and one that it is behind of.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let of = |(to, node): (usize, &Node)| node.after.iter().map(move |&from| (from, to)).collect::<Vec<_>>();
        self.nodes.iter().enumerate().flat_map(of).collect()
    }

    /// Whether `later` is `earlier` or comes behind it.
    pub fn is_behind(&self, later: usize, earlier: usize) -> bool {
        let (mut seen, mut open) = (vec![false; self.nodes.len()], vec![later]);
        while let Some(place) = open.pop() {
            if place == earlier {
                return true;
            }
            if !std::mem::replace(&mut seen[place], true) {
                open.extend(&self.nodes[place].after);
            }
        }
        false
    }

    /// Takes a node out, and with it what it was in the order with.
    pub fn remove(&mut self, place: usize) -> Node {
        let gone = self.nodes.remove(place);
        for node in &mut self.nodes {
            node.after.retain(|&before| before != place);
            node.after.iter_mut().filter(|before| **before > place).for_each(|before| *before -= 1);
        }
        gone
    }

    /// Places of all nodes in an order that they can be done in: of those that can be next the first.
    pub fn order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = self.nodes.iter().map(|node| node.after.len()).collect();
        let mut behind = vec![vec![]; left.len()];
        self.edges().iter().for_each(|&(from, to)| behind[from].push(to));
        let mut ready: BTreeSet<usize> = (0..left.len()).filter(|&place| left[place] == 0).collect();
        let mut order = vec![];
        while let Some(place) = ready.pop_first() {
            order.push(place);
            for &next in &behind[place] {
                left[next] -= 1;
                if left[next] == 0 {
                    ready.insert(next);
                }
            }
        }
        order
    }

    /// Adds all nodes of another graph behind these; the last of them.
    pub fn append(&mut self, other: &Graph, after: &[usize]) -> Vec<usize> {
        let first = self.nodes.len();
        for node in &other.nodes {
            let inner: Vec<usize> = node.after.iter().map(|before| first + before).collect();
            self.nodes.push(Node { after: if inner.is_empty() { after.to_vec() } else { inner }, ..node.clone() });
        }
        self.objects.extend(other.objects.iter().cloned());
        let sinks = other.sinks();
        if sinks.is_empty() { after.to_vec() } else { sinks.iter().map(|sink| first + sink).collect() }
    }

    /// Nodes that nothing is behind of.
    pub fn sinks(&self) -> Vec<usize> {
        let mut last = vec![true; self.nodes.len()];
        for node in &self.nodes {
            for &before in &node.after {
                last[before] = false;
            }
        }
        (0..last.len()).filter(|&i| last[i]).collect()
    }

    /// For every node a chain, such that those of one chain are each behind the one before; how many chains there are.
    pub fn chains(&self) -> (Vec<usize>, usize) {
        let mut ends: Vec<usize> = vec![];
        let mut chains = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let chain = ends.iter().position(|end| node.after.contains(end)).unwrap_or_else(|| {
                ends.push(i);
                ends.len() - 1
            });
            ends[chain] = i;
            chains.push(chain);
        }
        (chains, ends.len())
    }
}

/// Why an executable graph cannot become another: `CUgraphExecUpdateResult`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Topology = 2,
    Kind = 3,
    Parameters = 5,
}

/// A graph ready to be launched: without graphs as nodes.
pub struct Executable {
    pub graph: Graph,
    /// As it was instantiated.
    pub flags: u64,
    pub chains: Vec<usize>,
    pub count: usize,
    /// Of all chains but the first, which goes on in the stream's; none before the first launch. Every launch has the same ones: each is
    /// behind the one before.
    pub lanes: Vec<Lane>,
    /// Nodes that nothing is behind of.
    pub sinks: Vec<usize>,
    /// Behind its last launch: launches of one executable do not overlap.
    pub last: Point,
}

impl Executable {
    pub fn new(graph: Graph, flags: u64) -> Executable {
        let (chains, count) = graph.chains();
        Executable { sinks: graph.sinks(), graph, flags, chains, count, lanes: vec![], last: Point::default() }
    }

    /// Takes over what the nodes of a graph of the same form do; else why not, and the place of the node that it is about.
    pub fn update(&mut self, other: Graph) -> Result<(), (Refusal, Option<usize>)> {
        if self.graph.nodes.len() != other.nodes.len() {
            return Err((Refusal::Topology, None));
        }
        for (place, (mine, theirs)) in self.graph.nodes.iter().zip(&other.nodes).enumerate() {
            let refusal = if mine.after != theirs.after {
                Refusal::Topology
            } else if mine.kind() != theirs.kind() {
                Refusal::Kind
            } else if !same_memory(&mine.work, &theirs.work) || mine.context != theirs.context {
                Refusal::Parameters
            } else {
                continue;
            };
            return Err((refusal, Some(place)));
        }
        for (mine, theirs) in self.graph.nodes.iter_mut().zip(other.nodes) {
            (mine.work, mine.call) = (theirs.work, theirs.call);
        }
        self.graph.objects = other.objects;
        Ok(())
    }
}

/// Whether two pieces of work, if they are copies, are between the same kinds of memory.
pub fn same_memory(one: &Work, other: &Work) -> bool {
    let (Work::Copy { from, to, .. }, Work::Copy { from: other_from, to: other_to, .. }) = (one, other) else {
        return true;
    };
    let is_device = |place: &Place| matches!(place, Place::Device(_));
    is_device(from) == is_device(other_from) && is_device(to) == is_device(other_to)
}

/// How far calls of others are refused while a stream is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

/// A capture under way.
pub struct Capture {
    pub graph: Graph,
    pub mode: Mode,
    /// Number of the thread that began it.
    pub thread: u64,
    /// Where it began, and has to end.
    pub origin: u64,
    /// A call that it forbids was made: it can only be ended.
    pub invalid: bool,
    /// Places of the nodes that streams have put into it; the program may add others.
    pub noted: BTreeSet<usize>,
    /// Of the graph that this becomes, where the program has asked for it: `graph` is that one then.
    pub handle: Option<u64>,
    /// What the program was told last that its next node comes behind, and the data of those edges: it has pointers to both.
    pub told: Vec<u64>,
    pub edges: Vec<u64>,
    /// Where it began, for messages.
    pub call: Arc<Call>,
}
