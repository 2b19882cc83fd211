//! The [`Driver`] for a GPU, over `cudarc`'s bindings of the CUDA driver API. The library is loaded when first asked for:
//! a build needs no CUDA, and a machine without it gets a message.

use super::Driver;
use super::card::OpenCard;
use super::driver::{Copies, Copy, Graph};
use crate::engine::device::Cost;
use crate::engine::toolkit::cuda::{Entry, Launch};
use crate::{Error, Result, device_error};
use cudarc::driver::{DriverError, result, sys};
use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;

/// Page-locked memory that single copies go through, in bytes: half for each direction.
const STAGING: usize = 16 << 20;
/// Launches in a row whose time is taken at once: one alone is shorter than what an event resolves.
const BURST: usize = 20;

/// One GPU and a stream of work on it.
pub struct GpuDriver {
    card: Arc<OpenCard>,
    stream: sys::CUstream,
    /// Copies to the device beside kernels, and from it.
    copying: [sys::CUstream; 2],
    allocations: Vec<u64>,
    staging: *mut u8,
    /// Bytes of the first half of the staging memory that copies in flight may read.
    staged: Cell<usize>,
    host: (*mut u8, usize),
    /// Of the graph that is being captured.
    copies: Copies,
    graphs: Vec<Captured>,
}

struct Captured {
    kernels: sys::CUgraphExec,
    copies: Copies,
    /// Where `copies.beside`: the input is there, the kernels are done, the output is there.
    stages: Option<[sys::CUevent; 3]>,
}

// SAFETY: the handles are the driver's own and may be used from any thread in whose turn the context is made current,
// which every method does first; the pointers are to memory that this driver alone owns.
unsafe impl Send for GpuDriver {}

impl GpuDriver {
    /// Opens `cuda:index`. Errors: those of [`usable`](super::card::usable), or the driver's own.
    pub fn open(index: usize) -> Result<Self> {
        let card = OpenCard::open(index)?;
        let null = std::ptr::null_mut();
        let mut driver = GpuDriver {
            card,
            stream: null,
            copying: [null; 2],
            allocations: Vec::new(),
            staging: std::ptr::null_mut(),
            staged: Cell::new(0),
            host: (std::ptr::null_mut(), 0),
            copies: Copies::default(),
            graphs: Vec::new(),
        };
        driver.enter()?;
        driver.stream = driver.new_stream()?;
        driver.staging = driver.page_locked(STAGING)?;
        Ok(driver)
    }

    fn new_stream(&self) -> Result<sys::CUstream> {
        result::stream::create(result::stream::StreamKind::NonBlocking).map_err(|e| self.failed("creating a stream", e))
    }

    fn page_locked(&self, bytes: usize) -> Result<*mut u8> {
        // SAFETY: freed when this is dropped.
        let memory = unsafe { result::malloc_host(bytes, 0) };
        Ok(memory.map_err(|e| self.failed("allocating page-locked memory", e))?.cast())
    }

    fn enter(&self) -> Result<()> {
        self.card.enter()
    }

    fn failed(&self, doing: &str, e: DriverError) -> Error {
        self.card.failed(doing, e)
    }

    /// An error that may be that of a launch long before.
    fn late(&self, doing: &str, e: DriverError) -> Error {
        let hint = "if a kernel failed, CKAAD_SYNC_LAUNCHES=1 in the environment names it";
        Error::Device(format!("{}; {hint}", self.failed(doing, e)))
    }

