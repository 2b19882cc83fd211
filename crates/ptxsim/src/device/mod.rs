//! A whole device: memory, loaded modules, streams with their events, captured graphs. Imports `run`; nothing else in this
//! crate imports this room.

mod cache;
mod queue;
mod work;

use std::ops::Range;
use std::sync::Arc;

use crate::error::{DeviceError, MemoryError};
use crate::run::counters::Counters;
use crate::run::launch::Options;
use crate::run::memory::Memory;
use crate::run::module::Module;
use queue::{Item, Queues};
pub use work::{Event, Graph, HostBuffer, KernelLaunch, Launched, ModuleId, Stream, Work};

type Result<T> = std::result::Result<T, DeviceError>;

/// An emulated device, used as one uses a GPU: work is submitted to streams and waited for.
///
/// What it promises:
///
/// - Work is queued when it is submitted, and done only when something waits for it: [`synchronize`](Self::synchronize),
///   [`synchronize_event`](Self::synchronize_event), [`synchronize_all`](Self::synchronize_all), or step by step
///   [`advance`](Self::advance). All of it is done by the thread that waits.
/// - Work of one stream is done in the order it was submitted in. Between streams nothing but [`wait`](Self::wait) orders:
///   the emulator does what is waited for, what comes before that in its stream, and what those wait for, and leaves
///   the rest where it is. A program that forgot to wait finds its bytes unwritten or old.
/// - [`write`](Self::write), [`read`](Self::read), [`copy`](Self::copy), [`zero`](Self::zero), [`forget`](Self::forget),
///   [`run`](Self::run) and [`free`](Self::free) take place at once, whatever is queued.
/// - An error of queued work is returned to whoever waits. It ends all that is queued on any stream, as on a GPU: queues
///   are empty then, events reached. Memory, modules and graphs stay, and the device may be used on.
///
/// ```
/// use ptxsim::{Device, KernelLaunch, Work};
///
/// let text = "
/// .version 8.1
/// .target sm_80
/// .address_size 64
/// .visible .entry double(.param .u64 data) {
///     .reg .b64 %rd<4>; .reg .b32 %r<4>;
///     ld.param.u64 %rd1, [data];
///     mov.u32 %r1, %tid.x;
///     mul.wide.u32 %rd2, %r1, 4;
///     add.u64 %rd3, %rd1, %rd2;
///     ld.global.u32 %r2, [%rd3];
///     add.u32 %r3, %r2, %r2;
///     st.global.u32 [%rd3], %r3;
///     ret;
/// }";
/// let mut device = Device::new(1 << 20);
/// let module = device.load("double.ptx", text)?;
/// let data = device.alloc(32 * 4)?;
/// let host = device.alloc_host(32 * 4);
/// let double = KernelLaunch {
///     module,
///     entry: "double".into(),
///     grid: [1; 3],
///     block: [32, 1, 1],
///     dynamic_shared: 0,
///     params: data.to_le_bytes().to_vec(),
///     buffers: None,
/// };
///
/// // A graph: up, twice doubled, down.
/// let stream = device.stream();
/// device.begin_capture(stream)?;
/// device.submit(stream, Work::Upload { host, bytes: 0..128, to: data })?;
/// device.submit(stream, Work::Launch(double.clone()))?;
/// device.submit(stream, Work::Launch(double))?;
/// device.submit(stream, Work::Download { from: data, host, bytes: 0..128 })?;
/// let graph = device.end_capture(stream)?;
///
/// device.host_mut(host)?[..4].copy_from_slice(&[5, 0, 0, 0]);
/// device.replay(&graph, stream)?;
/// assert_eq!(device.host(host)?[0], 5, "nothing has waited for it yet");
/// device.synchronize(stream)?;
/// assert_eq!(device.host(host)?[0], 20);
///
/// // On another stream, behind what is submitted to the first so far.
/// let event = device.record(stream)?;
/// let other = device.stream();
/// device.wait(other, event)?;
/// device.submit(other, Work::Zero(data..data + 128))?;
/// device.synchronize(other)?;
/// let mut bytes = [1; 4];
/// device.read(data, &mut bytes)?;
/// assert_eq!(bytes, [0; 4]);
/// # Ok::<(), ptxsim::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct Device {
    memory: Memory,
    options: Options,
    modules: Vec<Module>,
    host: Vec<Vec<u8>>,
    queues: Queues,
    counters: Counters,
    launched: Option<Vec<Launched>>,
}

impl Device {
    /// A device with so many bytes of memory. Launches run on all cores with every check.
    pub fn new(capacity: u64) -> Device {
        Device::with_options(capacity, Options::default())
    }

