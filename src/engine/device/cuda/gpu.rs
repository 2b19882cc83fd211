//! The [`Driver`] for a GPU, over the CUDA driver [`api`]. The library is loaded when first asked for:
//! a build needs no CUDA, and a machine without it gets a message.

use super::Driver;
use super::api::{self, Fault, got};
use super::card::OpenCard;
use super::driver::{Copies, Copy, Graph};
use super::staging::Staging;
use crate::engine::device::Cost;
use crate::engine::toolkit::cuda::cards::Chip;
use crate::engine::toolkit::cuda::{Entry, Launch};
use crate::{Error, Result, device_error};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;

/// One GPU and a stream of work on it.
pub struct GpuDriver {
    pub(super) card: Arc<OpenCard>,
    pub(super) stream: api::CUstream,
    /// Copies to the device beside kernels, and from it.
    copying: [api::CUstream; 2],
    allocations: Vec<u64>,
    /// Where single copies go through, and the event behind the last to the device.
    staging: Option<(Arc<Staging>, api::CUevent)>,
    host: (*mut u8, usize),
    /// Of the graph that is being captured.
    copies: Copies,
    graphs: Vec<Captured>,
}

struct Captured {
    kernels: api::CUgraphExec,
    copies: Copies,
    /// Where `copies.beside`: the input is there, the kernels are done, the output is there.
    stages: Option<[api::CUevent; 3]>,
}

// SAFETY: the handles are the driver's own and may be used from any thread in whose turn the context is made current,
// which every method does first; the pointers are to memory that this driver alone owns.
unsafe impl Send for GpuDriver {}

impl GpuDriver {
    /// Opens `cuda:index`. Errors: those of [`usable`](super::card::usable), or the driver's own.
    pub fn open(index: usize) -> Result<Self> {
        let card = OpenCard::open(index)?;
        let mut driver = GpuDriver {
            card,
            stream: null_mut(),
            copying: [null_mut(); 2],
            allocations: Vec::new(),
            staging: None,
            host: (null_mut(), 0),
            copies: Copies::default(),
            graphs: Vec::new(),
        };
        driver.enter()?;
        driver.stream = driver.new_stream()?;
        let staging = driver.card.staging()?;
        let [copied] = driver.events(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        driver.staging = Some((staging, copied));
        Ok(driver)
    }

    fn new_stream(&self) -> Result<api::CUstream> {
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: destroyed when this is dropped.
        unsafe { got(null_mut(), |s| api::cuStreamCreate(s, flags)) }.map_err(|e| self.failed("creating a stream", e))
    }

    fn staging(&self) -> Result<&(Arc<Staging>, api::CUevent)> {
        self.staging.as_ref().ok_or_else(|| Error::Device(format!("{}: not open", self.card.name())))
    }

    fn enter(&self) -> Result<()> {
        self.card.enter()
    }

    pub(super) fn failed(&self, doing: &str, e: Fault) -> Error {
        self.card.failed(doing, e)
    }

    /// An error that may be that of a launch long before.
    pub(super) fn late(&self, doing: &str, e: Fault) -> Error {
        let hint = "if a kernel failed, CKAAD_SYNC_LAUNCHES=1 in the environment names it";
        Error::Device(format!("{}; {hint}", self.failed(doing, e)))
    }

    /// Where this part of the host buffer is.
    fn part(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.host.1, "outside of the host buffer");
        // SAFETY: inside the buffer, as just checked.
        unsafe { self.host.0.add(range.start) }
    }

    fn upload(&self, copies: &[Copy], stream: api::CUstream) -> Result<()> {
        for Copy { host, at } in copies {
            // SAFETY: the part of the host buffer is not written while a graph that copies it is on its way; the device
            // range belongs to an allocation of ours, as the session planned it.
            unsafe { api::cuMemcpyHtoDAsync_v2(*at, self.part(host).cast(), host.len(), stream) }
                .map_err(|e| self.late("copying to it", e))?;
        }
        Ok(())
    }

