//! The device memory that one launch may touch: allocations cut to the launch's buffers, looked up by address.

use std::ops::Range;

use crate::error::FaultKind;
use crate::run::heap::Heap;
use crate::run::memory::{Allocation, Memory};
use crate::run::trace::Trace;

/// What a launch may do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only.
    Read,
    /// Stores; loads of what has been written.
    Write,
    /// Loads and stores.
    ReadWrite,
}

/// A range that a launch may touch. Stores need [`Access::Write`] or [`Access::ReadWrite`]; loads are allowed in all
/// ranges (what is loaded must have been written). Overlapping ranges allow what any of them allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Device addresses.
    pub range: Range<u64>,
    /// What is allowed there.
    pub access: Access,
}

#[derive(Clone, Debug)]
pub struct Segment {
    pub start: u64,
    pub end: u64,
    /// Index into `View::allocations`.
    pub allocation: usize,
}

pub struct View<'a> {
    /// What `malloc` takes from.
    pub heap: Option<&'a Heap>,
    allocations: Vec<&'a Allocation>,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
    /// What is touched, where somebody wants to know.
    pub trace: Option<Trace>,
}

impl<'a> View<'a> {
    /// `globals`: the module's own variables, and which of them are constant.
    pub fn new(memory: &'a Memory, globals: &'a [(Allocation, bool)], buffers: Option<&[Buffer]>) -> View<'a> {
        let mut allocations: Vec<&Allocation> = memory.allocations().collect();
        let device = allocations.len();
        allocations.extend(globals.iter().map(|(a, _)| a));
        let (mut readable, mut writable) = (vec![], vec![]);
        for (i, a) in allocations.iter().enumerate() {
            let whole = Segment { start: a.base, end: a.base + a.size, allocation: i };
            match buffers {
                _ if i >= device => {
                    if !globals[i - device].1 {
                        writable.push(whole.clone());
                    }
                    readable.push(whole);
                }
                // What `malloc` gives belongs to the kernel.
                _ if memory.heap.as_ref().is_some_and(|h| h.holds(a.base)) => {
                    writable.push(whole.clone());
                    readable.push(whole);
                }
                None => {
                    writable.push(whole.clone());
                    readable.push(whole);
                }
                Some(buffers) => {
                    for buffer in buffers {
                        let start = buffer.range.start.max(whole.start);
                        let end = buffer.range.end.min(whole.end);
                        if start < end {
                            let part = Segment { start, end, allocation: i };
                            if buffer.access != Access::Read {
                                writable.push(part.clone());
                            }
                            readable.push(part);
                        }
                    }
                }
            }
        }
        View {
            allocations,
            readable: union(readable),
            writable: union(writable),
            trace: None,
            heap: memory.heap.as_ref(),
        }
    }

    /// Notes from here on what is touched.
    pub fn traced(mut self) -> View<'a> {
        self.trace = Some(Trace::new(&self.allocations));
        self
    }

    pub fn allocation(&self, index: usize) -> &'a Allocation {
        self.allocations[index]
    }

    fn list(&self, write: bool) -> &[Segment] {
        if write { &self.writable } else { &self.readable }
    }

    /// The segment that holds all of `start..end`; `hint` is where the last search ended.
    #[inline]
    pub fn find(&self, start: u64, end: u64, write: bool, hint: &mut u32) -> Option<&Segment> {
        let list = self.list(write);
        if let Some(s) = list.get(*hint as usize)
            && s.start <= start
            && end <= s.end
        {
            return Some(s);
        }
        let at = list.partition_point(|s| s.start <= start).checked_sub(1)?;
        let s = &list[at];
        if end <= s.end && start < end {
            *hint = at as u32;
            return Some(s);
        }
        None
    }

    /// Why `address..address+len` cannot be accessed.
    pub fn explain(&self, address: u64, len: u64, write: bool) -> (FaultKind, String) {
        let end = address.saturating_add(len);
        let verb = if write { "store of" } else { "load of" };
        if write && self.find(address, end, false, &mut 0).is_some() {
            return (FaultKind::ReadOnly, format!("{verb} {len} bytes in a range that this launch may only read"));
        }
        let distance = |s: &Segment| {
            if address < s.start { s.start - address } else { end.saturating_sub(s.end) }
        };
        let nearest = self.list(write).iter().chain(&self.readable).min_by_key(|s| distance(s));
        let place = match nearest {
            None => "there is no memory this launch may touch".to_string(),
            Some(s) => {
                let size = s.end - s.start;
                let side = if address < s.start {
                    format!("{} bytes before", s.start - address)
                } else if address < s.end {
                    format!("{} bytes into, reaching {} over the end of", address - s.start, end.saturating_sub(s.end))
                } else {
                    format!("{} bytes after the end of", address - s.end)
                };
                format!("{side} the nearest range {:#x}..{:#x} ({size} bytes)", s.start, s.end)
            }
        };
        (FaultKind::OutOfBounds, format!("{verb} {len} bytes in global memory, {place}"))
    }
}

/// Sorted, overlapping and touching segments of one allocation joined.
fn union(mut list: Vec<Segment>) -> Vec<Segment> {
    list.sort_by_key(|s| s.start);
    let mut out: Vec<Segment> = vec![];
    for s in list {
        match out.last_mut() {
            Some(last) if last.allocation == s.allocation && s.start <= last.end => last.end = last.end.max(s.end),
            _ => out.push(s),
        }
    }
    out
}
