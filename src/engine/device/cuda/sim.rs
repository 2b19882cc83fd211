//! The [`Driver`] for the emulator: the same PTX, executed on the CPU with every access checked.

use super::{Copies, Copy, Driver, Graph};
use crate::engine::device::Cost;
use crate::engine::toolkit::cuda::cards::Chip;
use crate::engine::toolkit::cuda::{Entry, Launch, Use};
use crate::{Error, Result, device_error};
use ptxsim::{Access, Buffer, Counters, Device, HostBuffer, KernelLaunch, ModuleId, Stream, Work};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// PTX of single kernels, by module and place: it takes longer to cut one out than to run most.
static TEXTS: LazyLock<Mutex<HashMap<Place, Arc<str>>>> = LazyLock::new(Mutex::default);

type Place = (usize, (usize, usize));

fn text(entry: &Entry) -> Result<Arc<str>> {
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = texts.get(&(entry.module, entry.text)) {
        return Ok(text.clone());
    }
    let text: Arc<str> = entry.ptx()?.into();
    texts.insert((entry.module, entry.text), text.clone());
    Ok(text)
}

/// An emulated device. All that is submitted is waited for at once, so that an error is returned where its cause is.
pub struct SimDriver {
    device: Device,
    stream: Stream,
    multiprocessors: u32,
    chip: Chip,
    /// By kernel: each is loaded by itself.
    modules: HashMap<&'static str, ModuleId>,
    host: HostBuffer,
    graphs: Vec<ptxsim::Graph>,
    /// What the graph that is being captured ends with.
    downloads: Vec<Copy>,
}

impl Default for SimDriver {
    fn default() -> Self {
        Self::new(Self::MEMORY, Self::MULTIPROCESSORS, Self::CHIP)
    }
}

impl SimDriver {
    /// Few, so that work is cut into few pieces: the emulator is no faster for more of them than the machine has cores.
    pub const MULTIPROCESSORS: u32 = 4;

    /// What the kernels are compiled for.
    pub const CHIP: Chip = Chip { capability: (8, 0), halved: false };

    /// Memory it has unless told otherwise, in bytes. Only what is used is taken from the machine.
    pub const MEMORY: usize = 8 << 30;

    /// A device with this many bytes of memory. Work is cut into pieces as for so many multiprocessors of that chip; every kernel runs as the PTX has it all the same.
    pub fn new(capacity: usize, multiprocessors: u32, chip: Chip) -> Self {
        let mut device = Device::new(capacity as u64);
        SimDriver {
            stream: device.stream(),
            host: device.alloc_host(0),
            device,
            multiprocessors,
            chip,
            modules: HashMap::new(),
            graphs: Vec::new(),
            downloads: Vec::new(),
        }
    }

    /// What all launches so far did.
    pub fn counters(&self) -> &Counters {
        self.device.counters()
    }

    fn kernel(&self, launch: &Launch) -> Result<KernelLaunch> {
        let call = &launch.call;
        let Some(&module) = self.modules.get(call.entry.name) else {
            device_error!("{} is not loaded", call.entry.name);
        };
        let access = |how| match how {
            Use::Read => Access::Read,
            Use::Write => Access::Write,
            Use::Update => Access::ReadWrite,
        };
        let buffer = |(range, how): &(Range<u64>, Use)| Buffer { range: range.clone(), access: access(*how) };
        Ok(KernelLaunch {
            module,
            entry: call.entry.name.into(),
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared,
            params: call.parameters.clone(),
            buffers: Some(call.buffers.iter().map(buffer).collect()),
        })
    }

    /// Does work, or notes it while a graph is being captured.
    fn submit(&mut self, work: Work) -> Result<()> {
        self.device.submit(self.stream, work).map_err(fault)?;
        if self.device.is_capturing(self.stream) {
            return Ok(());
        }
        self.device.synchronize(self.stream).map_err(fault)
    }
}

fn fault(e: impl std::fmt::Display) -> Error {
    Error::Device(format!("sim: {e}"))
}

impl Driver for SimDriver {
    fn name(&self) -> String {
        "sim".into()
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn chip(&self) -> Chip {
        self.chip
    }

    fn memory(&self) -> Result<(usize, usize)> {
        let (used, capacity) = (self.device.memory().used(), self.device.memory().capacity());
        Ok(((capacity - used) as usize, capacity as usize))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.device.alloc(bytes.max(1) as u64).map_err(fault)
    }

    fn alloc_host(&mut self, bytes: usize) -> Result<()> {
        self.host = self.device.alloc_host(bytes);
        Ok(())
    }

    fn host(&self, range: Range<usize>) -> &[u8] {
        &self.device.host(self.host).unwrap_or_default()[range]
    }

    fn host_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.device.host_mut(self.host).unwrap_or_default()[range]
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.device.write(at, bytes).map_err(fault)
    }

    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()> {
        self.device.copy(from, to).map_err(fault)
    }

    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        self.device.zero(range).map_err(fault)
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.device.read(at, bytes).map_err(fault)
    }

    fn load(&mut self, entries: &[&'static Entry]) -> Result<()> {
        for entry in entries {
            if !self.modules.contains_key(entry.name) {
                let module = self.device.load(entry.module().name, &text(entry)?).map_err(fault)?;
                self.modules.insert(entry.name, module);
            }
        }
        Ok(())
    }

    fn forget(&mut self, range: Range<u64>) -> Result<()> {
        self.submit(Work::Forget(range))
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.submit(Work::Launch(self.kernel(launch)?))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn begin_capture(&mut self, copies: Copies) -> Result<()> {
        self.device.begin_capture(self.stream).map_err(fault)?;
        self.downloads = copies.downloads;
        let upload = |Copy { host, at }| Work::Upload { host: self.host, bytes: host, to: at };
        copies.uploads.into_iter().map(upload).try_for_each(|work| self.device.submit(self.stream, work)).map_err(fault)
    }

    fn end_capture(&mut self) -> Result<Graph> {
        for Copy { host, at } in std::mem::take(&mut self.downloads) {
            let work = Work::Download { from: at, host: self.host, bytes: host };
            self.device.submit(self.stream, work).map_err(fault)?;
        }
        self.graphs.push(self.device.end_capture(self.stream).map_err(fault)?);
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<()> {
        let Some(captured) = self.graphs.get(graph.0) else {
            device_error!("sim: graph {} was never captured", graph.0)
        };
        self.device.replay(captured, self.stream).and_then(|()| self.device.synchronize(self.stream)).map_err(fault)
    }

    fn wait(&self, _: Graph) -> Result<()> {
        Ok(())
    }

    fn measure(&mut self, launch: &Launch, _: usize) -> Result<Cost> {
        let kernel = self.kernel(launch)?;
        Ok(Cost::Counters(Box::new(self.device.run(&kernel).map_err(fault)?)))
    }
}