    fn download(&self, copies: &[Copy], stream: api::CUstream) -> Result<()> {
        for Copy { host, at } in copies {
            // SAFETY: as in `upload`; nothing reads the part before it waited for the graph.
            unsafe { api::cuMemcpyDtoHAsync_v2(self.part(host).cast(), *at, host.len(), stream) }
                .map_err(|e| self.late("copying from it", e))?;
        }
        Ok(())
    }

    /// New events, all of them or none.
    pub(super) fn events<const N: usize>(&self, flags: sys::CUevent_flags) -> Result<[api::CUevent; N]> {
        let mut made = [null_mut(); N];
        for i in 0..N {
            // SAFETY: whoever asks for an event destroys it.
            match unsafe { got(null_mut(), |e| api::cuEventCreate(e, flags as u32)) } {
                Ok(event) => made[i] = event,
                Err(e) => {
                    for event in &made[..i] {
                        // SAFETY: made above, and never recorded.
                        let _ = unsafe { api::cuEventDestroy_v2(*event) };
                    }
                    return Err(self.failed("creating an event", e));
                }
            }
        }
        Ok(made)
    }

    /// Lets `stream` go on only when `event`, recorded in `after`, is reached.
    fn order(&self, event: api::CUevent, after: api::CUstream, stream: api::CUstream) -> Result<()> {
        // SAFETY: event and streams are ours.
        unsafe { api::cuEventRecord(event, after).and_then(|()| api::cuStreamWaitEvent(stream, event, 0)) }
            .map_err(|e| self.failed("ordering its streams", e))
    }

    fn streams(&self) -> impl Iterator<Item = api::CUstream> {
        [self.copying[0], self.stream, self.copying[1]].into_iter().filter(|s| !s.is_null())
    }

    /// Waits for all of the streams. Errors are of no use here: after a lost device every call fails.
    fn settle(&self) {
        for stream in self.streams() {
            // SAFETY: the stream is ours.
            let _ = unsafe { api::cuStreamSynchronize(stream) };
        }
    }

    fn captured(&self, graph: Graph) -> Result<&Captured> {
        match self.graphs.get(graph.0) {
            Some(captured) => Ok(captured),
            None => device_error!("{}: graph {} was never captured", self.card.name(), graph.0),
        }
    }

    pub(super) fn run_graph(&self, kernels: api::CUgraphExec) -> Result<()> {
        // SAFETY: graph and stream are ours.
        unsafe { api::cuGraphLaunch(kernels, self.stream) }.map_err(|e| self.late("running a program", e))
    }

    pub(super) fn start_capture(&self) -> Result<()> {
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours.
        unsafe { api::cuStreamBeginCapture_v2(self.stream, mode) }.map_err(|e| self.failed("starting a graph", e))
    }

    pub(super) fn finish_capture(&self) -> Result<api::CUgraphExec> {
        let failed = |e| self.failed("building a graph", e);
        // SAFETY: a capture was begun on this stream; the graph is destroyed once it is instantiated.
        unsafe {
            let graph = got(null_mut(), |g| api::cuStreamEndCapture(self.stream, g)).map_err(failed)?;
            let made = got(null_mut(), |g| api::cuGraphInstantiateWithFlags(g, graph, 0));
            let _ = api::cuGraphDestroy(graph);
            made.map_err(failed)
        }
    }
}

impl Driver for GpuDriver {
    fn name(&self) -> String {
        self.card.name()
    }

    fn multiprocessors(&self) -> u32 {
        self.card.gpu.multiprocessors
    }

    fn chip(&self) -> Chip {
        self.card.gpu.chip()
    }

