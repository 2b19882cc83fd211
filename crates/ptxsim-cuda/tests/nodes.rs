//! Graphs put together node by node, through cudarc's functions of the driver: right programs in several orders, and faults that are
//! reported.

#![cfg(target_os = "linux")]

#[path = "common/adder.rs"]
mod adder;
mod common;

use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use adder::{BYTES, COUNT, Card, locked, open};
use common::{PROGRAM, run, text};
use cudarc::driver::result::{self, stream::StreamKind};
use cudarc::driver::sys::{self, CUgraphNode_st, CUmemorytype_enum as M};

type Fallible<T = ()> = Result<T, cudarc::driver::DriverError>;
type Node = *mut CUgraphNode_st;

/// A graph to be put together.
#[derive(Clone, Copy)]
struct Graph(sys::CUgraph);

/// What a node of each kind is made of.
enum Part {
    /// Function, data, words.
    Add(sys::CUfunction, u64, u32),
    /// From, to; device addresses are those that the driver knows.
    Copy(Side, Side),
    /// Every word of it.
    Fill(u64, u32),
    Host(unsafe extern "C" fn(*mut c_void), *mut c_void),
    Graph(sys::CUgraph),
    Record(sys::CUevent),
    Wait(sys::CUevent),
    Empty,
}

#[derive(Clone, Copy)]
enum Side {
    Host(*mut u32),
    Device(u64),
}

fn kernel(f: sys::CUfunction, each: &mut [*mut c_void; 2]) -> sys::CUDA_KERNEL_NODE_PARAMS {
    sys::CUDA_KERNEL_NODE_PARAMS {
        func: f,
        gridDimX: 4,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 256,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        kernelParams: each.as_mut_ptr(),
        extra: null_mut(),
        kern: null_mut(),
        ctx: null_mut(),
    }
}

fn copy(from: Side, to: Side) -> sys::CUDA_MEMCPY3D {
    // Numbers and pointers, for which 0 will do, and kinds of memory, which are set before anybody looks.
    let mut all = std::mem::MaybeUninit::<sys::CUDA_MEMCPY3D>::zeroed();
    let at = all.as_mut_ptr();
    unsafe {
        match from {
            Side::Host(p) => {
                ((*at).srcMemoryType, (*at).srcHost) = (M::CU_MEMORYTYPE_HOST, p.cast());
            }
            Side::Device(p) => ((*at).srcMemoryType, (*at).srcDevice) = (M::CU_MEMORYTYPE_DEVICE, p),
        }
        match to {
            Side::Host(p) => ((*at).dstMemoryType, (*at).dstHost) = (M::CU_MEMORYTYPE_HOST, p.cast()),
            Side::Device(p) => ((*at).dstMemoryType, (*at).dstDevice) = (M::CU_MEMORYTYPE_DEVICE, p),
        }
        ((*at).WidthInBytes, (*at).Height, (*at).Depth) = (BYTES, 1, 1);
        all.assume_init()
    }
}

fn fill(at: u64, value: u32) -> sys::CUDA_MEMSET_NODE_PARAMS {
    sys::CUDA_MEMSET_NODE_PARAMS { dst: at, pitch: 0, value, elementSize: 4, width: COUNT, height: 1 }
}

impl Graph {
    fn new() -> Fallible<Graph> {
        let mut graph = null_mut();
        unsafe { sys::cuGraphCreate(&mut graph, 0).result()? };
        Ok(Graph(graph))
    }

    fn add(self, part: Part, after: &[Node]) -> Fallible<Node> {
        let (mut node, graph, at, n) = (null_mut(), self.0, after.as_ptr(), after.len());
        unsafe {
            match part {
                Part::Add(f, mut data, mut count) => {
                    let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
                    sys::cuGraphAddKernelNode_v2(&mut node, graph, at, n, &kernel(f, &mut each))
                }
                Part::Copy(from, to) => sys::cuGraphAddMemcpyNode(&mut node, graph, at, n, &copy(from, to), null_mut()),
                Part::Fill(to, value) => {
                    sys::cuGraphAddMemsetNode(&mut node, graph, at, n, &fill(to, value), null_mut())
                }
                Part::Host(f, data) => {
                    let call = sys::CUDA_HOST_NODE_PARAMS { fn_: Some(f), userData: data };
                    sys::cuGraphAddHostNode(&mut node, graph, at, n, &call)
                }
                Part::Graph(inner) => sys::cuGraphAddChildGraphNode(&mut node, graph, at, n, inner),
                Part::Record(event) => sys::cuGraphAddEventRecordNode(&mut node, graph, at, n, event),
                Part::Wait(event) => sys::cuGraphAddEventWaitNode(&mut node, graph, at, n, event),
                Part::Empty => sys::cuGraphAddEmptyNode(&mut node, graph, at, n),
            }
            .result()?;
        }
        Ok(node)
    }

