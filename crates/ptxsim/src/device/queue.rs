//! The streams of a device: what is queued on them, how far each has come, what is being captured.

use std::collections::VecDeque;
use std::sync::Arc;

use super::work::{Event, Graph, Stream, Work};
use crate::error::DeviceError;

/// An entry of a queue.
#[derive(Clone, Debug)]
pub enum Item {
    Work(Arc<Work>),
    /// What comes behind it is for when this is reached.
    Wait(Event),
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Items ever queued, and those of them that are done: what is left is `items`.
    submitted: u64,
    done: u64,
    /// What was noted so far, while the stream is being captured.
    captured: Option<Vec<Arc<Work>>>,
}

#[derive(Debug, Default)]
pub struct Queues(Vec<Queue>);

impl Queues {
    pub fn add(&mut self) -> Stream {
        self.0.push(Queue::default());
        Stream(self.0.len() - 1)
    }

    pub fn streams(&self) -> impl Iterator<Item = Stream> + use<> {
        (0..self.0.len()).map(Stream)
    }

    fn get(&self, stream: Stream) -> Result<&Queue, DeviceError> {
        self.0.get(stream.0).ok_or(DeviceError::Unknown("stream"))
    }

    fn get_mut(&mut self, stream: Stream) -> Result<&mut Queue, DeviceError> {
        self.0.get_mut(stream.0).ok_or(DeviceError::Unknown("stream"))
    }

    /// Queues or notes work.
    pub fn submit(&mut self, stream: Stream, work: impl IntoIterator<Item = Arc<Work>>) -> Result<(), DeviceError> {
        let queue = self.get_mut(stream)?;
        match &mut queue.captured {
            Some(nodes) => nodes.extend(work),
            None => {
                queue.items.extend(work.into_iter().map(Item::Work));
                queue.submitted = queue.done + queue.items.len() as u64;
            }
        }
        Ok(())
    }

    /// The end of what is queued now. Not for streams that are being captured: what is noted never comes to an end.
    pub fn end(&self, stream: Stream) -> Result<Event, DeviceError> {
        match self.get(stream)? {
            Queue { captured: Some(_), .. } => Err(DeviceError::Capturing),
            queue => Ok(Event { stream, submitted: queue.submitted }),
        }
    }

    pub fn wait(&mut self, stream: Stream, event: Event) -> Result<(), DeviceError> {
        self.reached(event)?;
        self.end(stream)?;
        let queue = self.get_mut(stream)?;
        queue.items.push_back(Item::Wait(event));
        queue.submitted += 1;
        Ok(())
    }

    pub fn reached(&self, event: Event) -> Result<bool, DeviceError> {
        match self.0.get(event.stream.0) {
            Some(queue) if event.submitted <= queue.submitted => Ok(event.submitted <= queue.done),
            _ => Err(DeviceError::Unknown("event")),
        }
    }

    /// The next item of a stream.
    pub fn head(&self, stream: Stream) -> Result<Option<&Item>, DeviceError> {
        Ok(self.get(stream)?.items.front())
    }

    /// Takes it.
    pub fn take(&mut self, stream: Stream) -> Result<Option<Item>, DeviceError> {
        let queue = self.get_mut(stream)?;
        let item = queue.items.pop_front();
        queue.done += u64::from(item.is_some());
        Ok(item)
    }

    /// Drops everything that is queued; every event counts as reached.
    pub fn clear(&mut self) {
        for queue in &mut self.0 {
            queue.items.clear();
            queue.done = queue.submitted;
        }
    }

    pub fn is_capturing(&self, stream: Stream) -> bool {
        self.get(stream).is_ok_and(|queue| queue.captured.is_some())
    }

    pub fn begin_capture(&mut self, stream: Stream) -> Result<(), DeviceError> {
        self.end(stream)?;
        self.get_mut(stream)?.captured = Some(vec![]);
        Ok(())
    }

    pub fn end_capture(&mut self, stream: Stream) -> Result<Graph, DeviceError> {
        let nodes = self.get_mut(stream)?.captured.take().ok_or(DeviceError::NotCapturing)?;
        Ok(Graph(nodes.into()))
    }
}