    fn memory(&self) -> Result<(usize, usize)> {
        self.enter()?;
        let mut total = 0;
        // SAFETY: writes two numbers.
        let free = unsafe { got(0, |free| api::cuMemGetInfo_v2(free, &mut total)) };
        Ok((free.map_err(|e| self.failed("asking for free memory", e))?, total))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.enter()?;
        // SAFETY: freed when this is dropped.
        let at = unsafe { got(0, |at| api::cuMemAlloc_v2(at, bytes.max(1))) }
            .map_err(|e| self.failed(&format!("allocating {:.1} MB", bytes as f64 / 1e6), e))?;
        self.allocations.push(at);
        Ok(at)
    }

    fn alloc_host(&mut self, bytes: usize) -> Result<()> {
        assert!(self.host.0.is_null(), "the host buffer is made once");
        self.enter()?;
        // SAFETY: freed when this is dropped.
        let memory = unsafe { got(null_mut(), |p| api::cuMemHostAlloc(p, bytes.max(1), 0)) };
        let memory: *mut u8 = memory.map_err(|e| self.failed("allocating page-locked memory", e))?.cast();
        // SAFETY: just allocated, with this length.
        unsafe { memory.write_bytes(0, bytes) };
        self.host = (memory, bytes);
        Ok(())
    }

    fn host(&self, range: Range<usize>) -> &[u8] {
        let part = self.part(&range);
        // SAFETY: inside the buffer, which lives as long as `self`; the device does not touch it now, as the caller says.
        unsafe { std::slice::from_raw_parts(part, range.len()) }
    }

