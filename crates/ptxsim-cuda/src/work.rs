//! What is put into streams and graphs.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ptxsim::Module;

use crate::status::Status;

/// Where bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    Device(u64),
    /// Page-locked or managed, which it still has to be when the work is done.
    Host(u64),
    /// The program's own: it waits for the copy within the call, or has put it into a graph.
    Pageable(u64),
    /// Taken from pageable memory when the copy was submitted.
    Taken(Arc<[u8]>),
}

/// Rows of bytes in memory that begin so far apart: one row where there is nothing between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pitched {
    at: u64,
    width: u64,
    rows: u64,
    pitch: u64,
}

impl Pitched {
    pub fn new(at: u64, width: u64, rows: u64, pitch: u64) -> Pitched {
        match () {
            () if width == 0 || rows < 2 || width == pitch => Pitched::line(at, width * rows),
            () => Pitched { at, width, rows, pitch },
        }
    }

    pub fn line(at: u64, bytes: u64) -> Pitched {
        Pitched { at, width: bytes, rows: u64::from(bytes > 0), pitch: bytes }
    }

    pub fn rows(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let Pitched { at, width, rows, pitch } = *self;
        (0..rows).map(move |row| at + row * pitch..at + row * pitch + width)
    }

    /// From the first byte to the last, with what is between the rows.
    pub fn span(&self) -> Range<u64> {
        self.at..self.rows.checked_sub(1).map_or(self.at, |before| self.at + before * self.pitch + self.width)
    }

    /// Whether a byte of these rows is one of those.
    pub fn touches(&self, other: &Pitched) -> bool {
        let (mine, theirs) = (self.span(), other.span());
        if mine.start >= theirs.end || theirs.start >= mine.end {
            return false;
        }
        let (mut mine, mut theirs) = (self.rows().peekable(), other.rows().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            if a.start < b.end && b.start < a.end {
                return true;
            }
            let behind = if a.start < b.start { &mut mine } else { &mut theirs };
            behind.next();
        }
        false
    }
}

/// Rows of bytes, and how far apart they begin on either side.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub width: u64,
    pub rows: u64,
    pub from_pitch: u64,
    pub to_pitch: u64,
}

impl Shape {
    pub fn line(bytes: u64) -> Shape {
        Shape { width: bytes, rows: 1, from_pitch: bytes, to_pitch: bytes }
    }

    /// The same as `extent`, or nothing if there are not so many addresses.
    fn fits(&self, at: u64, pitch: u64) -> Option<u64> {
        if self.rows == 0 || self.width == 0 {
            return Some(0);
        }
        let bytes = (self.rows - 1).checked_mul(pitch)?.checked_add(self.width)?;
        at.checked_add(bytes).map(|_| bytes)
    }

    /// Bytes on either side of a copy between these addresses; nothing if there are not so many addresses.
    pub fn extents(&self, from: u64, to: u64) -> Option<[u64; 2]> {
        self.width.checked_mul(self.rows)?;
        Some([self.fits(from, self.from_pitch)?, self.fits(to, self.to_pitch)?])
    }

    /// Whether a copy between these addresses writes bytes that it reads. Onto itself it changes nothing.
    pub fn overlaps(&self, from: u64, to: u64) -> bool {
        let (source, target) = (self.source(from), self.target(to));
        source != target && source.touches(&target)
    }

    /// What a copy reads that begins there.
    pub fn source(&self, from: u64) -> Pitched {
        Pitched::new(from, self.width, self.rows, self.from_pitch)
    }

    /// What a copy writes that begins there.
    pub fn target(&self, to: u64) -> Pitched {
        Pitched::new(to, self.width, self.rows, self.to_pitch)
    }

    /// Bytes from the first to the last, with this pitch.
    pub fn extent(&self, pitch: u64) -> u64 {
        if self.rows == 0 || self.width == 0 { 0 } else { (self.rows - 1) * pitch + self.width }
    }
}

#[derive(Clone)]
pub struct Kernel {
    /// Handle of the function.
    pub function: u64,
    pub module: Arc<Module>,
    pub entry: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub params: Vec<u8>,
    /// All blocks of it are to be there at once.
    pub cooperative: bool,
}

