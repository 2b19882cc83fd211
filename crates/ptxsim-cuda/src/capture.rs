//! Captures: begun, asked about, ended; and what is refused while there are some.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::driver::{Driver, Kept, MODE, Stream, thread};
use crate::graph::{Capture, Graph, Mode};
use crate::report::{Call, found};
use crate::status::{Result, Status};

impl Driver {
    pub fn begin_capture(&mut self, stream: u64, mode: Mode) -> Result {
        let s = self.streams.get(stream, self.name)?;
        if s.capture.is_some() {
            return Err(self.wrong("the stream is being captured", Status::CUDA_ERROR_ILLEGAL_STATE));
        }
        if stream == self.contexts.get(s.context, self.name)?.legacy {
            return Err(
                self.wrong("the legacy stream cannot be captured", Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
            );
        }
        self.captured += 1;
        let (number, thread) = (self.captured, thread());
        let (graph, call) = (Graph::default(), self.here());
        let (noted, told, edges) = (BTreeSet::new(), vec![], vec![]);
        let (origin, invalid, handle) = (stream, false, None);
        let capture = Capture { graph, mode, thread, origin, invalid, noted, handle, told, edges, call };
        self.captures.insert(number, capture);
        self.streams.get_mut(stream, self.name)?.capture = Some((number, vec![]));
        Ok(())
    }

    /// The capture that a stream takes part in, if it can still take more.
    pub fn capture_of(&mut self, stream: u64) -> Result<Option<(u64, Vec<usize>)>> {
        let Some((number, nodes)) = self.streams.get(stream, self.name)?.capture.clone() else { return Ok(None) };
        match self.captures.get(&number) {
            Some(capture) if capture.invalid => Err(Status::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
            Some(_) => Ok(Some((number, nodes))),
            None => Ok(None),
        }
    }

    /// The graph of a capture.
    pub fn recorded(&mut self, number: u64) -> Result<&mut Graph> {
        let capture = self.captures.get_mut(&number).ok_or(Status::CUDA_ERROR_ILLEGAL_STATE)?;
        match capture.handle {
            Some(handle) => Ok(&mut self.graphs.get_mut(handle, self.name)?.graph),
            None => Ok(&mut capture.graph),
        }
    }

    /// Streams have put nodes at these places into a capture.
    pub fn noted(&mut self, number: u64, places: Range<usize>) {
        if let Some(capture) = self.captures.get_mut(&number) {
            capture.noted.extend(places);
        }
    }

    /// Where the program finds what is known of a stream's capture: the graph that it becomes, and which of its nodes the next one comes
    /// behind, with the data of those edges, and how many. Nothing if the stream takes part in none.
    pub fn capture_info(&mut self, stream: u64) -> Result<Option<(u64, [usize; 3])>> {
        let Ok(Some((number, last))) = self.capture_of(stream) else { return Ok(None) };
        let call = self.here();
        let capture = self.captures.get_mut(&number).ok_or(Status::CUDA_ERROR_ILLEGAL_STATE)?;
        let graph = &mut capture.graph;
        let new = || self.graphs.insert(Kept { graph: std::mem::take(graph), owner: None, call });
        let handle = *capture.handle.get_or_insert_with(new);
        let handles = self.handles(handle)?;
        let capture = self.captures.get_mut(&number).ok_or(Status::CUDA_ERROR_ILLEGAL_STATE)?;
        capture.told = last.iter().filter_map(|place| handles.get(*place)).copied().collect();
        capture.edges = vec![0; capture.told.len()];
        let count = capture.told.len();
        let at = |list: &[u64]| if list.is_empty() { 0 } else { list.as_ptr() as usize };
        Ok(Some((handle, [at(&capture.told), at(&capture.edges), count])))
    }

    /// Ends a capture; handle of the graph that it becomes.
    pub fn end_capture(&mut self, stream: u64) -> Result<u64> {
        let Some((number, last)) = self.streams.get(stream, self.name)?.capture.clone() else {
            return Err(self.wrong("the stream is not being captured", Status::CUDA_ERROR_ILLEGAL_STATE));
        };
        let (here, Some(capture)) = (thread(), self.captures.get(&number)) else {
            return Err(Status::CUDA_ERROR_ILLEGAL_STATE);
        };
        if capture.origin != stream {
            return Err(self.wrong("the capture began in another stream", Status::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED));
        }
        if capture.mode != Mode::Relaxed && capture.thread != here {
            return Err(
                self.wrong("the capture began in another thread", Status::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
            );
        }
        let Some(capture) = self.captures.remove(&number) else { return Err(Status::CUDA_ERROR_ILLEGAL_STATE) };
        for (_, s) in self.streams.iter_mut().filter(|(_, s)| s.capture.as_ref().is_some_and(|c| c.0 == number)) {
            s.capture = None;
        }
        let Capture { graph, handle, noted, invalid, .. } = capture;
        let call = self.here();
        let handle = handle.unwrap_or_else(|| self.graphs.insert(Kept { graph, owner: None, call }));
        let sinks = self.graphs.get(handle, self.name)?.graph.sinks();
        let status = if let Some(failing) = self.failing {
            failing
        } else if invalid {
            Status::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        } else if sinks.iter().any(|node| noted.contains(node) && !last.contains(node)) {
            let text = "streams that joined the capture were not joined back";
            self.wrong(text, Status::CUDA_ERROR_STREAM_CAPTURE_UNJOINED)
        } else {
            return Ok(handle);
        };
        self.drop_graph(handle)?;
        Err(status)
    }

    /// Refuses a call that is potentially unsafe, as the reference has it, while somebody captures who said that nobody may make one.
    pub fn not_capturing(&mut self) -> Result {
        let (here, mine) = (thread(), MODE.get());
        let forbids = |c: &Capture| match c.mode {
            Mode::Global => c.thread == here || mine == Mode::Global,
            Mode::ThreadLocal => c.thread == here,
            Mode::Relaxed => false,
        };
        if mine == Mode::Relaxed {
            return Ok(());
        }
        let Some(capture) = self.captures.values_mut().find(|c| forbids(c)) else { return Ok(()) };
        capture.invalid = true;
        let text =
            format!("{}: not while a stream is captured, which does not see it; the capture began with", self.name);
        found(&text, &[&capture.call, &Call::here(self.name)]);
        Err(Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    }

    /// Captures that work for this stream would depend on: where it is the legacy one, those of all streams that are ordered with it.
    fn implied(&self, stream: u64) -> Result<Vec<u64>> {
        let context = self.streams.get(stream, self.name)?.context;
        if stream != self.contexts.get(context, self.name)?.legacy {
            return Ok(vec![]);
        }
        let ordered = self.streams.iter().filter(|(_, other)| other.context == context && other.blocking);
        Ok(ordered.filter_map(|(_, other)| Some(other.capture.as_ref()?.0)).collect())
    }

    /// Refuses every use of the legacy stream while one that is ordered with it is captured. In whatever mode: `cuStreamIsCapturing` says
    /// that it is in an unusable state until the capture is terminated, and `cuThreadExchangeStreamCaptureMode` that relaxed modes let
    /// nothing pass that necessarily conflicts with a capture.
    pub fn not_implied(&mut self, stream: u64) -> Result {
        let implied = self.implied(stream)?;
        if implied.is_empty() {
            return Ok(());
        }
        let captures = self.captures.iter_mut().filter(|(number, _)| implied.contains(number));
        captures.for_each(|(_, capture)| capture.invalid = true);
        let text = "the legacy stream is used while a stream that is ordered with it is captured";
        Err(self.wrong(text, Status::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT))
    }

    /// 0: not captured, 1: captured, 2: captured, and spoilt. Of the legacy stream there is no answer while its use is refused, and that is
    /// no fault: programs may ask.
    pub fn capture_state(&self, stream: u64) -> Result<u32> {
        if !self.implied(stream)?.is_empty() {
            return Err(Status::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        }
        let capture = self.streams.get(stream, self.name)?.capture.as_ref().and_then(|(n, _)| self.captures.get(n));
        Ok(capture.map_or(0, |capture| if capture.invalid { 2 } else { 1 }))
    }

    /// Refuses what a capture may have on a card, and cannot have here.
    pub fn not_emulated(&mut self, stream: u64, what: &str) -> Result {
        let Some((number, _)) = self.capture_of(stream)? else { return Ok(()) };
        let Some(capture) = self.captures.get_mut(&number) else { return Ok(()) };
        capture.invalid = true;
        let text = format!("{}: {what} in a capture are not emulated; it began with", self.name);
        found(&text, &[&capture.call, &Call::here(self.name)]);
        Err(Status::CUDA_ERROR_NOT_SUPPORTED)
    }

    /// Spoils the capture that a stream takes part in, and reports that; whether there is one.
    fn spoil_capture(&mut self, stream: u64) -> Result<bool> {
        let Some((number, _)) = self.streams.get(stream, self.name)?.capture else { return Ok(false) };
        let Some(capture) = self.captures.get_mut(&number) else { return Ok(false) };
        capture.invalid = true;
        let text = format!("{}: the stream is being captured, which began with", self.name);
        found(&text, &[&capture.call, &Call::here(self.name)]);
        Ok(true)
    }

    /// Refuses to wait for a stream that is captured, or for the legacy one while that cannot be used. Others may be waited for in every
    /// mode: the programming guide, on what captures prohibit, names streams and events that are captured, the device and context that they
    /// are of, and the legacy stream.
    pub fn not_captured(&mut self, stream: u64) -> Result {
        self.not_implied(stream)?;
        if self.spoil_capture(stream)? { Err(Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    /// Refuses to wait for the current context while a stream of it is captured, however that began.
    pub fn none_captured(&mut self) -> Result {
        let current = self.current()?;
        let caught = self.streams.iter().find(|(_, s)| s.context == current && s.capture.is_some());
        caught.map(|(stream, _)| stream).map_or(Ok(()), |stream| self.not_captured(stream))
    }

    /// Spoils the captures that streams of a context take part in, since it ends.
    pub fn abandon_all(&mut self, context: u64) -> Result {
        let captured = self.streams.iter().filter(|(_, s)| s.context == context && s.capture.is_some());
        let mut streams: Vec<u64> = captured.map(|(stream, _)| stream).collect();
        // With a capture's origin all others leave it: it is told once.
        streams.sort_by_key(|stream| !self.captures.values().any(|capture| capture.origin == *stream));
        streams.into_iter().try_for_each(|stream| self.abandon(stream))
    }

    /// Spoils the capture of a stream that is destroyed; where it began there, it is over.
    pub fn abandon(&mut self, stream: u64) -> Result {
        self.spoil_capture(stream)?;
        let Some((number, _)) = self.captures.iter().find(|(_, c)| c.origin == stream) else { return Ok(()) };
        let number = *number;
        if let Some(handle) = self.captures.remove(&number).and_then(|capture| capture.handle) {
            self.drop_graph(handle)?;
        }
        let joined = |s: &Stream| s.capture.as_ref().is_some_and(|(of, _)| *of == number);
        self.streams.iter_mut().filter(|(_, s)| joined(s)).for_each(|(_, s)| s.capture = None);
        Ok(())
    }
}
