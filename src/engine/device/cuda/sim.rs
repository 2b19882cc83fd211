//! The [`Driver`] for the emulator: the same PTX, executed on the CPU with every access checked.

use super::launch::Use;
use super::{Driver, Launch, Module};
use crate::{Error, Result, invalid};
use ptxsim::{Access, Buffer, Counters, Memory, Options};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory the emulated device has unless told otherwise, in bytes. Only what is used is taken from the machine.
const MEMORY: usize = 8 << 30;
/// Few, so that work is cut into few pieces: the emulator is no faster for more of them than the machine has cores.
const MULTIPROCESSORS: u32 = 4;

/// Parsed modules, kept for the whole process: parsing takes longer than most launches.
static PARSED: Mutex<Option<HashMap<&'static str, Arc<ptxsim::Module>>>> = Mutex::new(None);

/// An emulated device.
pub struct SimDriver {
    memory: Memory,
    capacity: usize,
    modules: HashMap<&'static str, Arc<ptxsim::Module>>,
    capturing: bool,
    graph: Vec<Node>,
    counters: Counters,
}

/// What a graph replays.
enum Node {
    Forget(Range<u64>),
    Launch(Launch),
}

impl Default for SimDriver {
    fn default() -> Self {
        Self::with_memory(MEMORY)
    }
}

impl SimDriver {
    /// A device with this many bytes of memory.
    pub fn with_memory(capacity: usize) -> Self {
        SimDriver {
            memory: Memory::new(capacity as u64),
            capacity,
            modules: HashMap::new(),
            capturing: false,
            graph: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// What all launches so far did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn execute(&mut self, launch: &Launch) -> Result<()> {
        let call = &launch.call;
        let Some(module) = self.modules.get(call.module().name) else {
            invalid!("{}: its module is not loaded", call.entry.name);
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
        Ok(())
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
        MULTIPROCESSORS
    }

    fn memory(&self) -> Result<(usize, usize)> {
        Ok((self.capacity - self.memory.used() as usize, self.capacity))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.memory.alloc(bytes.max(1) as u64).map_err(fault)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.memory.write(at, bytes).map_err(fault)
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

    fn load(&mut self, module: &'static Module) -> Result<()> {
        if self.modules.contains_key(module.name) {
            return Ok(());
        }
        let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = parsed.get_or_insert_default();
        let handle = match parsed.get(module.name) {
            Some(known) => known.clone(),
            None => {
                let fresh = Arc::new(ptxsim::Module::parse(module.name, module.ptx).map_err(fault)?);
                parsed.insert(module.name, fresh.clone());
                fresh
            }
        };
        self.modules.insert(module.name, handle);
        Ok(())
    }

    fn forget(&mut self, range: Range<u64>) -> Result<()> {
        if self.capturing {
            self.graph.push(Node::Forget(range));
            return Ok(());
        }
        self.forget_now(range)
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        if self.capturing {
            self.graph.push(Node::Launch(launch.clone()));
            return Ok(());
        }
        self.execute(launch)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn begin_capture(&mut self) -> Result<()> {
        self.graph.clear();
        self.capturing = true;
        Ok(())
    }

    fn end_capture(&mut self) -> Result<()> {
        self.capturing = false;
        Ok(())
    }

    fn replay(&mut self) -> Result<()> {
        let graph = std::mem::take(&mut self.graph);
        let done = graph.iter().try_for_each(|node| match node {
            Node::Forget(range) => self.forget_now(range.clone()),
            Node::Launch(launch) => self.execute(launch),
        });
        self.graph = graph;
        done
    }
}
