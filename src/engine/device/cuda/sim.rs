//! The [`Driver`] for the emulator: the same PTX, executed on the CPU with every access checked.

use super::{Copies, Copy, Driver, Graph};
use crate::engine::device::Cost;
use crate::engine::toolkit::cuda::{Entry, Launch, Use};
use crate::{Error, Result, invalid};
use ptxsim::{Access, Buffer, Counters, Memory, Options};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Parsed kernels, kept for the whole process: parsing takes longer than most launches.
static PARSED: Mutex<Option<HashMap<&'static str, Arc<ptxsim::Module>>>> = Mutex::new(None);

/// An emulated device.
pub struct SimDriver {
    memory: Memory,
    capacity: usize,
    multiprocessors: u32,
    capability: (i32, i32),
    modules: HashMap<&'static str, Arc<ptxsim::Module>>,
    host: Vec<u8>,
    capturing: bool,
    /// The last one is being captured, if one is.
    graphs: Vec<Captured>,
    counters: Counters,
}

#[derive(Default)]
struct Captured {
    copies: Copies,
    nodes: Vec<Node>,
}

/// What a graph replays between its copies.
enum Node {
    Forget(Range<u64>),
    Launch(Launch),
}

impl Default for SimDriver {
    fn default() -> Self {
        Self::new(Self::MEMORY, Self::MULTIPROCESSORS, Self::CAPABILITY)
    }
}

impl SimDriver {
    /// Few, so that work is cut into few pieces: the emulator is no faster for more of them than the machine has cores.
    pub const MULTIPROCESSORS: u32 = 4;

    /// What the kernels are compiled for.
    pub const CAPABILITY: (i32, i32) = (8, 0);

    /// Memory it has unless told otherwise, in bytes. Only what is used is taken from the machine.
    pub const MEMORY: usize = 8 << 30;

    /// A device with this many bytes of memory. Work is cut into pieces as for so many multiprocessors of that compute
    /// capability; every kernel runs as the PTX has it all the same.
    pub fn new(capacity: usize, multiprocessors: u32, capability: (i32, i32)) -> Self {
        SimDriver {
            multiprocessors,
            capability,
            memory: Memory::new(capacity as u64),
            capacity,
            modules: HashMap::new(),
            host: Vec::new(),
            capturing: false,
            graphs: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// What all launches so far did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn execute(&mut self, launch: &Launch) -> Result<Counters> {
        let call = &launch.call;
        let Some(module) = self.modules.get(call.entry.name) else {
            invalid!("{} is not loaded", call.entry.name);
        };
        let access = |how| match how {
            Use::Read => Access::Read,
            Use::Write => Access::Write,
            Use::Update => Access::ReadWrite,
        };
        let buffers: Vec<Buffer> =
            call.buffers.iter().map(|(range, how)| Buffer { range: range.clone(), access: access(*how) }).collect();
        let launch = ptxsim::Launch {
            entry: call.entry.name,
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared,
            params: &call.parameters,
            buffers: Some(&buffers),
        };
        let counters = module.launch(&self.memory, &launch, &Options::default()).map_err(fault)?;
        self.counters.add(&counters);
        Ok(counters)
    }

    /// Copies results to the host buffer.
    fn download(&mut self, copies: &Copies) -> Result<()> {
        let unwritten = |Copy { host, at }: &Copy| self.memory.unwritten(*at..at + host.len() as u64);
        if let Some(hole) = copies.downloads.iter().find_map(unwritten) {
            invalid!("sim: the byte at {hole:#x} is copied to the host and was never written");
        }
        let download = |Copy { host, at }: &Copy| self.memory.read(*at, &mut self.host[host.clone()]).map_err(fault);
        copies.downloads.iter().try_for_each(download)
    }

    fn forget_now(&mut self, range: Range<u64>) -> Result<()> {
        self.memory.poison(range).map_err(fault)
    }
}

fn fault(e: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("sim: {e}"))
}

impl Driver for SimDriver {
    fn name(&self) -> String {
        "sim".into()
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn capability(&self) -> (i32, i32) {
        self.capability
    }

    fn memory(&self) -> Result<(usize, usize)> {
        Ok((self.capacity - self.memory.used() as usize, self.capacity))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.memory.alloc(bytes.max(1) as u64).map_err(fault)
    }

    fn alloc_host(&mut self, bytes: usize) -> Result<()> {
        self.host = vec![0; bytes];
        Ok(())
    }

    fn host(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.host[range]
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.memory.write(at, bytes).map_err(fault)
    }

    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()> {
        self.memory.copy(from.start, to, from.end - from.start).map_err(fault)?;
        if let Some(hole) = self.memory.unwritten(from) {
            invalid!("sim: the byte at {hole:#x} is copied to {to:#x} and was never written");
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        let zeros = vec![0; (range.end - range.start) as usize];
        self.memory.write(range.start, &zeros).map_err(fault)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        if let Some(hole) = self.memory.unwritten(at..at + bytes.len() as u64) {
            invalid!("sim: byte {} of {} that are read back was never written", hole - at, bytes.len());
        }
        self.memory.read(at, bytes).map_err(fault)
    }

    fn load(&mut self, entries: &[&'static Entry]) -> Result<()> {
        let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = parsed.get_or_insert_default();
        for entry in entries {
            let handle = match parsed.get(entry.name) {
                Some(known) => known.clone(),
                None => {
                    let fresh = Arc::new(ptxsim::Module::parse(entry.module().name, &entry.ptx()).map_err(fault)?);
                    parsed.insert(entry.name, fresh.clone());
                    fresh
                }
            };
            self.modules.insert(entry.name, handle);
        }
        Ok(())
    }

    fn forget(&mut self, range: Range<u64>) -> Result<()> {
        match self.graphs.last_mut().filter(|_| self.capturing) {
            Some(graph) => graph.nodes.push(Node::Forget(range)),
            None => self.forget_now(range)?,
        }
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        match self.graphs.last_mut().filter(|_| self.capturing) {
            Some(graph) => graph.nodes.push(Node::Launch(launch.clone())),
            None => {
                self.execute(launch)?;
            }
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn begin_capture(&mut self, copies: Copies) -> Result<()> {
        self.graphs.push(Captured { copies, nodes: Vec::new() });
        self.capturing = true;
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Graph> {
        self.capturing = false;
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<()> {
        let Some(captured) = self.graphs.get_mut(graph.0) else {
            invalid!("sim: graph {} was never captured", graph.0)
        };
        let Captured { copies, nodes } = std::mem::take(captured);
        let upload = |Copy { host, at }: &Copy| self.memory.write(*at, &self.host[host.clone()]).map_err(fault);
        let done = copies.uploads.iter().try_for_each(upload).and_then(|()| {
            nodes.iter().try_for_each(|node| match node {
                Node::Forget(range) => self.forget_now(range.clone()),
                Node::Launch(launch) => self.execute(launch).map(drop),
            })
        });
        let done = done.and_then(|()| self.download(&copies));
        self.graphs[graph.0] = Captured { copies, nodes };
        done
    }

    fn wait(&self, _: Graph) -> Result<()> {
        Ok(())
    }

    fn measure(&mut self, launch: &Launch, _: usize) -> Result<Cost> {
        Ok(Cost::Counters(Box::new(self.execute(launch)?)))
    }
}