    /// The same, with launches run as `options` say.
    pub fn with_options(capacity: u64, options: Options) -> Device {
        Device {
            memory: Memory::new(capacity),
            options,
            modules: vec![],
            host: vec![],
            queues: Queues::default(),
            counters: Counters::default(),
            launched: None,
        }
    }

    /// Device memory, to see what is allocated, how much is left, and what is written.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Allocates, see [`Memory::alloc`].
    pub fn alloc(&mut self, bytes: u64) -> Result<u64> {
        Ok(self.memory.alloc(bytes)?)
    }

    /// Frees an allocation by its first address. Work on it that is still queued will fail.
    pub fn free(&mut self, address: u64) -> Result<()> {
        Ok(self.memory.free(address)?)
    }

    /// Copies from the host at once.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.memory.write(at, bytes)?)
    }

    /// Copies to the host at once. All bytes must have been written.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let len = bytes.len();
        match self.unwritten(at, len)? {
            Some(hole) => Err(DeviceError::UnwrittenRead { byte: hole - at, len }),
            None => Ok(self.memory.read(at, bytes)?),
        }
    }

    /// Copies on the device at once, between ranges that do not overlap. All bytes must have been written.
    pub fn copy(&self, from: Range<u64>, to: u64) -> Result<()> {
        self.memory.copy(from.start, to, from.end.saturating_sub(from.start))?;
        match self.memory.unwritten(from) {
            Some(at) => Err(DeviceError::UnwrittenCopy { at, to }),
            None => Ok(()),
        }
    }

    /// Fills with zeros at once.
    pub fn zero(&self, range: Range<u64>) -> Result<()> {
        Ok(self.memory.zero(range)?)
    }

    /// Makes bytes unwritten at once: nothing may read them before it writes them.
    pub fn forget(&self, range: Range<u64>) -> Result<()> {
        Ok(self.memory.poison(range)?)
    }

    fn unwritten(&self, at: u64, len: usize) -> Result<Option<u64>> {
        let end = at.checked_add(len as u64).ok_or(MemoryError::NotAllocated { address: at, len: len as u64 })?;
        Ok(self.memory.first_unwritten(at..end)?)
    }

    /// Host memory that copies go from and to, zeroed.
    pub fn alloc_host(&mut self, bytes: usize) -> HostBuffer {
        self.host.push(vec![0; bytes]);
        HostBuffer(self.host.len() - 1)
    }

    /// The bytes of a host buffer, as work that is done has left them.
    pub fn host(&self, buffer: HostBuffer) -> Result<&[u8]> {
        self.host.get(buffer.0).map(Vec::as_slice).ok_or(DeviceError::Unknown("host buffer"))
    }

    /// The same, to be changed. Uploads that are still queued will take what is here when they are done.
    pub fn host_mut(&mut self, buffer: HostBuffer) -> Result<&mut [u8]> {
        self.host.get_mut(buffer.0).map(Vec::as_mut_slice).ok_or(DeviceError::Unknown("host buffer"))
    }

    /// Part of a host buffer, if it has it.
    fn host_part(&self, buffer: HostBuffer, bytes: &Range<usize>) -> Result<&[u8]> {
        let whole = self.host(buffer)?;
        let outside = DeviceError::HostRange { start: bytes.start, end: bytes.end, len: whole.len() };
        whole.get(bytes.clone()).ok_or(outside)
    }

    /// Loads PTX text; `name` appears in errors. The module's variables are its own, but what was parsed is kept until the
    /// process ends: another load of the same text under the same name, to whatever device, takes no time.
    pub fn load(&mut self, name: &str, ptx: &str) -> Result<ModuleId> {
        self.modules.push(cache::module(name, ptx)?);
        Ok(ModuleId(self.modules.len() - 1))
    }

    /// A loaded module, to see its kernels.
    pub fn module(&self, module: ModuleId) -> Result<&Module> {
        self.modules.get(module.0).ok_or(DeviceError::Unknown("module"))
    }

    /// Runs a kernel at once and says what it did.
    pub fn run(&mut self, kernel: &KernelLaunch) -> Result<Counters> {
        self.run_on(None, kernel)
    }

    fn run_on(&mut self, stream: Option<Stream>, kernel: &KernelLaunch) -> Result<Counters> {
        let counters = self.module(kernel.module)?.launch(&self.memory, &kernel.launch(), &self.options)?;
        self.counters.add(&counters);
        if let Some(launched) = &mut self.launched {
            launched.push(Launched { stream, entry: kernel.entry.clone(), counters: counters.clone() });
        }
        Ok(counters)
    }

    /// What all launches so far did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether what each launch does is kept, for [`Device::take_launches`]; at first it is not.
    pub fn keep_launches(&mut self, keep: bool) {
        self.launched = keep.then(|| self.launched.take().unwrap_or_default());
    }

    /// What was kept since the last time, in the order in which it was done.
    pub fn take_launches(&mut self) -> Vec<Launched> {
        self.launched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A new stream.
    pub fn stream(&mut self) -> Stream {
        self.queues.add()
    }

    /// Queues work, or notes it while the stream is being captured.
    pub fn submit(&mut self, stream: Stream, work: Work) -> Result<()> {
        self.check(&work)?;
        self.queues.submit(stream, [Arc::new(work)])
    }

    /// Refuses handles that are not this device's.
    fn check(&self, work: &Work) -> Result<()> {
        match work {
            Work::Upload { host, bytes, .. } | Work::Download { host, bytes, .. } => {
                self.host_part(*host, bytes).map(drop)
            }
            Work::Launch(kernel) => self.module(kernel.module).map(drop),
            Work::Copy { .. } | Work::Zero(_) | Work::Forget(_) => Ok(()),
        }
    }

    /// The point behind all that is submitted to a stream so far.
    pub fn record(&mut self, stream: Stream) -> Result<Event> {
        self.queues.end(stream)
    }

    /// What is submitted to `stream` from here on is done only after `event` is reached.
    pub fn wait(&mut self, stream: Stream, event: Event) -> Result<()> {
        self.queues.wait(stream, event)
    }

    /// Whether all before an event is done.
    pub fn reached(&self, event: Event) -> Result<bool> {
        self.queues.reached(event)
    }

    /// Does all that is queued on a stream, and what that waits for.
    pub fn synchronize(&mut self, stream: Stream) -> Result<()> {
        let end = self.queues.end(stream)?;
        self.synchronize_event(end)
    }

    /// Does all that is queued, stream by stream.
    pub fn synchronize_all(&mut self) -> Result<()> {
        for stream in self.queues.streams() {
            if !self.is_capturing(stream) {
                self.synchronize(stream)?;
            }
        }
        Ok(())
    }

    /// Does what comes before an event.
    pub fn synchronize_event(&mut self, event: Event) -> Result<()> {
        // What is to be reached, and above it what that needs first. An event is older than what waits for it, so this
        // ends; not by recursion, since chains of waits may be long.
        let mut goals = vec![event];
        while let Some(&goal) = goals.last() {
            if self.reached(goal)? {
                goals.pop();
            } else {
                match self.queues.head(goal.stream)? {
                    Some(&Item::Wait(event)) if !self.reached(event)? => goals.push(event),
                    _ => drop(self.advance(goal.stream)?),
                }
            }
        }
        Ok(())
    }

    /// Does the next piece of work of a stream, for those who choose the order among streams themselves. False if there is
    /// none, or if it waits for an event that is not reached.
    pub fn advance(&mut self, stream: Stream) -> Result<bool> {
        if let Some(&Item::Wait(event)) = self.queues.head(stream)?
            && !self.reached(event)?
        {
            return Ok(false);
        }
        let Some(item) = self.queues.take(stream)? else { return Ok(false) };
        if let Item::Work(work) = item
            && let Err(error) = self.perform(stream, &work)
        {
            self.queues.clear();
            return Err(error);
        }
        Ok(true)
    }

    fn perform(&mut self, stream: Stream, work: &Work) -> Result<()> {
        match work {
            Work::Upload { host, bytes, to } => self.write(*to, self.host_part(*host, bytes)?),
            Work::Download { from, host, bytes } => {
                if let Some(at) = self.unwritten(*from, bytes.len())? {
                    return Err(DeviceError::UnwrittenDownload { at });
                }
                self.host_part(*host, bytes)?;
                let Device { memory, host: buffers, .. } = self;
                Ok(memory.read(*from, &mut buffers[host.0][bytes.clone()])?)
            }
            Work::Copy { from, to } => self.copy(from.clone(), *to),
            Work::Zero(range) => self.zero(range.clone()),
            Work::Forget(range) => self.forget(range.clone()),
            Work::Launch(kernel) => self.run_on(Some(stream), kernel).map(drop),
        }
    }

    /// From here on, work that is submitted to a stream is noted and not done.
    pub fn begin_capture(&mut self, stream: Stream) -> Result<()> {
        self.queues.begin_capture(stream)
    }

    /// Whether it is noted now.
    pub fn is_capturing(&self, stream: Stream) -> bool {
        self.queues.is_capturing(stream)
    }

    /// Ends the noting.
    pub fn end_capture(&mut self, stream: Stream) -> Result<Graph> {
        self.queues.end_capture(stream)
    }

    /// Submits all nodes of a graph; while the stream is being captured they become nodes of that graph.
    pub fn replay(&mut self, graph: &Graph, stream: Stream) -> Result<()> {
        graph.nodes().try_for_each(|work| self.check(work))?;
        self.queues.submit(stream, graph.0.iter().cloned())
    }
}