    fn ready(self) -> Fallible<sys::CUgraphExec> {
        unsafe { result::graph::instantiate(self.0, sys::CUgraphInstantiate_flags_enum(0)) }
    }

    fn nodes(self) -> Fallible<Vec<Node>> {
        let mut count = 0;
        unsafe {
            sys::cuGraphGetNodes(self.0, null_mut(), &mut count).result()?;
            let mut nodes = vec![null_mut(); count];
            sys::cuGraphGetNodes(self.0, nodes.as_mut_ptr(), &mut count).result()?;
            Ok(nodes)
        }
    }
}

fn stream() -> Fallible<sys::CUstream> {
    result::stream::create(StreamKind::NonBlocking)
}

/// Launches it and waits.
fn go(ready: sys::CUgraphExec, stream: sys::CUstream) -> Fallible {
    unsafe {
        result::graph::launch(ready, stream)?;
        result::stream::synchronize(stream)
    }
}

unsafe extern "C" fn double(word: *mut c_void) {
    unsafe { *word.cast::<u32>() *= 2 };
}

/// Two halves that nothing orders, then a third part behind both: with the kernel behind its fill, or not.
fn diamond(ordered: bool) -> Fallible {
    let Card { add, .. } = open()?;
    let (a, b, back, s) = unsafe { (result::malloc_sync(BYTES)?, result::malloc_sync(BYTES)?, locked(0)?, stream()?) };
    let graph = Graph::new()?;
    // In the order that nodes are added in, not in the one that they can be done in.
    let down = graph.add(Part::Copy(Side::Device(a), Side::Host(back.as_mut_ptr())), &[])?;
    let [fill_a, fill_b] = [graph.add(Part::Fill(a, 5), &[])?, graph.add(Part::Fill(b, 7), &[])?];
    let add_a = graph.add(Part::Add(add, a, COUNT as u32), &[fill_a][usize::from(!ordered)..])?;
    let add_b = graph.add(Part::Add(add, b, COUNT as u32), &[fill_b])?;
    let both = graph.add(Part::Empty, &[add_a, add_b])?;
    let over = graph.add(Part::Copy(Side::Device(b), Side::Device(a)), &[both])?;
    let twice = graph.add(Part::Host(double, back.as_mut_ptr().cast()), &[down])?;
    unsafe {
        sys::cuGraphAddDependencies(graph.0, [over].as_ptr(), [down].as_ptr(), 1).result()?;
        let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL;
        sys::cuGraphNodeGetType(twice, &mut kind).result()?;
        let [mut edges, mut roots] = [0; 2];
        sys::cuGraphGetEdges(graph.0, null_mut(), null_mut(), &mut edges).result()?;
        sys::cuGraphGetRootNodes(graph.0, null_mut(), &mut roots).result()?;
        println!("{} nodes, {edges} edges, {roots} roots, {kind:?}", graph.nodes()?.len());
        let ready = graph.ready()?;
        go(ready, s)?;
        println!("first {} then {}", back[0], back[1]);
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph.0)?;
        result::stream::destroy(s)?;
        result::free_host(back.as_mut_ptr().cast())?;
        result::free_sync(a)?;
        result::free_sync(b)
    }
}

