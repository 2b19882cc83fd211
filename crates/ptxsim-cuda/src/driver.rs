//! The whole driver: cards, contexts and all that handles stand for; and the way into every call.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ptxsim::{Memory, Module};

use crate::card::Card;
use crate::clock::{Lane, Stamp};
use crate::fork;
use crate::freed::Freed;
use crate::graph::{Capture, Executable, Graph, Mode};
use crate::host::{Locked, reserve};
use crate::lock::{locked, locked_soon};
use crate::perform::MOMENT;
use crate::queue::{Point, Queue};
use crate::races::Touched;
use crate::report::{self, Call, found, say};
use crate::settings::{EXIT, Settings};
use crate::status::{Result, Status};
use crate::table::Table;
use crate::work::{CALLING, Object, end_objects};

/// Texts that are to be linked.
pub struct Link {
    pub text: String,
    /// What was linked, as the program sees it.
    pub image: Vec<u8>,
    /// Where the program has room for messages: address, bytes, and where their number goes.
    pub log: Option<[usize; 3]>,
    pub call: Arc<Call>,
}

/// A memory pool: allocations in the order of a stream say which they are of, and are made and freed as all others.
pub struct Pool {
    pub card: usize,
    /// Attributes as the program set them.
    pub attributes: HashMap<u32, u64>,
    /// The driver's own.
    pub hidden: bool,
    /// The most bytes of it that were in use at once, since the program last began to ask for that.
    pub high: u64,
    pub call: Arc<Call>,
}

pub struct CardState {
    pub card: &'static Card,
    pub memory: Memory,
    /// Handle of the primary context, while somebody holds it, and how many do.
    pub primary: Option<(u64, usize)>,
    /// Of the primary context, as the program set them.
    pub primary_flags: u32,
    /// Handles of the pool that is there from the start, and of the one in use; 0 until somebody asks.
    pub own_pool: u64,
    pub pool: u64,
}

pub struct Context {
    pub card: usize,
    /// Handle of the stream that is named by a null handle.
    pub legacy: u64,
    /// By thread, of the streams that are named by `CU_STREAM_PER_THREAD`.
    pub per_thread: HashMap<u64, u64>,
    /// What went wrong in a kernel: every call answers with it from then on.
    pub failed: Option<Status>,
    pub primary: bool,
    /// Behind all of the streams that were destroyed, and of those among them that were ordered with the legacy one.
    pub left: Point,
    pub left_blocking: Point,
    /// Flags (of a primary context, its card has them), limits by their number, and the preferred cache, as the program set them.
    pub flags: u32,
    pub limits: HashMap<u32, usize>,
    pub cache: u32,
    pub call: Arc<Call>,
}

pub struct Stream {
    pub context: u64,
    pub lane: Lane,
    /// Behind all that was submitted to it.
    pub tail: Point,
    /// Ordered with the stream that is named by a null handle.
    pub blocking: bool,
    /// Made by the driver, not by the program.
    pub hidden: bool,
    pub priority: i32,
    /// Whether anything was ever submitted.
    pub used: bool,
    /// Of the capture that it takes part in: its number, and the nodes that the next one comes behind.
    pub capture: Option<(u64, Vec<usize>)>,
    pub call: Arc<Call>,
}

pub enum Recorded {
    Never,
    At(Point),
    /// In a capture: behind these nodes.
    Captured(u64, Vec<usize>),
}

pub struct Event {
    pub context: u64,
    pub timed: bool,
    pub recorded: Recorded,
    /// How often it was recorded, and when the last of these was reached.
    pub records: u64,
    pub time: Option<Instant>,
    pub call: Arc<Call>,
}

pub struct Loaded {
    pub context: u64,
    pub module: Arc<Module>,
    /// Handles given out, by name.
    pub functions: HashMap<String, u64>,
}

pub struct Function {
    pub module: u64,
    pub name: String,
    /// Bytes of dynamic shared memory that a launch may ask for.
    pub dynamic: i32,
}

/// PTX that belongs to no context: loaded in each where it is used.
pub struct Library {
    pub text: String,
    /// Handles of modules, by that of their context.
    pub modules: HashMap<u64, u64>,
    /// Handles of kernels given out, by name.
    pub kernels: HashMap<String, u64>,
}

/// A kernel of a library.
pub struct LibraryKernel {
    pub library: u64,
    pub name: String,
}

/// Device memory that the program was given.
pub struct Given {
    pub context: u64,
    pub bytes: u64,
    /// Handle of the pool that it is of; 0 if of none.
    pub pool: u64,
    pub call: Arc<Call>,
    /// A free in the order of a stream is on its way.
    pub leaving: bool,
}