    fn part(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.host.1, "outside of the host buffer");
        // SAFETY: inside the buffer, as just checked.
        unsafe { self.host.0.add(range.start) }
    }

    fn upload(&self, copies: &[Copy], stream: sys::CUstream) -> Result<()> {
        for Copy { host, at } in copies {
            // SAFETY: the part of the host buffer is not written while a graph that copies it is on its way; the device
            // range belongs to an allocation of ours, as the session planned it.
            unsafe { result::memcpy_htod_async(*at, std::slice::from_raw_parts(self.part(host), host.len()), stream) }
                .map_err(|e| self.late("copying to it", e))?;
        }
        Ok(())
    }

    fn download(&self, copies: &[Copy], stream: sys::CUstream) -> Result<()> {
        for Copy { host, at } in copies {
            // SAFETY: as in `upload`; nothing reads the part before it waited for the graph.
            unsafe {
                let part = std::slice::from_raw_parts_mut(self.part(host), host.len());
                result::memcpy_dtoh_async(part, *at, stream)
            }
            .map_err(|e| self.late("copying from it", e))?;
        }
        Ok(())
    }

    /// New events, all of them or none.
    fn events<const N: usize>(&self, flags: sys::CUevent_flags) -> Result<[sys::CUevent; N]> {
        let mut made = [std::ptr::null_mut(); N];
        for i in 0..N {
            match result::event::create(flags) {
                Ok(event) => made[i] = event,
                Err(e) => {
                    for event in &made[..i] {
                        // SAFETY: made above, and never recorded.
                        let _ = unsafe { result::event::destroy(*event) };
                    }
                    return Err(self.failed("creating an event", e));
                }
            }
        }
        Ok(made)
    }

    /// Lets `stream` go on only when `event`, recorded in `after`, is reached.
    fn order(&self, event: sys::CUevent, after: sys::CUstream, stream: sys::CUstream) -> Result<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and streams are ours.
        unsafe { result::event::record(event, after).and_then(|()| result::stream::wait_event(stream, event, flags)) }
            .map_err(|e| self.failed("ordering its streams", e))
    }

    fn captured(&self, graph: Graph) -> Result<&Captured> {
        match self.graphs.get(graph.0) {
            Some(captured) => Ok(captured),
            None => device_error!("{}: graph {} was never captured", self.card.name(), graph.0),
        }
    }

    fn run_graph(&self, kernels: sys::CUgraphExec) -> Result<()> {
        // SAFETY: graph and stream are ours.
        unsafe { result::graph::launch(kernels, self.stream) }.map_err(|e| self.late("running a program", e))
    }

    fn start_capture(&self) -> Result<()> {
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(|e| self.failed("starting a graph", e))
    }

    fn finish_capture(&self) -> Result<sys::CUgraphExec> {
        let failed = |e| self.failed("building a graph", e);
        // SAFETY: a capture was begun on this stream; the graph is destroyed once it is instantiated.
        unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(failed)?;
            let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags_enum(0));
            let _ = result::graph::destroy(graph);
            made.map_err(failed)
        }
    }

    /// Seconds of one launch of `burst`, which holds [`BURST`] of them, again and again.
    fn time(&self, burst: sys::CUgraphExec, repetitions: usize) -> Result<Vec<f64>> {
        let [start, end] = self.events(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        let once = || {
            // SAFETY: events and stream are ours.
            unsafe { result::event::record(start, self.stream) }.map_err(|e| self.failed("recording an event", e))?;
            self.run_graph(burst)?;
            // SAFETY: as above; both events were recorded.
            let milliseconds = unsafe {
                result::event::record(end, self.stream)
                    .and_then(|()| result::event::synchronize(end))
                    .and_then(|()| result::event::elapsed(start, end))
            }
            .map_err(|e| self.late("timing a kernel", e))?;
            Ok(f64::from(milliseconds) / 1e3 / BURST as f64)
        };
        let warm = once();
        let times = warm.and_then(|_| (0..repetitions).map(|_| once()).collect());
        for event in [start, end] {
            // SAFETY: made above, and nothing waits for it any more.
            let _ = unsafe { result::event::destroy(event) };
        }
        times
    }
}

impl Driver for GpuDriver {
    fn name(&self) -> String {
        self.card.name()
    }

    fn multiprocessors(&self) -> u32 {
        self.card.gpu.multiprocessors
    }

    fn capability(&self) -> (i32, i32) {
        self.card.gpu.compute_capability
    }

    fn memory(&self) -> Result<(usize, usize)> {
        self.enter()?;
        result::mem_get_info().map_err(|e| self.failed("asking for free memory", e))
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        self.enter()?;
        // SAFETY: freed when this is dropped.
        let at = unsafe { result::malloc_sync(bytes.max(1)) }
            .map_err(|e| self.failed(&format!("allocating {:.1} MB", bytes as f64 / 1e6), e))?;
        self.allocations.push(at);
        Ok(at)
    }

    fn alloc_host(&mut self, bytes: usize) -> Result<()> {
        assert!(self.host.0.is_null(), "the host buffer is made once");
        self.enter()?;
        let memory = self.page_locked(bytes.max(1))?;
        // SAFETY: just allocated, with this length.
        unsafe { memory.write_bytes(0, bytes) };
        self.host = (memory, bytes);
        Ok(())
    }