/// Parameters that change: in the graph, in what was made of it, by another graph of the same form, and of another.
fn changes() -> Fallible {
    let Card { context, add } = open()?;
    let (a, b, back, s) =
        unsafe { (result::malloc_sync(BYTES)?, result::malloc_sync(BYTES)?, locked(0)?.as_mut_ptr(), stream()?) };
    let build = |value| -> Fallible<(Graph, [Node; 3])> {
        let graph = Graph::new()?;
        let first = graph.add(Part::Fill(a, value), &[])?;
        let then = graph.add(Part::Add(add, a, COUNT as u32), &[first])?;
        let down = graph.add(Part::Copy(Side::Device(a), Side::Host(back)), &[then])?;
        Ok((graph, [first, then, down]))
    };
    let (graph, [first, then, down]) = build(10)?;
    let mut said = vec![];
    unsafe {
        let ready = graph.ready()?;
        let mut see = |what: &str| -> Fallible {
            go(ready, s)?;
            said.push(format!("{what} {} {}", back.read_volatile(), back.add(COUNT - 1).read_volatile()));
            Ok(())
        };
        see("as made")?;
        sys::cuGraphExecMemsetNodeSetParams(ready, first, &fill(a, 20), null_mut()).result()?;
        see("fill")?;
        // As many as the kernel was told, less one.
        let mut params = std::mem::MaybeUninit::<sys::CUDA_KERNEL_NODE_PARAMS>::zeroed();
        sys::cuGraphKernelNodeGetParams_v2(then, params.as_mut_ptr()).result()?;
        let mut params = params.assume_init();
        assert!(params.func == add && params.ctx == context && params.gridDimX == 4);
        let given = std::slice::from_raw_parts(params.kernelParams, 2);
        let (mut data, mut count) = (given[0].cast::<u64>().read(), given[1].cast::<u32>().read() - 1);
        let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
        params.kernelParams = each.as_mut_ptr();
        sys::cuGraphExecKernelNodeSetParams_v2(ready, then, &params).result()?;
        see("kernel")?;
        sys::cuGraphNodeSetEnabled(ready, then, 0).result()?;
        see("without")?;
        sys::cuGraphNodeSetEnabled(ready, then, 1).result()?;
        sys::cuGraphNodeSetEnabled(ready, down, 0).result()?;
        see("no copy")?;
        sys::cuGraphNodeSetEnabled(ready, down, 1).result()?;
        let (other, _) = build(30)?;
        let mut info = std::mem::MaybeUninit::<sys::CUgraphExecUpdateResultInfo>::zeroed();
        sys::cuGraphExecUpdate_v2(ready, other.0, info.as_mut_ptr()).result()?;
        see("updated")?;
        let extra = other.add(Part::Empty, &[])?;
        let refused = sys::cuGraphExecUpdate_v2(ready, other.0, info.as_mut_ptr());
        println!("{refused:?} {:?}", info.assume_init().result);
        sys::cuGraphDestroyNode(extra).result()?;
        sys::cuGraphMemcpyNodeSetParams(down, &copy(Side::Device(b), Side::Host(back))).result()?;
        sys::cuGraphMemsetNodeSetParams(first, &fill(b, 40)).result()?;
        sys::cuGraphExecUpdate_v2(ready, graph.0, info.as_mut_ptr()).result()?;
        result::memset_d8_sync(a, 0, BYTES)?;
        result::ctx::synchronize()?;
        see("elsewhere")?;
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph.0)?;
        result::graph::destroy(other.0)?;
        result::stream::destroy(s)?;
        result::free_host(back.cast())?;
        result::free_sync(a)?;
        result::free_sync(b)?;
    }
    println!("{}", said.join("\n"));
    Ok(())
}

static ENDED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn ended(_data: *mut c_void) {
    ENDED.fetch_add(1, Relaxed);
}

/// A graph in a graph, changed where it is; a copy of all; events; an object that ends with the last that refers to it.
fn nested() -> Fallible {
    let Card { add, .. } = open()?;
    let (a, back, s) = unsafe { (result::malloc_sync(BYTES)?, locked(0)?, stream()?) };
    let (inner, outer) = (Graph::new()?, Graph::new()?);
    let once = inner.add(Part::Add(add, a, COUNT as u32), &[])?;
    let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
    unsafe {
        let first = outer.add(Part::Fill(a, 1), &[])?;
        let twice = outer.add(Part::Graph(inner.0), &[first])?;
        let wait = outer.add(Part::Wait(event), &[])?;
        let done = outer.add(Part::Record(event), &[twice])?;
        outer.add(Part::Copy(Side::Device(a), Side::Host(back.as_mut_ptr())), &[twice, wait])?;
        // The copy in the outer graph has a second kernel, the graph that it was copied from has not.
        let mut own = null_mut();
        sys::cuGraphChildGraphNodeGetGraph(twice, &mut own).result()?;
        let mut found = null_mut();
        sys::cuGraphNodeFindInClone(&mut found, once, own).result()?;
        Graph(own).add(Part::Add(add, a, COUNT as u32), &[found])?;
        println!("{} and {}", inner.nodes()?.len(), Graph(own).nodes()?.len());
        let mut object = null_mut();
        sys::cuUserObjectCreate(&mut object, null_mut(), Some(ended), 1, 1).result()?;
        sys::cuGraphRetainUserObject(outer.0, object, 1, 1).result()?;
        let mut copied = null_mut();
        sys::cuGraphClone(&mut copied, outer.0).result()?;
        result::graph::destroy(outer.0)?;
        result::graph::destroy(inner.0)?;
        let ready = Graph(copied).ready()?;
        result::graph::destroy(copied)?;
        println!("{} ended", ENDED.load(Relaxed));
        result::graph::launch(ready, s)?;
        result::event::synchronize(event)?;
        result::stream::synchronize(s)?;
        result::graph::exec_destroy(ready)?;
        println!("{} ended, {} {}", ENDED.load(Relaxed), back[0], done.is_null());
        result::event::destroy(event)?;
        result::stream::destroy(s)?;
        result::free_host(back.as_mut_ptr().cast())?;
        result::free_sync(a)
    }
}