/// A graph that the program has a handle of.
pub struct Kept {
    pub graph: Graph,
    /// Of a graph that is a node of another: handle of that node.
    pub owner: Option<u64>,
    pub call: Arc<Call>,
}

/// A user object as long as the program itself refers to it, and how often.
pub struct Owned {
    pub object: Arc<Object>,
    pub count: u32,
    pub call: Arc<Call>,
}

pub struct Driver {
    pub settings: Settings,
    pub initialised: bool,
    /// Addresses of all cards.
    pub reserved: Range<u64>,
    pub cards: Vec<CardState>,
    pub contexts: Table<Context>,
    pub streams: Table<Stream>,
    pub events: Table<Event>,
    pub modules: Table<Loaded>,
    pub functions: Table<Function>,
    pub libraries: Table<Library>,
    pub kernels: Table<LibraryKernel>,
    pub links: Table<Link>,
    pub pools: Table<Pool>,
    pub graphs: Table<Kept>,
    /// Nodes that the program has a handle of: that of their graph.
    pub nodes: Table<u64>,
    pub objects: Table<Owned>,
    pub executables: Table<(Executable, Arc<Call>)>,
    pub captures: HashMap<u64, Capture>,
    pub captured: u64,
    pub queue: Queue,
    pub touched: Touched,
    /// The last piece that a race was reported of: once is enough.
    pub raced: Option<Stamp>,
    /// Streams that work was ever submitted to.
    pub used: usize,
    /// Whether it is noted which bytes work uses. Not needed as long as there is one lane and nothing of it is done before the program
    /// waits for it: then all that was done comes before all that is still to be submitted.
    pub noting: bool,
    pub locked: Locked,
    pub given: BTreeMap<u64, Given>,
    pub freed: Freed,
    calls: BTreeMap<&'static str, u64>,
    /// The process ends: functions of the program may be gone.
    pub ending: bool,
    /// What the end of a capture that is under way has to fail with, though it ends.
    pub failing: Option<Status>,
    /// The call that is under way.
    pub name: &'static str,
}

/// Exit code where something was found, for where the driver cannot be had at exit.
static CODE: AtomicI32 = AtomicI32::new(EXIT);
/// How long the exit waits for calls of other threads.
const SOON: Duration = Duration::from_secs(1);

thread_local! {
    /// Contexts that are current, the last one in effect; null where none was set. Never dropped: a thread's own destructors may call.
    pub static CURRENT: RefCell<ManuallyDrop<Vec<u64>>> = const { RefCell::new(ManuallyDrop::new(vec![])) };
    /// How far this thread's calls are refused while others capture.
    pub static MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Number of this thread, which no other has had. (The standard library's cannot be had in a thread's own destructors.)
pub fn thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if THREAD.get() == 0 {
        THREAD.set(NEXT.fetch_add(1, Relaxed));
    }
    THREAD.get()
}

/// What has to be there for a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// `cuInit`.
    Driver,
    /// A current context in which nothing failed.
    Context,
    /// The same, and no capture that forbids calls which it does not see.
    NoCapture,
}

/// The way into every call.
pub fn enter(name: &'static str, needs: Needs, body: impl FnOnce(&mut Driver) -> Result) -> Status {
    // By this one, programs find out.
    let asks = name == "cuInit";
    if fork::is_child() && (asks || needs != Needs::Nothing) {
        if !asks {
            found(&format!("{name}: this process was forked off by one that uses the driver"), &[&Call::here(name)]);
        }
        return Status::CUDA_ERROR_NOT_INITIALIZED;
    }
    if CALLING.get() {
        found(&format!("{name} is called from a function that a stream runs"), &[&Call::here(name)]);
        return Status::CUDA_ERROR_NOT_PERMITTED;
    }
    let answer = locked(|driver| driver.called(name, needs, body));
    end_objects();
    match answer {
        Some(Ok(())) => Status::CUDA_SUCCESS,
        Some(Err(status)) => status,
        None => {
            found(&format!("{name}: this driver failed, which is a fault of its own"), &[]);
            Status::CUDA_ERROR_UNKNOWN
        }
    }
}

