//! Puts work into streams: into the queue, or into a graph while the stream is captured; events, and launches of graphs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::driver::{Driver, Event, Recorded, thread};
use crate::graph::{Executable, Node};
use crate::perform::digest;
use crate::queue::{New, Point};
use crate::status::{Result, Status};
use crate::work::{Place, Shape, Work};

/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;
/// What memory that a copy is going to write holds until then.
const STALE: u8 = 0xa5;

impl Driver {
    /// The stream that a program's handle means: one without a handle is of the current context, the others may be of any.
    pub fn stream(&mut self, handle: u64) -> Result<u64> {
        let current = self.current()?;
        let context = self.contexts.get(current, self.name)?;
        match handle {
            0 | LEGACY => return Ok(context.legacy),
            PER_THREAD => {
                let thread = thread();
                if let Some(stream) = context.per_thread.get(&thread) {
                    return Ok(*stream);
                }
                let stream = self.add_stream(current, true, true);
                self.contexts.get_mut(current, self.name)?.per_thread.insert(thread, stream);
                return Ok(stream);
            }
            _ => {}
        }
        self.works(handle).map(|()| handle)
    }

    /// An event, or the error of what failed in its context, which need not be the current one.
    pub fn event(&self, handle: u64) -> Result<&Event> {
        let event = self.events.get(handle, self.name)?;
        self.contexts.get(event.context, self.name)?.failed.map_or(Ok(event), Err)
    }