/// A graph is given more references to an object than the program has, and gets none.
fn moved_too_often() -> Fallible {
    open()?;
    let (graph, mut object) = (Graph::new()?, null_mut());
    unsafe {
        sys::cuUserObjectCreate(&mut object, null_mut(), Some(ended), 1, 1).result()?;
        println!("{:?}", sys::cuGraphRetainUserObject(graph.0, object, 2, 1));
        sys::cuUserObjectRelease(object, 1).result()?;
        println!("{} ended", ENDED.load(Relaxed));
        result::graph::destroy(graph.0)
    }
}

/// A graph in a graph becomes another, in what was instantiated and where it is; one of another form does not.
fn exchanged() -> Fallible {
    let Card { add, .. } = open()?;
    let (a, back, s) = unsafe { (result::malloc_sync(BYTES)?, locked(0)?.as_mut_ptr(), stream()?) };
    let words = |count: usize, times: usize| -> Fallible<Graph> {
        let graph = Graph::new()?;
        let mut after = vec![];
        for _ in 0..times {
            after = vec![graph.add(Part::Add(add, a, count as u32), &after)?];
        }
        Ok(graph)
    };
    let (outer, all, less, twice) = (Graph::new()?, words(COUNT, 1)?, words(COUNT - 1, 1)?, words(COUNT, 2)?);
    let first = outer.add(Part::Fill(a, 1), &[])?;
    let inner = outer.add(Part::Graph(all.0), &[first])?;
    outer.add(Part::Copy(Side::Device(a), Side::Host(back)), &[inner])?;
    unsafe {
        let see = |what: &str, ready| -> Fallible {
            go(ready, s)?;
            println!("{what} {} {}", back.read_volatile(), back.add(COUNT - 1).read_volatile());
            Ok(())
        };
        let ready = outer.ready()?;
        see("as made", ready)?;
        sys::cuGraphExecChildGraphNodeSetParams(ready, inner, less.0).result()?;
        see("less", ready)?;
        println!("{:?}", sys::cuGraphExecChildGraphNodeSetParams(ready, inner, twice.0));
        let mut params = std::mem::MaybeUninit::<sys::CUgraphNodeParams>::zeroed();
        // Newer than what cudarc is built for here.
        let mut at = null_mut();
        sys::cuGetProcAddress_v2(c"cuGraphNodeGetParams".as_ptr(), &mut at, 13020, 0, null_mut()).result()?;
        let ask: unsafe extern "C" fn(Node, *mut sys::CUgraphNodeParams) -> sys::CUresult = std::mem::transmute(at);
        ask(inner, params.as_mut_ptr()).result()?;
        let mut params = params.assume_init();
        println!("{:?}", params.type_);
        params.__bindgen_anon_1.graph.graph = twice.0;
        sys::cuGraphNodeSetParams(inner, &mut params).result()?;
        let again = outer.ready()?;
        see("twice", again)?;
        see("still less", ready)?;
        for exec in [ready, again] {
            result::graph::exec_destroy(exec)?;
        }
        for graph in [outer, all, less, twice] {
            result::graph::destroy(graph.0)?;
        }
        result::stream::destroy(s)?;
        result::free_host(back.cast())?;
        result::free_sync(a)
    }
}

