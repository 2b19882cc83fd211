//! Does work whose turn has come, and finds who is in whose way.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ptxsim::{Fault, FaultKind, Launch, Memory, MemoryError, Options, Touch};

use crate::driver::{CardState, Driver};
use crate::lock::{Latch, locked};
use crate::queue::{Id, Item, Point};
use crate::races::{Piece, Use};
use crate::report::{Call, found};
use crate::status::{Result, Status};
use crate::work::{Callback, Kernel, Pitched, Place, Shape, Work, end_objects};

/// How long a call that need not wait for a function of the host does so: most have ended by then, which keeps to the order that was
/// drawn. What takes longer may wait for what the program does next.
pub const MOMENT: Duration = Duration::from_millis(50);
/// The same where it has begun before.
const GLANCE: Duration = Duration::from_millis(1);

/// What ends a context.
struct Failure {
    status: Status,
    text: String,
    /// A free that it is about.
    freed: Option<Arc<Call>>,
}

/// What a card would answer with.
fn status_of(fault: &Fault) -> Status {
    match fault.kind {
        FaultKind::OutOfBounds | FaultKind::ReadOnly => Status::CUDA_ERROR_ILLEGAL_ADDRESS,
        FaultKind::Misaligned => Status::CUDA_ERROR_MISALIGNED_ADDRESS,
        FaultKind::Assert => Status::CUDA_ERROR_ASSERT,
        FaultKind::Deadlock | FaultKind::Budget => Status::CUDA_ERROR_LAUNCH_TIMEOUT,
        _ => Status::CUDA_ERROR_LAUNCH_FAILED,
    }
}

impl Driver {
    /// Memory of the card that an address belongs to.
    fn memory_of(&self, at: u64) -> &Memory {
        &self.cards[self.card_of(at)].memory
    }

    /// Does one piece; whether it is done then. What fails is kept in its context and ends the rest of what that has queued. A function
    /// of the host is waited for no longer than `patience`, if a time is given.
    pub fn perform(&mut self, id: Id, patience: Option<Duration>) -> bool {
        let Some(item) = self.queue.item(id) else { return true };
        let (callback, context) =
            (if let Work::Call(callback) = *item.work { Some(callback) } else { None }, item.context);
        if let Some(latch) = self.queue.begun(id) {
            return self.unlocked(|| latch.wait(patience));
        }
        // A function of the host, which another thread waits for, comes before it.
        if !self.queue.is_ready(id) {
            return false;
        }
        if let Some(callback) = callback {
            let latch = self.queue.begin(id);
            let end = latch.clone();
            let failed = self.contexts.get(context, self.name).ok().and_then(|context| context.failed);
            let status = failed.unwrap_or(Status::CUDA_SUCCESS);
            let thread = std::thread::Builder::new().name("host function".into());
            if thread.spawn(move || run(callback, status, id, &end)).is_err() {
                let end = latch.clone();
                self.unlocked(|| run(callback, status, id, &end));
            }
            return self.unlocked(|| latch.wait(patience));
        }
        let Some(item) = self.queue.take(id) else { return true };
        let began = Instant::now();
        let done = self.execute(&item);
        self.queue.ended(&item, item.start + began.elapsed());
        let Err(failure) = done else { return true };
        let Failure { status, text, freed } = failure;
        let calls: Vec<&Call> = [&*item.call].into_iter().chain(freed.as_deref()).collect();
        found(&format!("{text}: {status:?}"), &calls);
        self.fail_context(item.context, status);
        true
    }

    /// Ends a context with an error, and all that it has queued. Functions that are to be told of that are called now: for the others that
    /// come behind them, nobody waits any more.
    pub fn fail_context(&mut self, handle: u64, status: Status) {
        if let Ok(context) = self.contexts.get_mut(handle, self.name) {
            context.failed.get_or_insert(status);
        }
        let told = self.queue.drop_context(handle);
        if !self.ending {
            for id in told {
                self.perform(id, Some(MOMENT));
            }
        }
    }

