//! Graphs: instantiated, launched, destroyed.

use super::Out;
use crate::driver::Driver;
use crate::graph::{Executable, Graph};
use crate::status::Result;

fn instantiate(d: &mut Driver, out: &Out<u64>, graph: u64) -> Result {
    let graph = d.graphs.get(graph, d.name)?.0.clone();
    let call = d.here();
    out.put(d.executables.insert((Executable::new(graph), call)))
}

calls! {
    cuGraphCreate(graph: Out<u64>, _flags: u32) Context |d| {
        let call = d.here();
        graph.put(d.graphs.insert((Graph::default(), call)))
    };
    cuGraphDestroy(graph: u64) Driver |d| d.graphs.remove(graph, d.name).map(drop);
    cuGraphClone(out: Out<u64>, graph: u64) Context |d| {
        let copy = d.graphs.get(graph, d.name)?.0.clone();
        let call = d.here();
        out.put(d.graphs.insert((copy, call)))
    };
    cuGraphInstantiateWithFlags(out: Out<u64>, graph: u64, _flags: u64) Context |d| instantiate(d, &out, graph);
    cuGraphExecDestroy(executable: u64) Driver |d| d.executables.remove(executable, d.name).map(drop);
    cuGraphUpload(executable: u64, stream: u64) Context |d| {
        d.executables.get(executable, d.name)?;
        d.stream(stream).map(drop)
    };
    cuGraphLaunch(executable: u64, stream: u64) Context |d| {
        let stream = d.stream(stream)?;
        d.launch_graph(executable, stream)
    };
}
