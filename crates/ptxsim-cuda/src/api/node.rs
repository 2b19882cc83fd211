//! Nodes of graphs: added, asked about, changed, in graphs and in what was instantiated.

use std::ffi::c_void;
use std::ptr::null;

use super::graph::{lists, whole};
use super::launch::{COOPERATIVE, kernel_of, together};
use super::library::resolve;
use super::memory::fill_of;
use super::rows::{Planes, planes};
use super::{In, Out, Outs};
use crate::driver::Driver;
use crate::graph::Node;
use crate::status::{Result, Status};
use crate::work::{Callback, Function, Work};

/// `CUDA_KERNEL_NODE_PARAMS_v1`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Launch {
    function: u64,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    each: *const *const u8,
    extra: *const usize,
}

/// `CUDA_KERNEL_NODE_PARAMS_v2`, and what the third form has the same of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LaunchIn {
    launch: Launch,
    kernel: u64,
    context: u64,
}

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fill {
    at: u64,
    pitch: usize,
    value: u32,
    size: u32,
    width: usize,
    rows: usize,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
}

/// `CU_GRAPH_NODE_TYPE_GRAPH`.
const CHILD: u32 = 4;
/// Of a `CUgraphNodeParams`: what comes first, and what of a copy and a fill comes around the rest.
const GENERIC_HEAD: usize = 16;
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CopyIn {
    flags: [i32; 2],
    context: u64,
    copy: Planes,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FillIn {
    fill: Fill,
    context: u64,
}

/// What a node does, and in which context.
type Does = (Work, u64);

/// The context that is meant: the current one if none is given.
fn context(d: &Driver, given: u64) -> Result<u64> {
    if given == 0 { d.current() } else { d.contexts.get(given, d.name).map(|_| given) }
}

fn kernel(d: &mut Driver, launch: Launch, kernel: u64, context: u64) -> Result<Does> {
    if context != 0 && context != d.current()? {
        let text = "kernels of another context than the current one are emulated by their function alone";
        return Err(d.wrong(text, Status::CUDA_ERROR_NOT_SUPPORTED));
    }
    let function = resolve(d, if launch.function != 0 { launch.function } else { kernel })?;
    let Launch { grid, block, shared, each, extra, .. } = launch;
    let work = kernel_of(d, function, [grid, block], shared, &In(each), &In(extra))?;
    let module = d.functions.get(function, d.name)?.module;
    Ok((Work::Kernel(work), d.modules.get(module, d.name)?.context))
}

fn kernel_in(d: &mut Driver, p: LaunchIn) -> Result<Does> {
    kernel(d, p.launch, p.kernel, p.context)
}

fn copy(d: &Driver, copy: &Planes, given: u64) -> Result<Does> {
    let (from, to, shape) = planes(d, copy)?;
    d.check_copy(from, to, shape)?;
    let from = d.place(from, shape.extent(shape.from_pitch));
    let to = d.place(to, shape.extent(shape.to_pitch));
    Ok((Work::Copy { from, to, shape }, context(d, given)?))
}

fn fill(d: &Driver, fill: Fill, given: u64) -> Result<Does> {
    let Fill { at, pitch, value, size, width, rows } = fill;
    let work = if matches!(size, 1 | 2 | 4) { fill_of(d, at, [width, rows, pitch], value, size)? } else { None };
    let Some(work) = work else {
        let text = format!("a fill of {rows} rows of {width} values of {size} bytes");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
    };
    Ok((work, context(d, given)?))
}

fn host(d: &Driver, host: Host) -> Result<Does> {
    let Host { function: Some(function), data } = host else { return Err(Status::CUDA_ERROR_INVALID_VALUE) };
    Ok((Work::Call(Callback { function: Function::Plain(function), data }), d.current()?))
}

fn child(d: &mut Driver, graph: u64) -> Result<Does> {
    Ok((Work::Child(d.copy_graph(graph)?), d.current()?))
}

fn event(d: &Driver, event: u64, work: Work) -> Result<Does> {
    Ok((work, d.events.get(event, d.name)?.context))
}

/// Out of a `CUgraphNodeParams`.
fn generic(d: &mut Driver, parameters: *const u8) -> Result<Does> {
    let kind = In(parameters.cast::<u32>()).get()?;
    let body = parameters.wrapping_add(GENERIC_HEAD);
    match kind {
        0 => kernel_in(d, In(body.cast()).get()?),
        1 => In(body.cast::<CopyIn>()).get().and_then(|c| copy(d, &c.copy, c.context)),
        2 => In(body.cast::<FillIn>()).get().and_then(|f| fill(d, f.fill, f.context)),
        3 => host(d, In(body.cast()).get()?),
        CHILD => child(d, In(body.cast()).get()?),
        5 => Ok((Work::Empty, d.current()?)),
        6 => In(body.cast()).get().and_then(|e| event(d, e, Work::Wait(e))),
        7 => In(body.cast()).get().and_then(|e| event(d, e, Work::Record(e, 0))),
        _ => Err(d.wrong(&format!("nodes of type {kind} are not emulated"), Status::CUDA_ERROR_NOT_SUPPORTED)),
    }
}

fn add(d: &mut Driver, out: &Out<u64>, graph: u64, after: &In<u64>, count: usize, does: Does) -> Result {
    let after = after.all(count)?;
    let handle = with(d, does, |d, (work, context)| d.add_node(graph, work, &after, context))?;
    out.put(handle)
}

/// Does something with what a node is to do; a graph that was copied for it is gone if that fails.
fn with<T>(d: &mut Driver, does: Does, then: impl FnOnce(&mut Driver, Does) -> Result<T>) -> Result<T> {
    let copied = if let Work::Child(inner) = does.0 { Some(inner) } else { None };
    let done = then(d, does);
    if let (Err(_), Some(inner)) = (&done, copied) {
        d.drop_graph(inner)?;
    }
    done
}

fn set(d: &mut Driver, node: u64, does: Does) -> Result {
    with(d, does, |d, (work, context)| d.set_work(node, work, context))
}

fn set_made(d: &mut Driver, executable: u64, node: u64, (work, context): Does) -> Result {
    d.set_made(executable, node, work, context)
}

/// That a node is of another type than the call is for.
fn other(d: &Driver, node: &Node) -> Status {
    d.wrong(&format!("the node is a {}", node.work), Status::CUDA_ERROR_INVALID_VALUE)
}

fn node(d: &Driver, handle: u64) -> Result<&Node> {
    let (graph, place) = d.node(handle)?;
    Ok(&d.graphs.get(graph, d.name)?.graph.nodes[place])
}

/// A kernel node's launch, with pointers to parameters that live as long as the node has them; and its context.
fn launch_of(d: &mut Driver, handle: u64) -> Result<(Launch, u64)> {
    let found = node(d, handle)?;
    let Work::Kernel(k) = &*found.work else { return Err(other(d, found)) };
    let declared = k.module.kernels().iter().find(|declared| declared.name == k.entry);
    let offsets = declared.map_or(vec![], |k| k.params.iter().map(|p| p.offset as u64).collect());
    let pointers: Vec<u64> = offsets.iter().map(|offset| k.params.as_ptr() as u64 + offset).collect();
    let (function, grid, block, shared) = (k.function, k.grid, k.block, k.shared);
    let found = d.node_mut(handle)?;
    found.pointers = pointers.into();
    let each = found.pointers.as_ptr().cast();
    Ok((Launch { function, grid, block, shared, each, extra: null() }, found.context))
}

fn copy_of(d: &Driver, handle: u64) -> Result<Planes> {
    let found = node(d, handle)?;
    let Work::Copy { from, to, shape } = &*found.work else { return Err(other(d, found)) };
    Ok(Planes::of(from, to, shape))
}

fn fill_node(d: &Driver, handle: u64) -> Result<Fill> {
    let found = node(d, handle)?;
    let Work::Fill { at, value, size, width, rows, pitch } = *found.work else { return Err(other(d, found)) };
    Ok(Fill { at, pitch: pitch as usize, value, size, width: width as usize, rows: rows as usize })
}

fn host_of(d: &Driver, handle: u64) -> Result<Host> {
    let found = node(d, handle)?;
    let Work::Call(Callback { function: Function::Plain(function), data }) = *found.work else {
        return Err(other(d, found));
    };
    Ok(Host { function: Some(function), data })
}

/// As a `CUgraphNodeParams`.
fn generic_of(d: &mut Driver, handle: u64, parameters: *mut u8) -> Result {
    let found = node(d, handle)?;
    let (kind, context) = (found.kind(), found.context);
    let body = parameters.wrapping_add(GENERIC_HEAD);
    Out(parameters.cast::<u32>()).put(kind)?;
    match *found.work {
        Work::Kernel(_) => {
            let (launch, context) = launch_of(d, handle)?;
            Out(body.cast()).put(LaunchIn { launch, kernel: 0, context })
        }
        Work::Copy { .. } => Out(body.cast()).put(CopyIn { flags: [0; 2], context, copy: copy_of(d, handle)? }),
        Work::Fill { .. } => Out(body.cast()).put(FillIn { fill: fill_node(d, handle)?, context }),
        Work::Call(_) => Out(body.cast()).put(host_of(d, handle)?),
        Work::Child(of) | Work::Wait(of) | Work::Record(of, _) | Work::Free(of) => Out(body.cast()).put(of),
        Work::Empty | Work::Keep(_) | Work::Alloc { .. } => Ok(()),
    }
}

/// Attributes of a kernel's launch that are not emulated have the values that they have if nobody sets them: zeros.
fn attribute(d: &mut Driver, handle: u64, which: u32) -> Result<[u64; 8]> {
    let found = node(d, handle)?;
    let Work::Kernel(k) = &*found.work else { return Err(other(d, found)) };
    let mut value = [0; 8];
    value[0] = u64::from(which == COOPERATIVE && k.cooperative);
    Ok(value)
}

fn set_attribute(d: &mut Driver, handle: u64, which: u32, value: [u64; 8]) -> Result {
    if attribute(d, handle, which)? == value {
        return Ok(());
    }
    if which != COOPERATIVE {
        let text = format!("the attribute {which} of a launch is not emulated");
        return Err(d.wrong(&text, Status::CUDA_ERROR_NOT_SUPPORTED));
    }
    let found = node(d, handle)?;
    let Work::Kernel(mut k) = (*found.work).clone() else { return Err(other(d, found)) };
    k.cooperative = false;
    if value[0] as u32 != 0 {
        together(d, &mut k)?;
    }
    let node = d.node_mut(handle)?;
    (node.work, node.pointers) = (Work::Kernel(k).into(), [].into());
    Ok(())
}

/// Handles of the nodes right before one, and right behind it.
fn around(d: &mut Driver, handle: u64) -> Result<[Vec<u64>; 2]> {
    let (graph, place) = d.node(handle)?;
    let handles = d.handles(graph)?;
    let nodes = &d.graphs.get(graph, d.name)?.graph.nodes;
    let before = nodes[place].after.iter().map(|&before| handles[before]).collect();
    let behind = (0..nodes.len()).filter(|&i| nodes[i].after.contains(&place)).map(|i| handles[i]).collect();
    Ok([before, behind])
}

fn neighbours(d: &mut Driver, node: u64, which: usize, outs: &[&Outs<u64>], count: &Out<usize>) -> Result {
    let found = around(d, node)?[which].clone();
    let data = vec![0; found.len()];
    lists(outs, count, &[found, data])
}

calls! {
    cuGraphAddKernelNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, launch: In<Launch>) Context |d| {
        let does = kernel(d, launch.get()?, 0, 0)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddKernelNode_v2(out: Out<u64>, graph: u64, after: In<u64>, count: usize, launch: In<LaunchIn>) Context |d| {
        let does = kernel_in(d, launch.get()?)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddMemcpyNode(
        out: Out<u64>, graph: u64, after: In<u64>, count: usize, given: In<Planes>, context: u64
    ) Context |d| {
        let does = copy(d, &given.get()?, context)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddMemsetNode(
        out: Out<u64>, graph: u64, after: In<u64>, count: usize, given: In<Fill>, context: u64
    ) Context |d| {
        let does = fill(d, given.get()?, context)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddHostNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, given: In<Host>) Context |d| {
        let does = host(d, given.get()?)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddEmptyNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize) Context |d| {
        let does = (Work::Empty, d.current()?);
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddChildGraphNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, inner: u64) Context |d| {
        let does = child(d, inner)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddEventRecordNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, given: u64) Context |d| {
        let does = event(d, given, Work::Record(given, 0))?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddEventWaitNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, given: u64) Context |d| {
        let does = event(d, given, Work::Wait(given))?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddNode(out: Out<u64>, graph: u64, after: In<u64>, count: usize, parameters: *const u8) Context |d| {
        let does = generic(d, parameters)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphAddNode_v2(
        out: Out<u64>, graph: u64, after: In<u64>, data: In<u64>, count: usize, parameters: *const u8
    ) Context |d| {
        whole(d, &data, count)?;
        let does = generic(d, parameters)?;
        add(d, &out, graph, &after, count, does)
    };
    cuGraphDestroyNode(node: u64) Driver |d| d.destroy_node(node);
    cuGraphNodeGetType(handle: u64, kind: Out<u32>) Context |d| kind.put(node(d, handle)?.kind());
    cuGraphNodeGetDependencies(node: u64, nodes: Outs<u64>, count: Out<usize>) Context |d| {
        neighbours(d, node, 0, &[&nodes], &count)
    };
    cuGraphNodeGetDependencies_v2(node: u64, nodes: Outs<u64>, data: Outs<u64>, count: Out<usize>) Context |d| {
        neighbours(d, node, 0, &[&nodes, &data], &count)
    };
    cuGraphNodeGetDependentNodes(node: u64, nodes: Outs<u64>, count: Out<usize>) Context |d| {
        neighbours(d, node, 1, &[&nodes], &count)
    };
    cuGraphNodeGetDependentNodes_v2(node: u64, nodes: Outs<u64>, data: Outs<u64>, count: Out<usize>) Context |d| {
        neighbours(d, node, 1, &[&nodes, &data], &count)
    };
    cuGraphChildGraphNodeGetGraph(handle: u64, graph: Out<u64>) Context |d| {
        let found = node(d, handle)?;
        match *found.work {
            Work::Child(inner) => graph.put(inner),
            _ => Err(other(d, found)),
        }
    };
    cuGraphKernelNodeGetParams(node: u64, launch: Out<Launch>) Context |d| launch.put(launch_of(d, node)?.0);
    cuGraphKernelNodeGetParams_v2(node: u64, out: Out<LaunchIn>) Context |d| {
        let (launch, context) = launch_of(d, node)?;
        out.put(LaunchIn { launch, kernel: 0, context })
    };
    cuGraphKernelNodeSetParams(node: u64, launch: In<Launch>) Context |d| {
        let does = kernel(d, launch.get()?, 0, 0)?;
        set(d, node, does)
    };
    cuGraphKernelNodeSetParams_v2(node: u64, launch: In<LaunchIn>) Context |d| {
        let does = kernel_in(d, launch.get()?)?;
        set(d, node, does)
    };
    cuGraphKernelNodeGetAttribute(node: u64, which: u32, value: Out<[u64; 8]>) Context |d| {
        value.put(attribute(d, node, which)?)
    };
    cuGraphKernelNodeSetAttribute(node: u64, which: u32, value: In<[u64; 8]>) Context |d| {
        set_attribute(d, node, which, value.get()?)
    };
    cuGraphKernelNodeCopyAttributes(to: u64, from: u64) Context |d| {
        let value = attribute(d, from, COOPERATIVE)?;
        set_attribute(d, to, COOPERATIVE, value)
    };
    cuGraphNodeGetParams(node: u64, parameters: *mut u8) Context |d| generic_of(d, node, parameters);
    cuGraphMemcpyNodeGetParams(node: u64, out: Out<Planes>) Context |d| out.put(copy_of(d, node)?);
    cuGraphMemcpyNodeSetParams(handle: u64, given: In<Planes>) Context |d| {
        let does = copy(d, &given.get()?, node(d, handle)?.context)?;
        set(d, handle, does)
    };
    cuGraphMemsetNodeGetParams(node: u64, out: Out<Fill>) Context |d| out.put(fill_node(d, node)?);
    cuGraphMemsetNodeSetParams(handle: u64, given: In<Fill>) Context |d| {
        let does = fill(d, given.get()?, node(d, handle)?.context)?;
        set(d, handle, does)
    };
    cuGraphHostNodeGetParams(node: u64, out: Out<Host>) Context |d| out.put(host_of(d, node)?);
    cuGraphHostNodeSetParams(node: u64, given: In<Host>) Context |d| {
        let does = host(d, given.get()?)?;
        set(d, node, does)
    };
    cuGraphEventRecordNodeGetEvent(handle: u64, out: Out<u64>) Context |d| {
        let found = node(d, handle)?;
        if let Work::Record(event, _) = *found.work { out.put(event) } else { Err(other(d, found)) }
    };
    cuGraphEventWaitNodeGetEvent(handle: u64, out: Out<u64>) Context |d| {
        let found = node(d, handle)?;
        if let Work::Wait(event) = *found.work { out.put(event) } else { Err(other(d, found)) }
    };
    cuGraphEventRecordNodeSetEvent(node: u64, given: u64) Context |d| {
        let does = event(d, given, Work::Record(given, 0))?;
        set(d, node, does)
    };
    cuGraphEventWaitNodeSetEvent(node: u64, given: u64) Context |d| {
        let does = event(d, given, Work::Wait(given))?;
        set(d, node, does)
    };
    cuGraphNodeSetParams(node: u64, parameters: *const u8) Context |d| {
        let does = generic(d, parameters)?;
        set(d, node, does)
    };
    cuGraphExecKernelNodeSetParams(executable: u64, node: u64, launch: In<Launch>) Context |d| {
        let does = kernel(d, launch.get()?, 0, 0)?;
        set_made(d, executable, node, does)
    };
    cuGraphExecKernelNodeSetParams_v2(executable: u64, node: u64, launch: In<LaunchIn>) Context |d| {
        let does = kernel_in(d, launch.get()?)?;
        set_made(d, executable, node, does)
    };
    cuGraphExecMemcpyNodeSetParams(executable: u64, node: u64, given: In<Planes>, context: u64) Context |d| {
        let does = copy(d, &given.get()?, context)?;
        set_made(d, executable, node, does)
    };
    cuGraphExecMemsetNodeSetParams(executable: u64, node: u64, given: In<Fill>, context: u64) Context |d| {
        let does = fill(d, given.get()?, context)?;
        set_made(d, executable, node, does)
    };
    cuGraphExecHostNodeSetParams(executable: u64, node: u64, given: In<Host>) Context |d| {
        let does = host(d, given.get()?)?;
        set_made(d, executable, node, does)
    };
    cuGraphExecChildGraphNodeSetParams(executable: u64, node: u64, graph: u64) Context |d| {
        d.set_made_graph(executable, node, graph)
    };
    cuGraphExecEventRecordNodeSetEvent(executable: u64, node: u64, given: u64) Context |d| {
        let does = event(d, given, Work::Record(given, 0))?;
        set_made(d, executable, node, does)
    };
    cuGraphExecEventWaitNodeSetEvent(executable: u64, node: u64, given: u64) Context |d| {
        let does = event(d, given, Work::Wait(given))?;
        set_made(d, executable, node, does)
    };
    cuGraphExecNodeSetParams(executable: u64, node: u64, parameters: *const u8) Context |d| {
        if In(parameters.cast::<u32>()).get()? == CHILD {
            return d.set_made_graph(executable, node, In(parameters.wrapping_add(GENERIC_HEAD).cast()).get()?);
        }
        let does = generic(d, parameters)?;
        set_made(d, executable, node, does)
    };
    cuGraphNodeSetEnabled(executable: u64, node: u64, enabled: u32) Context |d| {
        let found = d.made_of(executable, node)?;
        if !matches!(*found.work, Work::Kernel(_) | Work::Copy { .. } | Work::Fill { .. }) {
            let text = format!("a {} cannot be left out", found.work);
            return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        }
        found.enabled = enabled != 0;
        Ok(())
    };
    cuGraphNodeGetEnabled(executable: u64, node: u64, enabled: Out<u32>) Context |d| {
        enabled.put(u32::from(d.made_of(executable, node)?.enabled))
    };
}
