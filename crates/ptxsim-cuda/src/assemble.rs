//! Graphs put together node by node: handles of nodes, graphs that are nodes of others, and what comes of them to be launched.

use std::sync::Arc;

use crate::driver::{Driver, Kept};
use crate::graph::{Executable, Graph, Node, same_memory};
use crate::status::{Result, Status};
use crate::work::Work;

impl Driver {
    /// Adds a node behind others; its handle. A graph that it is becomes its own.
    pub fn add_node(&mut self, graph: u64, work: Work, after: &[u64], context: u64) -> Result<u64> {
        let after = self.places(graph, after)?;
        let mut node = Node::new(work, &after, &self.here(), context);
        let handle = self.nodes.insert(graph);
        node.handle = Some(handle);
        if let Work::Child(inner) = *node.work {
            self.graphs.get_mut(inner, self.name)?.owner = Some(handle);
        }
        self.graphs.get_mut(graph, self.name)?.graph.add(node);
        Ok(handle)
    }

    /// Where the nodes with these handles are in their graph; refused if they are of another one, or one is named twice.
    fn places(&self, graph: u64, handles: &[u64]) -> Result<Vec<usize>> {
        self.graphs.get(graph, self.name)?;
        let mut places = vec![];
        for &handle in handles {
            let (of, place) = self.node(handle)?;
            if of != graph {
                let text = format!("the node {handle:#x} is of another graph");
                return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
            }
            if places.contains(&place) {
                let text = format!("the node {handle:#x} is named twice");
                return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// The graph of a node, and its place there.
    pub fn node(&self, handle: u64) -> Result<(u64, usize)> {
        let graph = *self.nodes.get(handle, self.name)?;
        let place = self.graphs.get(graph, self.name)?.graph.place(handle);
        Ok((graph, place.ok_or(Status::CUDA_ERROR_INVALID_VALUE)?))
    }

    pub fn node_mut(&mut self, handle: u64) -> Result<&mut Node> {
        let (graph, place) = self.node(handle)?;
        Ok(&mut self.graphs.get_mut(graph, self.name)?.graph.nodes[place])
    }

    /// Handles of all nodes of a graph.
    pub fn handles(&mut self, graph: u64) -> Result<Vec<u64>> {
        let nodes = &mut self.graphs.get_mut(graph, self.name)?.graph.nodes;
        let table = &mut self.nodes;
        Ok(nodes.iter_mut().map(|node| *node.handle.get_or_insert_with(|| table.insert(graph))).collect())
    }

    /// Puts one node behind another.
    pub fn order_nodes(&mut self, graph: u64, from: u64, to: u64) -> Result {
        let (first, then) = (self.places(graph, &[from])?[0], self.places(graph, &[to])?[0]);
        let inside = &mut self.graphs.get_mut(graph, self.name)?.graph;
        let problem = if inside.nodes[then].after.contains(&first) {
            "is behind it already"
        } else if inside.is_behind(first, then) {
            "comes before it: they would wait for each other"
        } else {
            inside.nodes[then].after.push(first);
            return Ok(());
        };
        let text = format!("the node {to:#x} cannot be put behind {from:#x}, since it {problem}");
        Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE))
    }

    /// Takes that back.
    pub fn free_nodes(&mut self, graph: u64, from: u64, to: u64) -> Result {
        let (first, then) = (self.places(graph, &[from])?[0], self.places(graph, &[to])?[0]);
        let after = &mut self.graphs.get_mut(graph, self.name)?.graph.nodes[then].after;
        if let Some(at) = after.iter().position(|&before| before == first) {
            after.remove(at);
            return Ok(());
        }
        let text = format!("the node {to:#x} is not right behind {from:#x}");
        Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE))
    }

    pub fn destroy_node(&mut self, handle: u64) -> Result {
        let (graph, place) = self.node(handle)?;
        self.nodes.remove(handle, self.name)?;
        let node = self.graphs.get_mut(graph, self.name)?.graph.remove(place);
        if let Work::Child(inner) = *node.work { self.drop_graph(inner) } else { Ok(()) }
    }

    /// Destroys a graph of the program's.
    pub fn destroy_graph(&mut self, graph: u64) -> Result {
        if self.graphs.get(graph, self.name)?.owner.is_some() {
            let text = format!("the graph {graph:#x} is a node of another and ends with it");
            return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        }
        self.drop_graph(graph)
    }

    /// The same of any.
    pub fn drop_graph(&mut self, graph: u64) -> Result {
        let kept = self.graphs.remove(graph, self.name)?;
        self.nodes.retain(|of| *of != graph);
        for node in &kept.graph.nodes {
            if let Work::Child(inner) = *node.work {
                self.drop_graph(inner)?;
            }
        }
        Ok(())
    }

    /// A copy of a graph with copies of all graphs in it.
    pub fn copy_graph(&mut self, graph: u64) -> Result<u64> {
        let origins = self.handles(graph)?;
        let mut copy = self.graphs.get(graph, self.name)?.graph.clone();
        let mut inner = vec![];
        for (place, (node, origin)) in copy.nodes.iter_mut().zip(origins).enumerate() {
            (node.handle, node.origin, node.pointers) = (None, Some(origin), [].into());
            if let Work::Child(graph) = *node.work {
                inner.push((place, graph));
            }
        }
        let call = self.here();
        let copied = self.graphs.insert(Kept { graph: copy, owner: None, call });
        let handles = self.handles(copied)?;
        for (place, graph) in inner {
            let graph = self.copy_graph(graph)?;
            self.graphs.get_mut(graph, self.name)?.owner = Some(handles[place]);
            self.graphs.get_mut(copied, self.name)?.graph.nodes[place].work = Arc::new(Work::Child(graph));
        }
        Ok(copied)
    }

    /// What is launched: the nodes of a graph and, instead of graphs among them, theirs, in an order that they can be done in.
    pub fn flat(&mut self, graph: u64) -> Result<Graph> {
        self.handles(graph)?;
        let Graph { nodes, objects } = self.graphs.get(graph, self.name)?.graph.clone();
        let order = Graph { nodes: nodes.clone(), objects: vec![] }.order();
        let mut flat = Graph { nodes: vec![], objects };
        let mut ends = vec![vec![]; nodes.len()];
        for place in order {
            let node = &nodes[place];
            let mut after: Vec<usize> = node.after.iter().flat_map(|&before| ends[before].clone()).collect();
            after.sort_unstable();
            after.dedup();
            ends[place] = match *node.work {
                Work::Child(inner) => flat.append(&self.flat(inner)?, &after),
                _ => vec![flat.add(Node { after, ..node.clone() })],
            };
        }
        Ok(flat)
    }

    /// Gives a node other work of the same kind.
    pub fn set_work(&mut self, handle: u64, work: Work, context: u64) -> Result {
        let call = self.here();
        let node = self.node_mut(handle)?;
        let new = Node::new(work, &[], &call, context);
        if new.kind() != node.kind() {
            let text = format!("the node {handle:#x}: {}, and not {}", node.work, new.work);
            return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        }
        (node.call, node.context, node.pointers) = (call, context, new.pointers);
        let old = std::mem::replace(&mut node.work, new.work.clone());
        if let (Work::Child(old), Work::Child(new)) = (&*old, &*new.work) {
            self.graphs.get_mut(*new, self.name)?.owner = Some(handle);
            self.drop_graph(*old)?;
        }
        Ok(())
    }

    /// Lets what came of a graph in a graph do what another graph of the same form does, from the next launch on.
    pub fn set_made_graph(&mut self, executable: u64, handle: u64, graph: u64) -> Result {
        let (of, place) = self.node(handle)?;
        let Work::Child(inner) = *self.graphs.get(of, self.name)?.graph.nodes[place].work else {
            return Err(self.wrong("the node is no graph", Status::CUDA_ERROR_INVALID_VALUE));
        };
        let new = self.flat(graph)?;
        let mut made = Executable::new(self.flat(inner)?, 0);
        if made.update(new).is_err() {
            return Err(self.wrong("a graph of another form", Status::CUDA_ERROR_INVALID_VALUE));
        }
        for node in made.graph.nodes {
            let place = self.made_of(executable, node.handle.unwrap_or(0))?;
            (place.work, place.call) = (node.work, node.call);
        }
        Ok(())
    }

    /// A node of an executable graph, by the handle of the node that it was made of.
    pub fn made_of(&mut self, executable: u64, handle: u64) -> Result<&mut Node> {
        self.node(handle)?;
        let name = self.name;
        let place = self.executables.get(executable, name)?.0.graph.place(handle);
        let Some(place) = place else {
            let text = format!("the node {handle:#x} is not of the graph that this was made of");
            return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        };
        Ok(&mut self.executables.get_mut(executable, name)?.0.graph.nodes[place])
    }

    /// The same in an executable graph, from its next launch on.
    pub fn set_made(&mut self, executable: u64, handle: u64, work: Work, context: u64) -> Result {
        let call = self.here();
        let node = self.made_of(executable, handle)?;
        let rows = |work: &Work| match work {
            Work::Copy { shape, .. } => shape.rows,
            Work::Fill { rows, .. } => *rows,
            _ => 1,
        };
        let new = Node::new(work, &[], &call, context);
        let problem = if new.kind() != node.kind() {
            format!("is a {}", node.work)
        } else if node.context != context {
            "works in another context".into()
        } else if !same_memory(&node.work, &new.work) {
            format!("is a {}: between the same kinds of memory it has to stay", node.work)
        } else if rows(&node.work) > 1 || rows(&new.work) > 1 {
            "has several rows, or is to have".into()
        } else {
            (node.work, node.call) = (new.work, call);
            return Ok(());
        };
        Err(self.wrong(&format!("the node {handle:#x} {problem}"), Status::CUDA_ERROR_INVALID_VALUE))
    }
}