    /// A function of the host has ended, after so long.
    fn ended(&mut self, id: Id, took: Duration) {
        if let Some(item) = self.queue.take(id) {
            self.queue.ended(&item, item.start + took);
        }
        // It may have written whatever is still to be copied.
        self.queue.items().for_each(|i| i.digest = None);
    }

    /// Does all that comes before a point.
    pub fn reach(&mut self, point: &Point) {
        while !self.queue.is_reached(point) {
            if let Some(id) = self.queue.draw() {
                self.perform(id, Some(MOMENT));
                continue;
            }
            for id in self.queue.needed(point) {
                if !self.perform(id, None) {
                    break;
                }
            }
        }
    }

    /// At exit: does all that nobody has waited for, as a card might have. Not what calls functions of the program or uses memory of its
    /// own, which may be gone by now, nor what comes behind that.
    pub fn finish(&mut self) {
        self.ending = true;
        for id in self.queue.all() {
            if self.queue.item(id).is_some_and(|item| !self.uses_program(&item.work)) {
                self.perform(id, None);
            }
        }
    }

    /// The same, and the program knows it; the error of whatever failed in the current context.
    pub fn wait(&mut self, point: &Point) -> Result {
        self.reach(point);
        self.reached(point)
    }

    /// Whether a point is reached, as a program asks again and again: each time a bit is done.
    pub fn look(&mut self, point: &Point) -> Result {
        let drawn = if self.queue.is_reached(point) { None } else { self.queue.draw() };
        let Some(next) = drawn.or_else(|| self.queue.needed(point).first().copied()) else {
            return self.reached(point);
        };
        // It is done before the program knows, and another stream may come.
        self.noting = true;
        let patience = if self.queue.begun(next).is_some() { GLANCE } else { MOMENT };
        self.perform(next, Some(patience));
        Err(Status::CUDA_ERROR_NOT_READY)
    }

    /// The program learns that a point is reached.
    pub fn knows(&mut self, point: &Point) {
        if self.queue.seen(point) {
            self.touched.clear();
        } else {
            let lanes = self.queue.forget_lanes();
            if !lanes.is_empty() {
                self.touched.forget_lanes(&lanes);
            }
        }
    }

    /// The same; the error of whatever failed in the current context.
    fn reached(&mut self, point: &Point) -> Result {
        self.knows(point);
        let current = self.current()?;
        self.contexts.get(current, self.name)?.failed.map_or(Ok(()), Err)
    }