/// Calls that are refused: what each answers.
fn refused() -> Fallible {
    let Card { add, .. } = open()?;
    let a = unsafe { result::malloc_sync(BYTES)? };
    let (graph, other) = (Graph::new()?, Graph::new()?);
    let first = graph.add(Part::Fill(a, 1), &[])?;
    let then = graph.add(Part::Add(add, a, COUNT as u32), &[first])?;
    let last = graph.add(Part::Empty, &[then])?;
    let foreign = other.add(Part::Empty, &[])?;
    let order = |from: Node, to: Node| unsafe { sys::cuGraphAddDependencies(graph.0, &from, &to, 1) };
    let added = |after: &[Node]| graph.add(Part::Empty, after).map(drop).map_err(|e| e.0);
    unsafe {
        println!("cycle {:?} self {:?}", order(last, first), order(then, then));
        println!("again {:?} foreign {:?}", order(first, then), order(foreign, last));
        println!("behind foreign {:?} behind twice the same {:?}", added(&[foreign]), added(&[first, first]));
        let (mut node, after) = (null_mut(), [last, foreign]);
        println!("graph {:?}", sys::cuGraphAddChildGraphNode(&mut node, graph.0, after.as_ptr(), 2, other.0));
        let ready = graph.ready()?;
        println!("not made of {:?}", sys::cuGraphExecHostNodeSetParams(ready, foreign, &call()));
        println!("of another type {:?}", sys::cuGraphExecHostNodeSetParams(ready, last, &call()));
        println!("half {:?}", sys::cuGraphAddKernelNode_v2(&mut null_mut(), graph.0, null(), 0, null()));
        sys::cuGraphDestroyNode(last).result()?;
        println!("stale {:?}", order(first, last));
        result::graph::destroy(other.0)?;
        println!("of a graph that is gone {:?}", sys::cuGraphDestroyNode(foreign));
        result::graph::exec_destroy(ready)?;
        result::graph::destroy(graph.0)?;
        result::free_sync(a)
    }
}

fn call() -> sys::CUDA_HOST_NODE_PARAMS {
    sys::CUDA_HOST_NODE_PARAMS { fn_: Some(double), userData: null_mut() }
}