    fn host(&mut self, range: Range<usize>) -> &mut [u8] {
        let part = self.part(&range);
        // SAFETY: inside the buffer, which lives as long as `self` and is borrowed through it; the device does not touch it
        // now, as the caller says.
        unsafe { std::slice::from_raw_parts_mut(part, range.len()) }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        let mut at = at;
        for chunk in bytes.chunks(STAGING / 2) {
            if self.staged.get() + chunk.len() > STAGING / 2 {
                self.synchronize()?;
            }
            let used = self.staged.get();
            // SAFETY: [used, used + len) lies in the first half, and no copy in flight reads it; the device range belongs
            // to an allocation of ours, as the session planned it.
            unsafe {
                let part = std::slice::from_raw_parts_mut(self.staging.add(used), chunk.len());
                part.copy_from_slice(chunk);
                result::memcpy_htod_async(at, part, self.stream)
            }
            .map_err(|e| self.late("copying to it", e))?;
            self.staged.set(used + chunk.len());
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()> {
        self.enter()?;
        // SAFETY: both ranges belong to allocations of ours, as the session checked or planned them.
        unsafe { result::memcpy_dtod_async(to, from.start, (from.end - from.start) as usize, self.stream) }
            .map_err(|e| self.late("copying on it", e))
    }

    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        self.enter()?;
        // SAFETY: the range belongs to an allocation of ours.
        unsafe { result::memset_d8_async(range.start, 0, (range.end - range.start) as usize, self.stream) }
            .map_err(|e| self.late("clearing memory", e))
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let failed = |e| self.late("copying from it", e);
        let mut at = at;
        for chunk in bytes.chunks_mut(STAGING / 2) {
            // SAFETY: the second half is used by reads alone, one at a time since the driver is in one thread at a time, and
            // each waits for its end.
            unsafe {
                let part = std::slice::from_raw_parts_mut(self.staging.add(STAGING / 2), chunk.len());
                result::memcpy_dtoh_async(part, at, self.stream).map_err(failed)?;
                result::stream::synchronize(self.stream).map_err(failed)?;
                chunk.copy_from_slice(part);
            }
            self.staged.set(0);
            at += chunk.len() as u64;
        }
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
            result::launch_kernel(function.0, (gx, gy, gz), (bx, by, bz), launch.shared, self.stream, &mut pointers)
        }
        .map_err(|e| self.failed(&format!("launching {name}"), e))
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream is ours.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| self.late("running what was submitted", e))?;
        self.staged.set(0);
        Ok(())
    }

    fn begin_capture(&mut self, copies: Copies) -> Result<()> {
        self.enter()?;
        if copies.beside && self.copying[0].is_null() {
            self.copying = [self.new_stream()?, self.new_stream()?];
        }
        self.start_capture()?;
        self.copies = copies;
        if self.copies.beside {
            return Ok(());
        }
        let noted = self.upload(&self.copies.uploads, self.stream);
        if noted.is_err() {
            // SAFETY: the capture was begun above; as long as it lasts, nothing could be freed.
            let ended = unsafe { result::stream::end_capture(self.stream) };
            // SAFETY: nothing else has this graph.
            let _ = ended.and_then(|graph| unsafe { result::graph::destroy(graph) });
        }
        noted
    }

    fn end_capture(&mut self) -> Result<Graph> {
        let entered = self.enter();
        let copies = std::mem::take(&mut self.copies);
        // The capture has to end, whatever fails meanwhile.
        let noted = if copies.beside { Ok(()) } else { self.download(&copies.downloads, self.stream) };
        let kernels = self.finish_capture()?;
        self.graphs.push(Captured { kernels, copies, stages: None });
        entered.and(noted)?;
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
        self.upload(&copies.uploads, to)?;
        self.order(uploaded, to, self.stream)?;
        self.run_graph(*kernels)?;
        self.order(computed, self.stream, from)?;
        self.download(&copies.downloads, from)?;
        // SAFETY: event and stream are ours.
        unsafe { result::event::record(done, from) }.map_err(|e| self.failed("recording an event", e))
    }

    fn wait(&self, graph: Graph) -> Result<()> {
        let Some([.., done]) = self.captured(graph)?.stages else { return self.synchronize() };
        self.enter()?;
        // SAFETY: the event is ours.
        unsafe { result::event::synchronize(done) }.map_err(|e| self.late("running a program", e))
    }

    fn measure(&mut self, launch: &Launch, repetitions: usize) -> Result<Cost> {
        self.enter()?;
        self.start_capture()?;
        let submitted = (0..BURST).try_for_each(|_| self.launch(launch));
        let burst = self.finish_capture();
        submitted?;
        let burst = burst?;
        let times = self.time(burst, repetitions);
        // SAFETY: made above, and it has run.
        let _ = unsafe { result::graph::exec_destroy(burst) };
        Ok(Cost::Seconds(times?))
    }
}

impl Drop for GpuDriver {
    /// Errors are of no use here: after a lost device every call fails.
    fn drop(&mut self) {
        let _ = self.enter();
        // SAFETY: everything was made by this driver and is freed once, after the work that uses it.
        unsafe {
            let streams = [self.copying[0], self.stream, self.copying[1]];
            for stream in streams.iter().filter(|s| !s.is_null()) {
                let _ = result::stream::synchronize(*stream);
            }
            for graph in &self.graphs {
                let _ = result::graph::exec_destroy(graph.kernels);
                for event in graph.stages.iter().flatten() {
                    let _ = result::event::destroy(*event);
                }
            }
            for at in &self.allocations {
                let _ = result::free_sync(*at);
            }
            for memory in [self.staging, self.host.0].into_iter().filter(|m| !m.is_null()) {
                let _ = result::free_host(memory.cast());
            }
            for stream in streams.iter().filter(|s| !s.is_null()) {
                let _ = result::stream::destroy(*stream);
            }
        }
    }
}