thread_local! {
    /// Whether a function of the program runs now that must not call.
    pub static CALLING: Cell<bool> = const { Cell::new(false) };
}

/// A function of the program.
#[derive(Clone, Copy)]
pub enum Function {
    /// Left out where its context has failed.
    Plain(unsafe extern "C" fn(*mut c_void)),
    /// Called in any case, and told the stream, by this handle, and how its context fares.
    Told(unsafe extern "C" fn(u64, Status, *mut c_void), u64),
}

/// One to be called with its data.
#[derive(Clone, Copy)]
pub struct Callback {
    pub function: Function,
    pub data: *mut c_void,
}

impl Callback {
    pub fn call(&self, status: Status) {
        let outer = CALLING.replace(true);
        // SAFETY: the program gave function and data for exactly this.
        match self.function {
            Function::Plain(function) => unsafe { function(self.data) },
            // SAFETY: as above.
            Function::Told(function, stream) => unsafe { function(stream, status, self.data) },
        }
        CALLING.set(outer);
    }
}

/// What the program has counted for it (a user object): its function is called when nobody refers to it any more.
pub struct Object(pub Callback);

impl Drop for Object {
    fn drop(&mut self) {
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// Functions of objects that nobody refers to any more, until no call has the driver.
static ENDED: Mutex<Vec<Callback>> = Mutex::new(vec![]);

/// Calls them.
pub fn end_objects() {
    let ended = std::mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
    ended.iter().for_each(|callback| callback.call(Status::CUDA_SUCCESS));
}

// SAFETY: the program handed the pointers to a driver, which may call from a thread of its own.
unsafe impl Send for Callback {}
// SAFETY: as above; they are only copied.
unsafe impl Sync for Callback {}

#[derive(Clone)]
pub enum Work {
    Copy {
        from: Place,
        to: Place,
        shape: Shape,
    },
    Fill {
        at: u64,
        /// The lowest bytes of this.
        value: u32,
        /// 1, 2 or 4 bytes.
        size: u32,
        /// Values in a row.
        width: u64,
        rows: u64,
        pitch: u64,
    },
    Kernel(Kernel),
    Call(Callback),
    /// Handle of an event, and which of its records this is: 0 in a graph, where each launch is another.
    Record(u64, u64),
    /// In a graph: an event that a launch waits for.
    Wait(u64),
    /// In a graph: handle of the graph that this node is.
    Child(u64),
    /// Only its place in the order counts.
    Empty,
    /// Objects that work before this may use.
    Keep(#[expect(dead_code, reason = "held, not read")] Vec<Arc<Object>>),
    /// Device memory may be used behind this: it was allocated in the order of a stream.
    Alloc {
        at: u64,
        bytes: u64,
    },
    /// Gives memory back that was allocated in the order of a stream.
    Free(u64),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |place: &Place| match place {
            Place::Device(at) => format!("device memory at {at:#x}"),
            Place::Host(at) => format!("host memory at {at:#x}"),
            Place::Pageable(at) => format!("pageable host memory at {at:#x}"),
            Place::Taken(_) => "pageable host memory".into(),
        };
        match self {
            Work::Copy { from, to, shape, .. } => {
                write!(f, "copy of {} bytes from {} to {}", shape.width * shape.rows, place(from), place(to))
            }
            Work::Fill { at, size, width, rows, .. } => {
                write!(f, "fill of {} bytes at {at:#x}", u64::from(*size) * width * rows)
            }
            Work::Kernel(k) => write!(f, "kernel {}", k.entry),
            Work::Call(_) => f.write_str("function of the host"),
            Work::Record(..) => f.write_str("event"),
            Work::Wait(_) => f.write_str("wait for an event"),
            Work::Child(_) => f.write_str("graph"),
            Work::Empty => f.write_str("empty node"),
            Work::Keep(_) => f.write_str("user objects"),
            Work::Alloc { at, bytes } => write!(f, "allocation of {bytes} bytes at {at:#x}"),
            Work::Free(at) => write!(f, "free of {at:#x}"),
        }
    }
}