    /// The same for a kernel, which must be of the stream's context.
    pub fn own_stream(&mut self, handle: u64) -> Result<u64> {
        let stream = self.stream(handle)?;
        if self.streams.get(stream, self.name)?.context != self.current()? {
            let text = format!("a kernel in the stream {handle:#x}, which is of another context than the current one");
            return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_HANDLE));
        }
        Ok(stream)
    }

    /// What the next piece of a stream comes behind.
    fn behind(&self, stream: u64) -> Result<Point> {
        let s = self.streams.get(stream, self.name)?;
        let mut point = s.tail.clone();
        let legacy = self.contexts.get(s.context, self.name)?.legacy;
        if stream == legacy {
            let others = self.streams.iter().filter(|(_, o)| o.context == s.context && o.blocking);
            others.for_each(|(_, other)| point.join(&other.tail));
            point.join(&self.contexts.get(s.context, self.name)?.left_blocking);
        } else if s.blocking {
            point.join(&self.streams.get(legacy, self.name)?.tail);
        }
        Ok(point)
    }

    /// Puts work into a stream; the point behind it, unless it is only noted by a capture.
    pub fn submit(&mut self, stream: u64, work: Work) -> Result<Option<Point>> {
        let call = self.here();
        if let Some((number, after)) = self.capture_of(stream)? {
            let context = self.streams.get(stream, self.name)?.context;
            let node = self.recorded(number)?.add(Node::new(work, &after, &call, context));
            self.noted(number, node..node + 1);
            self.streams.get_mut(stream, self.name)?.capture = Some((number, vec![node]));
            return Ok(None);
        }
        self.not_implied(stream)?;
        let after = self.behind(stream)?;
        let work = Arc::new(work);
        self.spoil(&work, &[]);
        let s = self.streams.get(stream, self.name)?;
        let (lane, context) = (s.lane, s.context);
        let new = New { digest: self.digest(&work), work, call, context };
        let point = self.queue.submit(&after, lane, new);
        self.set_tail(stream, point.clone())?;
        Ok(Some(point))
    }

    fn set_tail(&mut self, stream: u64, tail: Point) -> Result {
        let s = self.streams.get_mut(stream, self.name)?;
        s.tail = tail;
        self.used += usize::from(!std::mem::replace(&mut s.used, true));
        self.noting |= self.used > 1;
        Ok(())
    }

    /// What page-locked bytes hold now that a copy is going to read.
    fn digest(&self, work: &Work) -> Option<u64> {
        let Work::Copy { from: Place::Host(at), shape, .. } = work else { return None };
        self.locked.holds(*at, shape.extent(shape.from_pitch)).then(|| digest(&shape.source(*at)))
    }

    /// Overwrites page-locked memory that a copy is going to write, unless other work uses it: who reads it too early shall
    /// see that.
    fn spoil(&self, work: &Work, together: &[Arc<Work>]) {
        let Work::Copy { to: Place::Host(at), shape, .. } = work else { return };
        let bytes = shape.target(*at);
        // A function of the host may use any of it.
        let uses = |work: &Work| matches!(work, Work::Call(_)) || self.uses_host(work, &bytes);
        let used = self.queue.any(uses) || together.iter().filter(|other| uses(other)).count() > 1;
        if used || !self.locked.holds(*at, shape.extent(shape.to_pitch)) {
            return;
        }
        for row in bytes.rows() {
            // SAFETY: page-locked memory that the program gave to be written.
            unsafe { std::ptr::write_bytes(row.start as *mut u8, STALE, (row.end - row.start) as usize) };
        }
    }

    /// Whether all of a range is device memory that the program has; host memory counts as not.
    pub fn is_device(&self, at: u64) -> bool {
        self.reserved.contains(&at)
    }

    /// Refuses a device range that is not in one allocation.
    pub fn check_range(&self, at: u64, bytes: u64) -> Result {
        let inside = self
            .given
            .range(..=at)
            .next_back()
            .is_some_and(|(start, g)| at - start <= g.bytes && bytes <= g.bytes - (at - start));
        if inside || bytes == 0 {
            return Ok(());
        }
        let text = format!("{bytes} bytes at {at:#x} are in no allocation");
        Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE))
    }

    /// Refuses what is said to be a card's memory and is neither that nor page-locked: a card does not see what else the program has.
    pub fn check_device(&self, at: u64, bytes: u64) -> Result {
        if bytes == 0 || self.is_device(at) || self.locked.at(at).is_some() {
            return Ok(());
        }
        let text = format!("{at:#x} is neither device memory nor page-locked");
        Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE))
    }

    /// Refuses a copy from or to where there is no memory.
    pub fn check_copy(&self, from: u64, to: u64, shape: Shape) -> Result {
        let Some([source, target]) = shape.extents(from, to) else {
            let Shape { width, rows, from_pitch, to_pitch } = shape;
            let text = format!(
                "{rows} rows of {width} bytes, {from_pitch} and {to_pitch} apart, are more than there are addresses for"
            );
            return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        };
        for (at, bytes) in [(from, source), (to, target)] {
            if self.is_device(at) {
                self.check_range(at, bytes)?;
            } else if at == 0 {
                return Err(self.wrong("a null pointer to copy from or to", Status::CUDA_ERROR_INVALID_VALUE));
            } else if self.locked.touches(at, bytes) && !self.locked.holds(at, bytes) {
                let text = format!("of {bytes} bytes at {at:#x}, some are in page-locked memory and others are not");
                return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
            }
        }
        if shape.overlaps(from, to) {
            let text = format!("{from:#x} is copied to {to:#x}, and the two overlap: what comes of it is not defined");
            self.report(&text);
        }
        Ok(())
    }

    /// Where so many bytes at an address are, for work that comes later.
    pub fn place(&self, at: u64, bytes: u64) -> Place {
        match () {
            () if self.is_device(at) => Place::Device(at),
            () if self.locked.holds(at, bytes) => Place::Host(at),
            () => Place::Pageable(at),
        }
    }

    /// A copy between any two places, in a stream. Pageable memory is read before this returns, and written before it, too.
    pub fn copy_in(&mut self, stream: u64, from: u64, to: u64, shape: Shape) -> Result {
        if shape.width == 0 || shape.rows == 0 {
            return Ok(());
        }
        self.check_copy(from, to, shape)?;
        let (source, target) = (shape.extent(shape.from_pitch), shape.extent(shape.to_pitch));
        let (mut source, target) = (self.place(from, source), self.place(to, target));
        let (pages_in, pages_out) = (matches!(source, Place::Pageable(_)), matches!(target, Place::Pageable(_)));
        let captured = self.capture_of(stream)?.is_some();
        if captured && (pages_in || pages_out) {
            let at = if pages_in { from } else { to };
            self.report(&format!("a captured copy of pageable memory at {at:#x}"));
        }
        if pages_in && !captured {
            let len = shape.extent(shape.from_pitch) as usize;
            // SAFETY: memory of the program that it gave to be copied, in this call.
            let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, len) };
            source = Place::Taken(bytes.into());
        }
        match self.submit(stream, Work::Copy { from: source, to: target, shape })? {
            Some(point) if pages_out => self.wait(&point),
            _ => Ok(()),
        }
    }

    /// The same in the legacy stream, done when this returns, unless no memory of the host takes part: the host does not wait for what
    /// a card does alone.
    pub fn copy_now(&mut self, from: u64, to: u64, shape: Shape) -> Result {
        let stream = self.stream(0)?;
        self.copy_in(stream, from, to, shape)?;
        if self.is_device(from) && self.is_device(to) {
            return Ok(());
        }
        let tail = self.streams.get(stream, self.name)?.tail.clone();
        self.wait(&tail)
    }

    /// Records an event; `external`: as a node of the capture that the stream takes part in.
    pub fn record(&mut self, event: u64, stream: u64, external: bool) -> Result {
        if self.event(event)?.context != self.streams.get(stream, self.name)?.context {
            let text = "event and stream are of different contexts";
            return Err(self.wrong(text, Status::CUDA_ERROR_INVALID_HANDLE));
        }
        if external {
            return self.external(stream, Work::Record(event, 0));
        }
        if let Some((number, nodes)) = self.capture_of(stream)? {
            self.events.get_mut(event, self.name)?.recorded = Recorded::Captured(number, nodes);
            return Ok(());
        }
        let number = self.events.get(event, self.name)?.records + 1;
        if let Some(point) = self.submit(stream, Work::Record(event, number))? {
            let event = self.events.get_mut(event, self.name)?;
            (event.records, event.recorded) = (number, Recorded::At(point));
        }
        Ok(())
    }

    /// Makes what is to be done with an event at every launch a node of a capture.
    fn external(&mut self, stream: u64, work: Work) -> Result {
        if self.capture_of(stream)?.is_none() {
            let text = "the flag for external events is for captures alone";
            return Err(self.wrong(text, Status::CUDA_ERROR_INVALID_VALUE));
        }
        self.submit(stream, work).map(drop)
    }

    /// Lets what comes next in a stream come behind an event; `external`: by a node of the capture that it takes part in.
    pub fn wait_event(&mut self, stream: u64, event: u64, external: bool) -> Result {
        if external {
            self.event(event)?;
            return self.external(stream, Work::Wait(event));
        }
        let capturing = self.capture_of(stream)?;
        self.not_implied(stream)?;
        match (&self.event(event)?.recorded, capturing) {
            (Recorded::Never, _) => Ok(()),
            (Recorded::At(point), None) => {
                let point = point.clone();
                let mut tail = self.behind(stream)?;
                tail.join(&point);
                self.set_tail(stream, tail)
            }
            (Recorded::At(_), Some((number, _))) => {
                if let Some(capture) = self.captures.get_mut(&number) {
                    capture.invalid = true;
                }
                let text = "a captured stream waits for an event that was recorded outside of the capture";
                Err(self.wrong(text, Status::CUDA_ERROR_STREAM_CAPTURE_ISOLATION))
            }
            (Recorded::Captured(theirs, nodes), mine) => {
                let (theirs, mut all) = (*theirs, nodes.clone());
                match mine {
                    Some((number, _)) if number != theirs => {
                        return Err(self.wrong("an event of another capture", Status::CUDA_ERROR_STREAM_CAPTURE_MERGE));
                    }
                    Some((_, nodes)) => all.extend(nodes.into_iter().filter(|n| !all.contains(n)).collect::<Vec<_>>()),
                    None => {}
                }
                if !self.captures.contains_key(&theirs) {
                    return Err(self.wrong("an event of a capture that has ended", Status::CUDA_ERROR_CAPTURED_EVENT));
                }
                self.streams.get_mut(stream, self.name)?.capture = Some((theirs, all));
                Ok(())
            }
        }
    }

    /// The error of what failed in a stream's context, which need not be the current one.
    pub fn works(&self, stream: u64) -> Result {
        let context = self.streams.get(stream, self.name)?.context;
        self.contexts.get(context, self.name)?.failed.map_or(Ok(()), Err)
    }

    /// By their places: points that nodes wait for. Those are what was recorded before the launch.
    fn waits(&self, nodes: &[Node]) -> Result<HashMap<usize, Point>> {
        let mut waits = HashMap::new();
        for (place, node) in nodes.iter().enumerate() {
            let Work::Wait(event) = *node.work else { continue };
            match &self.events.get(event, self.name)?.recorded {
                Recorded::At(point) => drop(waits.insert(place, point.clone())),
                Recorded::Never => {}
                Recorded::Captured(..) => {
                    return Err(self.wrong("an event of a capture", Status::CUDA_ERROR_CAPTURED_EVENT));
                }
            }
        }
        Ok(waits)
    }

    /// Submits all nodes of a graph.
    pub fn launch_graph(&mut self, handle: u64, stream: u64) -> Result {
        for node in &self.executables.get(handle, self.name)?.0.graph.nodes {
            if let Work::Kernel(kernel) = &*node.work
                && !self.functions.has(kernel.function)
            {
                let text = format!("the module of {} was unloaded", node.work);
                return Err(self.wrong(&text, Status::CUDA_ERROR_INVALID_HANDLE));
            }
        }
        if let Some((number, after)) = self.capture_of(stream)? {
            let mut graph = self.executables.get(handle, self.name)?.0.graph.clone();
            // They are nodes of what is captured now.
            graph.nodes.iter_mut().for_each(|node| node.handle = None);
            let all = self.recorded(number)?;
            let first = all.nodes.len();
            let ends = all.append(&graph, &after);
            self.noted(number, first..first + graph.nodes.len());
            self.streams.get_mut(stream, self.name)?.capture = Some((number, ends));
            return Ok(());
        }
        self.not_implied(stream)?;
        let mut first = self.behind(stream)?;
        let (Executable { graph, chains, count, sinks, last, .. }, _) = self.executables.get(handle, self.name)?;
        first.join(last);
        let (mut nodes, chains, count, sinks) = (graph.nodes.clone(), chains.clone(), *count, sinks.clone());
        nodes.iter_mut().filter(|node| !node.enabled).for_each(|node| node.work = Arc::new(Work::Empty));
        let lane = self.streams.get(stream, self.name)?.lane;
        nodes.iter().try_for_each(|node| self.contexts.get(node.context, self.name).map(drop))?;
        let waits = self.waits(&nodes)?;
        let recorded = |(place, node): (usize, &Node)| match *node.work {
            Work::Record(event, _) => Some((place, event)),
            _ => None,
        };
        let records: Vec<(usize, u64)> = nodes.iter().enumerate().filter_map(recorded).collect();
        records.iter().try_for_each(|(_, event)| self.events.get(*event, self.name).map(drop))?;
        let own = &mut self.executables.get_mut(handle, self.name)?.0.lanes;
        own.resize_with(count.saturating_sub(1), || self.queue.lane());
        let lanes: Vec<u64> = [lane].iter().chain(own.iter()).copied().collect();
        self.noting |= count > 1;
        let works: Vec<Arc<Work>> = nodes.iter().map(|n| n.work.clone()).collect();
        works.iter().for_each(|work| self.spoil(work, &works));
        let mut points: Vec<Point> = Vec::with_capacity(nodes.len());
        for (place, (node, chain)) in nodes.iter().zip(chains).enumerate() {
            let mut after = if node.after.is_empty() { first.clone() } else { Point::default() };
            node.after.iter().for_each(|&before| after.join(&points[before]));
            if let Some(point) = waits.get(&place) {
                after.join(point);
            }
            let digest = if rewritten(&node.work, &works) { None } else { self.digest(&node.work) };
            let work = match &*node.work {
                Work::Record(event, _) => {
                    let recorded = self.events.get_mut(*event, self.name)?;
                    recorded.records += 1;
                    Arc::new(Work::Record(*event, recorded.records))
                }
                _ => node.work.clone(),
            };
            let new = New { digest, work, call: node.call.clone(), context: node.context };
            points.push(self.queue.submit(&after, lanes[chain], new));
        }
        for (place, event) in records {
            self.events.get_mut(event, self.name)?.recorded = Recorded::At(points[place].clone());
        }
        let mut tail = if nodes.is_empty() { first } else { Point::default() };
        sinks.iter().for_each(|&sink| tail.join(&points[sink]));
        self.executables.get_mut(handle, self.name)?.0.last = tail.clone();
        self.set_tail(stream, tail)
    }
}

/// Whether one of several pieces writes the host's bytes that a copy reads.
fn rewritten(copy: &Work, all: &[Arc<Work>]) -> bool {
    let Work::Copy { from: Place::Host(at), shape, .. } = copy else { return false };
    let read = shape.source(*at);
    all.iter().any(|work| match &**work {
        Work::Call(_) => true,
        Work::Copy { to: Place::Host(at), shape, .. } => shape.target(*at).touches(&read),
        _ => false,
    })
}
