//! Graphs: work with what each piece is behind of, captured from streams or put together node by node.

use std::sync::Arc;
use std::thread::ThreadId;

use crate::queue::Point;
use crate::report::Call;
use crate::work::Work;

#[derive(Clone)]
pub struct Node {
    pub work: Arc<Work>,
    /// Places of nodes before this one.
    pub after: Vec<usize>,
    pub call: Arc<Call>,
}

/// Nodes, each behind those that it is behind of.
#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
}

impl Graph {
    pub fn add(&mut self, work: Work, after: &[usize], call: &Arc<Call>) -> usize {
        self.nodes.push(Node { work: Arc::new(work), after: after.to_vec(), call: call.clone() });
        self.nodes.len() - 1
    }

    /// Adds all nodes of another graph behind these; the last of them.
    pub fn append(&mut self, other: &Graph, after: &[usize]) -> Vec<usize> {
        let first = self.nodes.len();
        for node in &other.nodes {
            let inner: Vec<usize> = node.after.iter().map(|before| first + before).collect();
            self.nodes.push(Node { after: if inner.is_empty() { after.to_vec() } else { inner }, ..node.clone() });
        }
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

/// A graph ready to be launched.
pub struct Executable {
    pub graph: Graph,
    pub chains: Vec<usize>,
    pub count: usize,
    /// Nodes that nothing is behind of.
    pub sinks: Vec<usize>,
    /// Behind its last launch: launches of one executable do not overlap.
    pub last: Point,
}

impl Executable {
    pub fn new(graph: Graph) -> Executable {
        let (chains, count) = graph.chains();
        Executable { sinks: graph.sinks(), graph, chains, count, last: Point::default() }
    }
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
    pub thread: ThreadId,
    /// Where it began, and has to end.
    pub origin: u64,
    /// A call that it forbids was made: it can only be ended.
    pub invalid: bool,
    /// Of the graph that this becomes, where the program has asked for it.
    pub handle: Option<u64>,
    /// Where it began, for messages.
    pub call: Arc<Call>,
}