/// What a capture makes has nodes as any other graph, and is written as text.
fn captured() -> Fallible {
    let Card { add, .. } = open()?;
    let (a, s) = unsafe { (result::malloc_sync(BYTES)?, stream()?) };
    unsafe {
        result::stream::begin_capture(s, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        result::memset_d8_async(a, 0, BYTES, s)?;
        let (mut data, mut count) = (a, COUNT as u32);
        let mut each: [*mut c_void; 2] = [(&raw mut data).cast(), (&raw mut count).cast()];
        result::launch_kernel(add, (4, 1, 1), (256, 1, 1), 0, s, &mut each)?;
        let graph = Graph(result::stream::end_capture(s)?);
        let nodes = graph.nodes()?;
        let [mut from, mut to, mut edges] = [null_mut(), null_mut(), null_mut()];
        let mut count = 1;
        sys::cuGraphGetEdges(graph.0, &mut from, &mut to, &mut count).result()?;
        println!("{} {}", nodes.len(), from == nodes[0] && to == nodes[1] && count == 1);
        sys::cuGraphNodeGetDependencies(nodes[1], &mut edges, &mut count).result()?;
        println!("{}", edges == nodes[0]);
        let path = std::env::temp_dir().join(format!("ptxsim-nodes-{}.dot", std::process::id()));
        let name = CString::new(path.to_str().unwrap()).unwrap();
        sys::cuGraphDebugDotPrint(graph.0, name.as_ptr(), 0).result()?;
        println!("{}", std::fs::read_to_string(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        // A launch in another capture gives that nodes of its own.
        let ready = graph.ready()?;
        result::stream::begin_capture(s, sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED)?;
        result::graph::launch(ready, s)?;
        let again = Graph(result::stream::end_capture(s)?);
        result::graph::destroy(graph.0)?;
        result::graph::exec_destroy(ready)?;
        let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
        sys::cuGraphNodeGetType(again.nodes()?[1], &mut kind).result()?;
        println!("{kind:?}");
        let graph = again;
        result::graph::destroy(graph.0)?;
        result::stream::destroy(s)?;
        result::free_sync(a)
    }
}

/// The process that `run` starts is one of these; as a test among others it is none and does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    let done = match name.as_str() {
        "ordered" => diamond(true),
        "not ordered" => diamond(false),
        "changes" => changes(),
        "nested" => nested(),
        "moved too often" => moved_too_often(),
        "exchanged" => exchanged(),
        "refused" => refused(),
        "captured" => captured(),
        other => panic!("no program is called {other}"),
    };
    if let Err(e) = done {
        println!("{name} ends with {:?}", e.0);
    }
}

/// Runs a program in several orders: it says all of this, and nothing is found.
#[track_caller]
fn says(name: &str, lines: &[&str]) {
    for seed in 0..10 {
        let out = run(name, &[("PTXSIM_SCHEDULE", &seed.to_string())]);
        let (said, told) = (text(&out.stdout), text(&out.stderr));
        assert!(out.status.success(), "{name}, seed {seed}: {said}{told}");
        for line in lines {
            assert!(said.contains(line), "{name}, seed {seed}: no {line:?} in {said}{told}");
        }
    }
}

#[test]
fn nodes_are_done_in_the_order_of_their_dependencies() {
    says("ordered", &["8 nodes, 7 edges, 2 roots, CU_GRAPH_NODE_TYPE_HOST", "first 16 then 8"]);
}

#[test]
fn nodes_that_nothing_orders_race() {
    for seed in ["0", "1", "2", "3"] {
        let out = run("not ordered", &[("PTXSIM_SCHEDULE", seed)]);
        let told = text(&out.stderr);
        let unwritten = told.contains("uninitialised read in kernel add");
        let race = told.contains("race on") && told.contains("in no order");
        assert!(race || unwritten, "seed {seed}: {told}");
        assert!(told.contains("cuGraphAddKernelNode_v2, called at"), "seed {seed}: {told}");
        assert_eq!(out.status.code(), Some(99));
    }
}

#[test]
fn parameters_change() {
    let lines = [
        "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED",
        "as made 11 11\nfill 21 21\nkernel 21 20\nwithout 20 20\nno copy 20 20\nupdated 31 31\nelsewhere 40 40",
    ];
    says("changes", &lines);
}

#[test]
fn graphs_are_nodes_of_others() {
    says("nested", &["1 and 2", "\n0 ended\n", "1 ended, 3 false"]);
    let out = run("moved too often", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("CUDA_ERROR_INVALID_VALUE\n1 ended\n"), "{said}{told}");
    assert!(told.contains("2 references are given up and the program has 1"), "{told}");
}

#[test]
fn graphs_in_graphs_are_exchanged() {
    // It asks for a function that came with CUDA 13.2.
    let out = run("exchanged", &[("PTXSIM_DRIVER", "13.2")]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let lines =
        "as made 2 2\nless 2 1\nCUDA_ERROR_INVALID_VALUE\nCU_GRAPH_NODE_TYPE_GRAPH\ntwice 3 3\nstill less 2 1\n";
    assert!(said.contains(lines), "{said}{told}");
    assert!(told.contains("a graph of another form") && told.contains("1 found"), "{told}");
}

#[test]
fn captured_graphs_have_nodes() {
    let dot = "n1 [label=\"kernel add\"];\n  n0 -> n1;\n}";
    let kind = "CU_GRAPH_NODE_TYPE_KERNEL";
    says("captured", &["2 true\ntrue", "n0 [label=\"fill of 4000 bytes at", dot, kind]);
}

#[test]
fn wrong_calls_are_refused_and_reported() {
    let out = run("refused", &[]);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    let lines = [
        "cycle CUDA_ERROR_INVALID_VALUE self CUDA_ERROR_INVALID_VALUE",
        "again CUDA_ERROR_INVALID_VALUE foreign CUDA_ERROR_INVALID_VALUE",
        "behind foreign Err(CUDA_ERROR_INVALID_VALUE) behind twice the same Err(CUDA_ERROR_INVALID_VALUE)",
        "graph CUDA_ERROR_INVALID_VALUE",
        "not made of CUDA_ERROR_INVALID_VALUE",
        "of another type CUDA_ERROR_INVALID_VALUE",
        "half CUDA_ERROR_INVALID_VALUE",
        "stale CUDA_ERROR_INVALID_HANDLE",
        "of a graph that is gone CUDA_ERROR_INVALID_HANDLE",
    ];
    for line in lines {
        assert!(said.contains(line), "no {line:?} in {said}{told}");
    }
    for report in [
        "they would wait for each other",
        "is of another graph",
        "is named twice",
        "is not of the graph that this was made of",
        "is a empty node",
        "was destroyed before",
    ] {
        assert!(told.contains(report), "no {report:?} in {told}");
    }
    assert!(!told.contains("never given back"), "{told}");
    assert_eq!(out.status.code(), Some(99));
}