impl Driver {
    pub fn new() -> Driver {
        let settings = Settings::read();
        CODE.store(settings.exit, Relaxed);
        let Some(reserved) = reserve() else {
            say("no addresses can be reserved (is there a limit on virtual memory? see ulimit -v)");
            std::process::exit(2);
        };
        let each = share(&reserved, settings.cards.len());
        let state = |(i, &card): (usize, &&'static Card)| CardState {
            card,
            memory: Memory::starting_at(reserved.start + i as u64 * each, settings.memory),
            primary: None,
            primary_flags: 0,
            own_pool: 0,
            pool: 0,
        };
        // SAFETY: the handler lives as long as the process and takes nothing.
        unsafe { libc::atexit(at_exit) };
        fork::watch();
        Driver {
            cards: settings.cards.iter().enumerate().map(state).collect(),
            queue: Queue::new(settings.schedule),
            // With a seed, work is done that nobody waits for.
            noting: settings.schedule != 0,
            settings,
            initialised: false,
            reserved,
            contexts: Table::new(1, "context"),
            streams: Table::new(2, "stream"),
            events: Table::new(3, "event"),
            modules: Table::new(4, "module"),
            functions: Table::new(5, "function"),
            graphs: Table::new(6, "graph"),
            executables: Table::new(7, "executable graph"),
            libraries: Table::new(8, "library"),
            kernels: Table::new(9, "kernel of a library"),
            links: Table::new(10, "link"),
            pools: Table::new(11, "memory pool"),
            nodes: Table::new(12, "graph node"),
            objects: Table::new(13, "user object"),
            captures: HashMap::new(),
            captured: 0,
            touched: Touched::default(),
            raced: None,
            used: 0,
            locked: Locked::default(),
            given: BTreeMap::new(),
            freed: Freed::default(),
            calls: BTreeMap::new(),
            ending: false,
            failing: None,
            name: "",
        }
    }

    fn called(&mut self, name: &'static str, needs: Needs, body: impl FnOnce(&mut Driver) -> Result) -> Result {
        self.name = name;
        let calls = self.calls.entry(name).or_insert(0);
        *calls += 1;
        if let Some(rule) = self.settings.fail.iter().find(|rule| rule.name == name && rule.call == *calls) {
            let memory = name.contains("Alloc");
            let usual = if memory { Status::CUDA_ERROR_OUT_OF_MEMORY } else { Status::CUDA_ERROR_UNKNOWN };
            let status = rule.status.unwrap_or(usual);
            self.fail(status, body);
            return Err(status);
        }
        if needs != Needs::Nothing && !self.initialised {
            return Err(self.wrong("cuInit was not called", Status::CUDA_ERROR_NOT_INITIALIZED));
        }
        if matches!(needs, Needs::Context | Needs::NoCapture) {
            let context = self.current()?;
            if let Some(status) = self.contexts.get(context, name)?.failed {
                return Err(status);
            }
            if needs == Needs::NoCapture {
                self.not_capturing()?;
            }
            if let Some(id) = self.queue.by_chance() {
                self.perform(id, Some(MOMENT));
            }
        }
        body(self)
    }

    /// Lets the call under way fail as it would on a card: what gives something back does so all the same (the error is one of earlier
    /// work), a wait that fails is the end of its context, and a capture is over however it ends.
    fn fail(&mut self, status: Status, body: impl FnOnce(&mut Driver) -> Result) {
        if ["Free", "Destroy", "Release", "Unload"].iter().any(|verb| self.name.contains(verb)) {
            let _ = body(self);
        } else if self.name.ends_with("Synchronize") {
            let Ok(current) = self.current() else { return };
            self.fail_context(current, status);
        } else if self.name == "cuStreamEndCapture" {
            self.failing = Some(status);
            let _ = body(self);
            self.failing = None;
        }
    }

    /// Addresses of a card.
    pub fn addresses(&self, card: usize) -> Range<u64> {
        let each = share(&self.reserved, self.cards.len());
        let start = self.reserved.start + card as u64 * each;
        start..start + each
    }

    /// The card that a device address belongs to.
    pub fn card_of(&self, at: u64) -> usize {
        let card = at.saturating_sub(self.reserved.start) / share(&self.reserved, self.cards.len());
        (card as usize).min(self.cards.len() - 1)
    }

    /// This call, to be kept or told.
    pub fn here(&self) -> Arc<Call> {
        Call::here(self.name)
    }

    /// Reports a call that no right program makes; its answer.
    pub fn wrong(&self, text: &str, status: Status) -> Status {
        self.report(text);
        status
    }

    /// Reports a call that a card would let pass.
    pub fn report(&self, text: &str) {
        found(&format!("{}: {text}", self.name), &[&self.here()]);
    }