    fn host_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let part = self.part(&range);
        // SAFETY: inside the buffer, which lives as long as `self` and is borrowed through it; the device does not touch it
        // now, as the caller says.
        unsafe { std::slice::from_raw_parts_mut(part, range.len()) }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        let (staging, copied) = self.staging()?;
        // SAFETY: the device range belongs to an allocation of ours, as the session planned it; stream and event are ours.
        unsafe { staging.write(at, bytes, self.stream, *copied) }.map_err(|e| self.late("copying to it", e))
    }

    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()> {
        self.enter()?;
        // SAFETY: both ranges belong to allocations of ours, as the session checked or planned them.
        unsafe { api::cuMemcpyDtoDAsync_v2(to, from.start, (from.end - from.start) as usize, self.stream) }
            .map_err(|e| self.late("copying on it", e))
    }

    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        self.enter()?;
        // SAFETY: the range belongs to an allocation of ours.
        unsafe { api::cuMemsetD8Async(range.start, 0, (range.end - range.start) as usize, self.stream) }
            .map_err(|e| self.late("clearing memory", e))
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let (staging, copied) = self.staging()?;
        // SAFETY: as in `write`.
        unsafe { staging.read(at, bytes, self.stream) }.map_err(|e| self.late("copying from it", e))?;
        staging.forget(*copied);
        Ok(())
    }

    fn load(&mut self, entries: &[&'static Entry]) -> Result<()> {
        self.card.load(entries)
    }

    fn forget(&mut self, _: Range<u64>) -> Result<()> {
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.enter()?;
        let name = launch.call.entry.name;
        let Some(function) = self.card.function(name) else { device_error!("{name} is not loaded") };
        let block = launch.call.parameters.as_ptr();
        // SAFETY: offsets lie in the block, as the registry laid it out from the PTX itself; the kernel copies the values
        // during the call; buffers are the session's.
        unsafe {
            let mut pointers: Vec<*mut c_void> =
                launch.call.entry.parameters.iter().map(|(offset, _)| block.add(*offset).cast_mut().cast()).collect();
            let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
            let parameters = pointers.as_mut_ptr();
            api::cuLaunchKernel(function.0, gx, gy, gz, bx, by, bz, launch.shared, self.stream, parameters, null_mut())
        }
        .map_err(|e| self.failed(&format!("launching {name}"), e))
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream is ours.
        unsafe { api::cuStreamSynchronize(self.stream) }.map_err(|e| self.late("running what was submitted", e))?;
        let (staging, copied) = self.staging()?;
        staging.forget(*copied);
        Ok(())
    }

    fn begin_capture(&mut self, copies: Copies) -> Result<()> {
        self.enter()?;
        for i in 0..self.copying.len() {
            // Each is kept as soon as it is there, for `drop`: the next one may fail.
            if copies.beside && self.copying[i].is_null() {
                self.copying[i] = self.new_stream()?;
            }
        }
        self.start_capture()?;
        self.copies = copies;
        if self.copies.beside {
            return Ok(());
        }
        let noted = self.upload(&self.copies.uploads, self.stream);
        if noted.is_err() {
            // SAFETY: the capture was begun above; as long as it lasts, nothing could be freed.
            let ended = unsafe { got(null_mut(), |g| api::cuStreamEndCapture(self.stream, g)) };
            // SAFETY: nothing else has this graph.
            let _ = ended.and_then(|graph| unsafe { api::cuGraphDestroy(graph) });
        }
        noted
    }

    fn end_capture(&mut self) -> Result<Graph> {
        let entered = self.enter();
        let copies = std::mem::take(&mut self.copies);
        // The capture has to end, whatever fails meanwhile.
        let noted = if copies.beside { Ok(()) } else { self.download(&copies.downloads, self.stream) };
        let ended = self.finish_capture().map(|kernels| self.graphs.push(Captured { kernels, copies, stages: None }));
        // A copy that failed may have spoilt the capture: its own error says more.
        entered.and(noted).and(ended)?;
        if let Some(last) = self.graphs.last().filter(|g| g.copies.beside).map(|_| self.graphs.len() - 1) {
            self.graphs[last].stages = Some(self.events(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?);
        }
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<()> {
        self.enter()?;
        let Captured { kernels, copies, stages } = self.captured(graph)?;
        let Some([uploaded, computed, done]) = *stages else { return self.run_graph(*kernels) };
        let [to, from] = self.copying;
        let begun = || {
            self.upload(&copies.uploads, to)?;
            self.order(uploaded, to, self.stream)?;
            self.run_graph(*kernels)?;
            self.order(computed, self.stream, from)?;
            self.download(&copies.downloads, from)?;
            // SAFETY: event and stream are ours.
            unsafe { api::cuEventRecord(done, from) }.map_err(|e| self.failed("recording an event", e))
        };
        // Where it ends halfway, copies are on their way from places that are filled again for the next run.
        begun().inspect_err(|_| self.settle())
    }

    fn wait(&self, graph: Graph) -> Result<()> {
        let Some([.., done]) = self.captured(graph)?.stages else { return self.synchronize() };
        self.enter()?;
        // SAFETY: the event is ours.
        unsafe { api::cuEventSynchronize(done) }.map_err(|e| self.late("running a program", e))
    }

    fn measure(&mut self, launch: &Launch, repetitions: usize) -> Result<Cost> {
        self.enter()?;
        self.seconds(&mut |driver| driver.launch(launch), repetitions).map(Cost::Seconds)
    }
}

impl Drop for GpuDriver {
    /// Errors are of no use here: after a lost device every call fails.
    fn drop(&mut self) {
        let _ = self.enter();
        self.settle();
        // SAFETY: everything was made by this driver and is freed once, after the work that uses it.
        unsafe {
            if let Some((staging, copied)) = self.staging.take() {
                staging.forget(copied);
                let _ = api::cuEventDestroy_v2(copied);
            }
            for graph in &self.graphs {
                let _ = api::cuGraphExecDestroy(graph.kernels);
                for event in graph.stages.iter().flatten() {
                    let _ = api::cuEventDestroy_v2(*event);
                }
            }
            for at in &self.allocations {
                let _ = api::cuMemFree_v2(*at);
            }
            if !self.host.0.is_null() {
                let _ = api::cuMemFreeHost(self.host.0.cast());
            }
            for stream in self.streams() {
                let _ = api::cuStreamDestroy_v2(stream);
            }
        }
    }
}