    fn execute(&mut self, item: &Item) -> Result<(), Failure> {
        match &*item.work {
            Work::Copy { from, to, shape } => self.copy(item, from, to, shape),
            Work::Fill { at, value, size, width, rows, pitch } => {
                let row: Vec<u8> =
                    (0..*width).flat_map(|_| value.to_le_bytes().into_iter().take(*size as usize)).collect();
                for k in 0..*rows {
                    let start = at + k * pitch;
                    if self.is_device(start) {
                        self.memory_of(start).write(start, &row).map_err(|e| self.gone(item, e))?;
                    } else {
                        self.still_locked(item, start, row.len() as u64)?;
                        self.host_changes(&Pitched::line(start, row.len() as u64));
                        // SAFETY: page-locked or managed memory that the program gave to be filled, and that is there still.
                        unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), start as *mut u8, row.len()) };
                    }
                    self.note(item, start..start + row.len() as u64, Use::Write);
                }
                Ok(())
            }
            Work::Kernel(kernel) => self.kernel(item, kernel),
            Work::Record(event, number) => {
                // The program may have destroyed it by now.
                if self.events.has(*event)
                    && let Ok(event) = self.events.get_mut(*event, self.name)
                    && event.records == *number
                {
                    event.time = Some(item.start);
                }
                Ok(())
            }
            // A function of the host runs in a thread of its own.
            Work::Call(_) | Work::Wait(_) | Work::Child(_) | Work::Empty | Work::Keep(_) | Work::Alloc { .. } => Ok(()),
            Work::Free(at) => {
                let size = self.given.remove(at).map_or(0, |given| given.bytes);
                self.note(item, *at..at + size, Use::Write);
                self.release(*at, size, &item.call);
                Ok(())
            }
        }
    }

    /// Takes memory back, and remembers who gave it.
    pub fn release(&mut self, at: u64, size: u64, call: &Arc<Call>) {
        let card = self.card_of(at);
        let _ = self.cards[card].memory.free(at);
        self.freed.add(at, size, call.clone());
    }

    /// Memory that was there when the work was submitted.
    fn gone(&self, item: &Item, e: MemoryError) -> Failure {
        let freed = match e {
            MemoryError::NotAllocated { address, .. } => self.freed.by(address),
            MemoryError::Full { .. } | MemoryError::Refused { .. } | MemoryError::Taken { .. } => None,
        };
        let text = format!("{}: {e}{}", item.work, if freed.is_some() { ", it was freed" } else { "" });
        Failure { status: Status::CUDA_ERROR_ILLEGAL_ADDRESS, text, freed }
    }

    /// That page-locked memory is there which was when the work was submitted, or put into a graph.
    fn still_locked(&self, item: &Item, at: u64, bytes: u64) -> Result<(), Failure> {
        if self.locked.holds(at, bytes) {
            return Ok(());
        }
        let text = format!("{}: the host memory at {at:#x} was freed", item.work);
        Err(Failure { status: Status::CUDA_ERROR_ILLEGAL_ADDRESS, text, freed: self.freed.by(at) })
    }

    fn copy(&mut self, item: &Item, from: &Place, to: &Place, shape: &Shape) -> Result<(), Failure> {
        for (place, pitch) in [(from, shape.from_pitch), (to, shape.to_pitch)] {
            if let Place::Host(at) = place {
                self.still_locked(item, *at, shape.extent(pitch))?;
            }
        }
        if let (Place::Host(at), Some(before)) = (from, item.digest)
            && before != digest(&shape.source(*at))
        {
            let text =
                format!("{}: the host changed these bytes before they were copied; it was submitted by", item.work);
            found(&text, &[&item.call]);
        }
        if let Place::Host(at) = to {
            self.host_changes(&shape.target(*at));
        }
        let width = shape.width as usize;
        for row in 0..shape.rows {
            let (skip, step) = (row * shape.from_pitch, row * shape.to_pitch);
            match (from, to) {
                (Place::Device(from), Place::Device(to)) if self.same_card(*from, *to) => {
                    let memory = self.memory_of(*from);
                    memory.copy(from + skip, to + step, shape.width).map_err(|e| self.gone(item, e))?;
                }
                (from, Place::Host(to) | Place::Pageable(to)) => {
                    // SAFETY: page-locked memory is there still, as was looked up above; of its own the program gave this range for the copy and does not use it before it waited for its end.
                    let target = unsafe { std::slice::from_raw_parts_mut((to + step) as *mut u8, width) };
                    self.fetch(item, from, skip, target)?;
                }
                (from, Place::Device(to)) => {
                    let mut bytes = vec![0; width];
                    self.fetch(item, from, skip, &mut bytes)?;
                    self.memory_of(*to).write(to + step, &bytes).map_err(|e| self.gone(item, e))?;
                }
                (_, Place::Taken(_)) => {}
            }
            for (place, at, used) in [(from, skip, Use::Read), (to, step, Use::Write)] {
                if let Place::Device(start) | Place::Host(start) | Place::Pageable(start) = place {
                    self.note(item, start + at..start + at + shape.width, used);
                }
            }
        }
        Ok(())
    }

    fn same_card(&self, a: u64, b: u64) -> bool {
        std::ptr::eq(self.memory_of(a), self.memory_of(b))
    }

    /// One row of a copy's source.
    fn fetch(&self, item: &Item, from: &Place, skip: u64, target: &mut [u8]) -> Result<(), Failure> {
        match from {
            Place::Device(at) => {
                let (start, len) = (at + skip, target.len() as u64);
                self.memory_of(start).read(start, target).map_err(|e| self.gone(item, e))?;
                if !self.settings.unwritten_allowed
                    && let Some(hole) = self.memory_of(start).unwritten(start..start + len)
                {
                    found(&format!("{}: the byte at {hole:#x} was never written", item.work), &[&item.call]);
                }
            }
            Place::Host(at) | Place::Pageable(at) => {
                // SAFETY: as in `copy`.
                let source = unsafe { std::slice::from_raw_parts((at + skip) as *const u8, target.len()) };
                target.copy_from_slice(source);
            }
            Place::Taken(bytes) => target.copy_from_slice(&bytes[skip as usize..][..target.len()]),
        }
        Ok(())
    }

    fn kernel(&mut self, item: &Item, kernel: &Kernel) -> Result<(), Failure> {
        let Kernel { function, module, entry, grid, block, shared, params, .. } = kernel;
        // Its module is noted as if the handle was an address, which no memory has.
        if self.functions.has(*function)
            && let Ok(module) = self.functions.get(*function, self.name).map(|f| f.module)
        {
            self.note(item, module..module + 1, Use::Read);
        }
        let launch = Launch { entry, grid: *grid, block: *block, dynamic_shared: *shared, params, buffers: None };
        let at = self.contexts.get(item.context, self.name).map_or(0, |c| c.card);
        let lent = self.lend(at, params);
        let CardState { card, memory, .. } = &self.cards[at];
        let max_shared = card.block_shared as u32;
        let (checks, instructions) = (!self.settings.unwritten_allowed, self.settings.instructions);
        let options = Options { max_shared, checks, instructions, ..Options::default() };
        let ran = if self.noting {
            module.launch_traced(memory, &launch, &options).map(|(_, touched)| touched)
        } else {
            module.launch(memory, &launch, &options).map(|_| vec![])
        };
        self.take_back(at, lent);
        let touched = ran.map_err(|fault| {
            let freed = fault.address.and_then(|at| self.freed.by(at));
            let text = format!("{fault}{}", if freed.is_some() { "; that memory was freed" } else { "" });
            Failure { status: status_of(&fault), text, freed }
        })?;
        for (range, touch) in touched {
            let used = match touch {
                Touch::Read => Use::Read,
                Touch::Write => Use::Write,
                Touch::Atomic => Use::Atomic,
            };
            self.note(item, range, used);
        }
        Ok(())
    }

    /// Notes at once that the piece right before a point allocates memory: its place in the order counts, not when it is done.
    pub fn made(&mut self, point: &Point, bytes: Range<u64>) {
        let Some(item) = self.queue.at(point) else { return };
        let what: Arc<str> = item.work.to_string().into();
        let piece = Piece { stamp: item.stamp, clock: &item.clock, what: &what, call: &item.call };
        // Nothing else was ever at these addresses.
        let _ = self.touched.note(&piece, bytes, Use::Make);
    }

    /// Notes bytes that a piece used, and reports another piece on them that it is in no order with.
    fn note(&mut self, item: &Item, bytes: Range<u64>, used: Use) {
        if !self.noting {
            return;
        }
        let what: Arc<str> = item.work.to_string().into();
        let piece = Piece { stamp: item.stamp, clock: &item.clock, what: &what, call: &item.call };
        if let Some(race) = self.touched.note(&piece, bytes, used)
            && self.raced != Some(item.stamp)
        {
            self.raced = Some(item.stamp);
            let verb = |used| match used {
                Use::Read => "reads",
                Use::Write | Use::Atomic => "writes",
                Use::Make => "makes",
            };
            let Range { start, end } = race.bytes;
            let text = format!(
                "race on {start:#x}..{end:#x}: {what} {} it and {} {} it, in no order; they were submitted by",
                verb(used),
                race.other,
                verb(race.other_used),
            );
            found(&text, &[&item.call, &race.call]);
        }
    }
}

/// Runs a function of the host, while others may call, and tells the driver of its end.
fn run(callback: Callback, status: Status, id: Id, end: &Latch) {
    let began = Instant::now();
    callback.call(status);
    locked(|driver| driver.ended(id, began.elapsed()));
    end_objects();
    end.open();
}

/// Of host memory, to see whether it changes.
pub fn digest(bytes: &Pitched) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in bytes.rows() {
        // SAFETY: page-locked memory that the program gave for a copy of these bytes.
        hasher.write(unsafe { std::slice::from_raw_parts(row.start as *const u8, (row.end - row.start) as usize) });
    }
    hasher.finish()
}
