//! Graphs: instantiated, launched, destroyed.

use super::{In, Out};
use crate::driver::Driver;
use crate::graph::{Executable, Graph};
use crate::status::{Result, Status};

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

fn instantiate(d: &mut Driver, out: &Out<u64>, graph: u64, flags: u64) -> Result {
    if flags & !ALL_FLAGS != 0 || flags & AUTO_FREE != 0 && flags & DEVICE_LAUNCH != 0 {
        return Err(d.wrong(&format!("flags {flags:#x}"), Status::CUDA_ERROR_INVALID_VALUE));
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(d.wrong("launches of graphs by kernels are not emulated", Status::CUDA_ERROR_NOT_SUPPORTED));
    }
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
        d.executables.get(executable, d.name)?;
        flags.put(0)
    };
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