    /// Handle of the current context.
    pub fn current(&self) -> Result<u64> {
        let top = CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0));
        if top == 0 {
            return Err(self.wrong("no context is current in this thread", Status::CUDA_ERROR_INVALID_CONTEXT));
        }
        if !self.contexts.has(top) {
            let text = format!("the current context {top:#x} was destroyed");
            return Err(self.wrong(&text, Status::CUDA_ERROR_CONTEXT_IS_DESTROYED));
        }
        Ok(top)
    }

    /// The card of the current context.
    pub fn card(&self) -> Result<usize> {
        Ok(self.contexts.get(self.current()?, self.name)?.card)
    }

    /// A context on a card, with the stream that every context has.
    pub fn add_context(&mut self, card: usize, primary: bool) -> u64 {
        let context = Context {
            card,
            legacy: 0,
            per_thread: HashMap::new(),
            failed: None,
            primary,
            left: Point::default(),
            left_blocking: Point::default(),
            flags: 0,
            limits: HashMap::new(),
            cache: 0,
            call: self.here(),
        };
        let handle = self.contexts.insert(context);
        let legacy = self.add_stream(handle, true, true);
        if let Ok(context) = self.contexts.get_mut(handle, self.name) {
            context.legacy = legacy;
        }
        handle
    }

    pub fn add_stream(&mut self, context: u64, blocking: bool, hidden: bool) -> u64 {
        let (lane, call) = (self.queue.lane(), self.here());
        let tail = Point::default();
        let new = Stream { context, lane, tail, blocking, hidden, priority: 0, used: false, capture: None, call };
        self.streams.insert(new)
    }

    /// Ends a stream; what is queued in it goes on. The error of whatever failed in its context.
    pub fn end_stream(&mut self, stream: u64) -> Result {
        self.abandon(stream)?;
        let Stream { context, tail, blocking, .. } = self.streams.remove(stream, self.name)?;
        let context = self.contexts.get_mut(context, self.name)?;
        for left in [Some(&mut context.left), Some(&mut context.left_blocking).filter(|_| blocking)] {
            let Some(left) = left else { continue };
            left.join(&tail);
            self.queue.prune(left);
        }
        context.failed.map_or(Ok(()), Err)
    }

    /// Behind all that a context has queued, and all that it did: of that, too, the program knows once it has waited for the context.
    pub fn all_of(&self, context: u64) -> Result<Point> {
        let mut end = self.queue.of_context(context);
        end.join(&self.contexts.get(context, self.name)?.left);
        self.streams.iter().filter(|(_, stream)| stream.context == context).for_each(|(_, s)| end.join(&s.tail));
        Ok(end)
    }

    /// Does all that a context has queued, before it ends: a card might have, though nobody waits for it.
    pub fn finish_context(&mut self, context: u64) -> Result {
        let end = self.all_of(context)?;
        self.reach(&end);
        self.knows(&end);
        Ok(())
    }

    /// Ends a context with all that it holds.
    pub fn end_context(&mut self, handle: u64) -> Result {
        self.finish_context(handle)?;
        self.abandon_all(handle)?;
        self.contexts.remove(handle, self.name)?;
        self.queue.drop_context(handle);
        self.streams.retain(|s| s.context != handle);
        self.events.retain(|e| e.context != handle);
        self.modules.retain(|m| m.context != handle);
        let gone: Vec<u64> = self.given.iter().filter(|(_, g)| g.context == handle).map(|(at, _)| *at).collect();
        for at in gone {
            self.given.remove(&at);
            // A pool's may be another card's than the context's.
            let card = self.card_of(at);
            let _ = self.cards[card].memory.free(at);
        }
        Ok(())
    }

    fn write_calls(&self) {
        let Some(path) = &self.settings.calls else { return };
        let lines: String = self.calls.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        if let Err(e) = std::fs::write(path, lines) {
            say(&format!("{path}: {e}"));
        }
    }
}

/// Addresses that each of so many cards has.
fn share(reserved: &Range<u64>, cards: usize) -> u64 {
    (reserved.end - reserved.start) / cards as u64
}

extern "C" fn at_exit() {
    // What a process that was forked off has of the driver is its parent's. Where another thread is in a long call, what was found is all
    // that can be said.
    if !fork::is_child() {
        locked_soon(SOON, |driver| {
            driver.name = "exit";
            driver.finish();
            driver.write_calls();
            if driver.settings.leaks {
                driver.leaks();
            }
        });
    }
    let (count, code) = (report::count(), CODE.load(Relaxed));
    if count > 0 && code == 0 {
        say(&format!("{count} found; exit code as the program's"));
    } else if count > 0 {
        say(&format!("{count} found; exit code {code}"));
        // SAFETY: flushes what the program has written, and ends it.
        unsafe {
            libc::fflush(std::ptr::null_mut());
            libc::_exit(code);
        }
    }
}
