//! Graphs: made, ordered, instantiated, updated, launched, destroyed.

use super::{In, Out, Outs, Text};
use crate::driver::{Driver, Kept};
use crate::graph::{Executable, Graph, Node};
use crate::queue::New;
use crate::status::{Result, Status};
use crate::work::Work;

/// `CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH`, `_UPLOAD`, `_DEVICE_LAUNCH`, `_USE_NODE_PRIORITY`.
const AUTO_FREE: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const ALL_FLAGS: u64 = 15;

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Parameters {
    flags: u64,
    stream: u64,
    error_node: u64,
    result: u32,
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
pub struct Updated {
    result: u32,
    error_node: u64,
    error_from: u64,
}

fn instantiate(d: &mut Driver, out: &Out<u64>, graph: u64, flags: u64) -> Result {
    if flags & !ALL_FLAGS != 0 || flags & AUTO_FREE != 0 && flags & DEVICE_LAUNCH != 0 {
        return Err(d.wrong(&format!("flags {flags:#x}"), Status::CUDA_ERROR_INVALID_VALUE));
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(d.wrong("launches of graphs by kernels are not emulated", Status::CUDA_ERROR_NOT_SUPPORTED));
    }
    let flat = d.flat(graph)?;
    let call = d.here();
    out.put(d.executables.insert((Executable::new(flat, flags), call)))
}

/// Lets an executable graph do what another graph does; the result, and the node that stands in the way.
fn update(d: &mut Driver, executable: u64, graph: u64) -> Result<(u32, u64)> {
    let new = d.flat(graph)?;
    let handles: Vec<u64> = new.nodes.iter().map(|node| node.handle.unwrap_or(0)).collect();
    Ok(match d.executables.get_mut(executable, d.name)?.0.update(new) {
        Ok(()) => (0, 0),
        Err((refusal, place)) => (refusal as u32, place.map_or(0, |place| handles[place])),
    })
}

/// What an update ends with. That it is refused is no fault: programs instantiate anew then.
fn updated(result: u32) -> Result {
    if result == 0 { Ok(()) } else { Err(Status::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE) }
}

/// Answers with lists of the same length as the API does: with that alone where there is no room, else with as much as there is
/// room for, and nulls behind it.
pub fn lists(outs: &[&Outs<u64>], count: &Out<usize>, lists: &[Vec<u64>]) -> Result {
    let len = lists[0].len();
    if outs[0].is_null() {
        return count.put(len);
    }
    let room = count.now();
    for (out, list) in outs.iter().zip(lists).filter(|(out, _)| !out.is_null()) {
        for i in 0..room {
            out.put(i, list.get(i).copied().unwrap_or(0))?;
        }
    }
    count.put(len.min(room))
}

fn edges(d: &mut Driver, graph: u64, outs: &[&Outs<u64>], count: &Out<usize>) -> Result {
    let handles = d.handles(graph)?;
    let edges = d.graphs.get(graph, d.name)?.graph.edges();
    let ends = |end: fn(&(usize, usize)) -> usize| edges.iter().map(|edge| handles[end(edge)]).collect::<Vec<_>>();
    lists(outs, count, &[ends(|e| e.0), ends(|e| e.1), vec![0; edges.len()]])
}

/// Refuses edges that begin before a kernel ends: their data is not zero.
pub fn whole(d: &Driver, data: &In<u64>, count: usize) -> Result {
    if !data.is_null() && data.all(count)?.iter().any(|data| *data != 0) {
        return Err(d.wrong("programmatic dependencies are not emulated", Status::CUDA_ERROR_NOT_SUPPORTED));
    }
    Ok(())
}

/// Does something with each pair of nodes.
fn pairs(
    d: &mut Driver,
    [from, to]: [&In<u64>; 2],
    count: usize,
    mut each: impl FnMut(&mut Driver, u64, u64) -> Result,
) -> Result {
    let (from, to) = (from.all(count)?, to.all(count)?);
    from.into_iter().zip(to).try_for_each(|(from, to)| each(d, from, to))
}

/// Destroys what may still be on its way; the program's objects are kept until it is done.
fn destroy(d: &mut Driver, executable: u64) -> Result {
    let (Executable { graph, last, .. }, call) = d.executables.remove(executable, d.name)?;
    let Some(context) = graph.nodes.first().map(|node| node.context) else { return Ok(()) };
    if !graph.objects.is_empty() && !d.queue.is_reached(&last) {
        let work = Work::Keep(graph.objects.into_iter().map(|(_, object)| object).collect()).into();
        let lane = d.queue.lane();
        d.queue.submit(&last, lane, New { work, call, context, digest: None });
    }
    Ok(())
}

/// In the language of Graphviz.
fn dot(graph: &Graph) -> String {
    let node = |(i, node): (usize, &Node)| format!("  n{i} [label=\"{}\"];\n", node.work);
    let nodes: String = graph.nodes.iter().enumerate().map(node).collect();
    let edges: String = graph.edges().iter().map(|(from, to)| format!("  n{from} -> n{to};\n")).collect();
    format!("digraph graph_ {{\n{nodes}{edges}}}\n")
}

calls! {
    cuGraphCreate(graph: Out<u64>, flags: u32) Context |d| {
        if flags != 0 {
            return Err(d.wrong("flags must be 0", Status::CUDA_ERROR_INVALID_VALUE));
        }
        let call = d.here();
        graph.put(d.graphs.insert(Kept { graph: Graph::default(), owner: None, call }))
    };
    cuGraphDestroy(graph: u64) Driver |d| d.destroy_graph(graph);
    cuGraphClone(out: Out<u64>, graph: u64) Context |d| out.put(d.copy_graph(graph)?);
    cuGraphNodeFindInClone(out: Out<u64>, node: u64, clone: u64) Context |d| {
        d.node(node)?;
        let handles = d.handles(clone)?;
        let nodes = &d.graphs.get(clone, d.name)?.graph.nodes;
        match nodes.iter().position(|copy| copy.origin == Some(node)) {
            Some(place) => out.put(handles[place]),
            None => Err(d.wrong("the graph is no copy of the node's", Status::CUDA_ERROR_INVALID_VALUE)),
        }
    };
    cuGraphAddDependencies(graph: u64, from: In<u64>, to: In<u64>, count: usize) Context |d| {
        pairs(d, [&from, &to], count, |d, from, to| d.order_nodes(graph, from, to))
    };
    cuGraphAddDependencies_v2(graph: u64, from: In<u64>, to: In<u64>, data: In<u64>, count: usize) Context |d| {
        whole(d, &data, count)?;
        pairs(d, [&from, &to], count, |d, from, to| d.order_nodes(graph, from, to))
    };
    cuGraphRemoveDependencies(graph: u64, from: In<u64>, to: In<u64>, count: usize) Context |d| {
        pairs(d, [&from, &to], count, |d, from, to| d.free_nodes(graph, from, to))
    };
    cuGraphRemoveDependencies_v2(graph: u64, from: In<u64>, to: In<u64>, data: In<u64>, count: usize) Context |d| {
        whole(d, &data, count)?;
        pairs(d, [&from, &to], count, |d, from, to| d.free_nodes(graph, from, to))
    };
    cuGraphGetNodes(graph: u64, nodes: Outs<u64>, count: Out<usize>) Context |d| {
        lists(&[&nodes], &count, &[d.handles(graph)?])
    };
    cuGraphGetRootNodes(graph: u64, nodes: Outs<u64>, count: Out<usize>) Context |d| {
        d.handles(graph)?;
        let roots = d.graphs.get(graph, d.name)?.graph.nodes.iter().filter(|node| node.after.is_empty());
        lists(&[&nodes], &count, &[roots.filter_map(|node| node.handle).collect()])
    };
    cuGraphGetEdges(graph: u64, from: Outs<u64>, to: Outs<u64>, count: Out<usize>) Context |d| {
        edges(d, graph, &[&from, &to], &count)
    };
    cuGraphGetEdges_v2(graph: u64, from: Outs<u64>, to: Outs<u64>, data: Outs<u64>, count: Out<usize>) Context |d| {
        edges(d, graph, &[&from, &to, &data], &count)
    };
    cuGraphDebugDotPrint(graph: u64, path: Text, _flags: u32) Context |d| {
        let text = dot(&d.graphs.get(graph, d.name)?.graph);
        std::fs::write(path.text()?, text).map_err(|_| Status::CUDA_ERROR_INVALID_VALUE)
    };
    cuGraphInstantiate_v2(out: Out<u64>, graph: u64, error_node: Out<u64>, _log: usize, _bytes: usize) Context |d| {
        error_node.put_if(0);
        instantiate(d, &out, graph, 0)
    };
    cuGraphInstantiateWithFlags(out: Out<u64>, graph: u64, flags: u64) Context |d| instantiate(d, &out, graph, flags);
    cuGraphInstantiateWithParams(out: Out<u64>, graph: u64, parameters: *mut Parameters) Context |d| {
        let given = In(parameters.cast_const()).get()?;
        let done = instantiate(d, &out, graph, given.flags);
        // `CUDA_GRAPH_INSTANTIATE_SUCCESS` or `_ERROR`.
        let result = u32::from(done.is_err());
        Out(parameters).put(Parameters { error_node: 0, result, ..given })?;
        done
    };
    cuGraphExecGetFlags(executable: u64, flags: Out<u64>) Context |d| {
        flags.put(d.executables.get(executable, d.name)?.0.flags)
    };
    cuGraphExecUpdate(executable: u64, graph: u64, error_node: Out<u64>, result: Out<u32>) Context |d| {
        let (code, node) = update(d, executable, graph)?;
        error_node.put_if(node);
        result.put_if(code);
        updated(code)
    };
    cuGraphExecUpdate_v2(executable: u64, graph: u64, info: Out<Updated>) Context |d| {
        let (code, node) = update(d, executable, graph)?;
        info.put_if(Updated { result: code, error_node: node, error_from: 0 });
        updated(code)
    };
    cuGraphExecDestroy(executable: u64) Driver |d| destroy(d, executable);
    cuGraphUpload(executable: u64, stream: u64) Context |d| {
        d.executables.get(executable, d.name)?;
        d.stream(stream).map(drop)
    };
    cuGraphLaunch(executable: u64, stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.launch_graph(executable, stream)
    };
}
