//! When a picture has come: what the system tells of a folder, what looking at it shows, and how long nothing may have happened to a
//! file before it counts as written.

use super::POLL;
use super::folder::Folder;
use super::state::State;
use crate::data::digest::Digest;
use crate::data::image::Source;
use crate::data::listing::{Listed, Meant};
use crate::{Result, invalid};
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A file that somebody may still write, or that cannot be read, is given so many times as long as one that seems to be done.
pub const PATIENCE: u32 = 10;
/// How often a folder is looked at that the system tells of: what it did not tell is found then.
const SAFETY_NET: Duration = Duration::from_secs(60);
/// Looking takes at most one of so many parts of the time.
const LOOKING: u32 = 20;
/// How soon a request to stop is heard.
const TICK: Duration = Duration::from_millis(200);
/// Events that may wait; more than these say no more than that the folder is to be looked at.
const EVENTS: usize = 1 << 14;
/// Between moving a folder away and making another of its name nothing takes longer.
const ANEW: Duration = Duration::from_secs(2);

/// Which states of files have their line, and which are on their way to one.
#[derive(Default)]
pub struct Known {
    pub done: HashSet<Digest>,
    pub under_way: HashSet<Digest>,
}

impl Known {
    pub fn contains(&self, key: &Digest) -> bool {
        self.done.contains(key) || self.under_way.contains(key)
    }
}

/// The same for both threads.
pub type Shared = Arc<Mutex<Known>>;

pub fn locked(known: &Shared) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A picture that was handed to be scored.
pub struct Handed {
    pub name: PathBuf,
    pub state: State,
    /// Nothing has happened to it for so long that it is what it is, also if it cannot be read.
    pub last: bool,
}

/// What comes back of a picture that got no line.
pub enum Returned {
    /// It changed while it was read.
    Changed(PathBuf),
    /// It cannot be read, but may still be written to.
    Unreadable(PathBuf, State),
}

/// Hears what is said while a folder is watched, from either thread.
pub type Tell = Arc<dyn Fn(Note) + Send + Sync>;

/// What is said while a folder is watched.
#[derive(Debug)]
pub enum Note {
    /// Good to know.
    Usual(String),
    Warning(String),
}

/// A file that is to be scored once nothing happens to it any more.
#[derive(Clone, Copy)]
struct Waiting {
    state: State,
    last: bool,
}

/// What is next: by time, and of one time the oldest file first.
type Due = (Instant, i64, PathBuf);

/// When to look at what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long nothing may have happened to a file before it counts as written.
    pub settle: Duration,
    /// How often the folder is looked at; `None`: the system tells.
    pub poll: Option<Duration>,
    /// End when everything that is there was scored.
    pub once: bool,
}

/// The thread that finds pictures.
pub struct Arrivals {
    pub folder: Folder,
    pub times: Times,
    pub known: Shared,
    /// What is handed out, in order.
    pub handed: Sender<Handed>,
    pub returned: Receiver<Returned>,
    /// `None`: the folder is only looked at.
    pub listening: Option<Listening>,
    pub stop: Arc<AtomicBool>,
    pub tell: Tell,
    pub waits: Waits,
}

/// The files that wait.
#[derive(Default)]
pub struct Waits {
    due: BTreeMap<Due, Waiting>,
    at: HashMap<PathBuf, (Instant, i64)>,
    /// What was said already of folders that cannot be read.
    told: HashSet<String>,
}

/// What the system tells of a folder.
pub struct Listening {
    events: Receiver<notify::Result<notify::Event>>,
    /// More events came than could wait.
    overflow: Arc<AtomicBool>,
    /// The folder was moved away or removed; what has its name now is not told of.
    lost: bool,
    _watcher: RecommendedWatcher,
}

/// Has the system tell of a folder; where it does not, that is said, and the folder is looked at more often.
pub fn listen(folder: &Folder, times: &mut Times, tell: &Tell) -> Option<Listening> {
    let failed = |e: notify::Error| {
        let (root, every) = (folder.root().display(), POLL.as_secs());
        tell(Note::Warning(format!("{root}: the system does not tell of it ({e}): it is looked at every {every} s")));
        times.poll = Some(POLL);
    };
    told_of(folder).map_err(failed).ok()
}

/// What matters here.
fn told_of(folder: &Folder) -> notify::Result<Listening> {
    let (events, heard) = mpsc::sync_channel(EVENTS);
    let overflow = Arc::new(AtomicBool::new(false));
    let overflowed = overflow.clone();
    let hear = move |event: notify::Result<notify::Event>| {
        // Also what others, and we, only read.
        let noise = |e: &notify::Event| matches!(e.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        if !event.as_ref().is_ok_and(noise) && events.try_send(event).is_err() {
            overflowed.store(true, Ordering::Relaxed);
        }
    };
    let mut watcher = RecommendedWatcher::new(hear, Config::default().with_follow_symlinks(false))?;
    let depth = if folder.recursive() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    watcher.watch(folder.resolved(), depth)?;
    Ok(Listening { events: heard, overflow, lost: false, _watcher: watcher })
}

/// Whether the system says that a file was closed by who wrote it.
const TELLS_OF_CLOSING: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl Arrivals {
    /// How long a file is left alone of which it is not known that its writer closed it.
    fn quiet(&self) -> Duration {
        if self.listening.is_some() && TELLS_OF_CLOSING { self.patience() } else { self.times.settle }
    }

    fn patience(&self) -> Duration {
        self.times.settle * PATIENCE
    }

    /// Hands pictures to `take` until it returns false, or it is to stop.
    pub fn run(&mut self, take: &mut dyn FnMut(Listed) -> bool) -> Result<()> {
        let (mut look, mut earliest) = (Instant::now(), Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            if self.listening.as_ref().is_some_and(|l| l.overflow.swap(false, Ordering::Relaxed)) {
                look = Instant::now();
            }
            if look.max(earliest) <= Instant::now() {
                let begun = Instant::now();
                self.look()?;
                look = begun + self.times.poll.unwrap_or(SAFETY_NET);
                earliest = Instant::now() + begun.elapsed() * LOOKING;
            }
            // Asked first: what is returned meanwhile is seen below.
            let idle = locked(&self.known).under_way.is_empty();
            while let Ok(returned) = self.returned.try_recv() {
                self.take_back(returned);
            }
            if self.times.once && idle && self.waits.due.is_empty() || !self.hand_out_next(take) {
                break;
            }
            let next = self.waits.due.first_key_value().map(|((at, ..), _)| *at);
            let until = next.map_or(look, |next| next.min(look)).saturating_duration_since(Instant::now()).min(TICK);
            let mut event = match self.listening.as_ref().map(|l| l.events.recv_timeout(until)) {
                Some(Ok(event)) => Some(event),
                Some(Err(RecvTimeoutError::Timeout)) => None,
                // Nothing tells of this folder.
                Some(Err(RecvTimeoutError::Disconnected)) | None => {
                    std::thread::sleep(until);
                    None
                }
            };
            while let Some(heard) = event {
                if self.hear(heard) {
                    look = Instant::now();
                }
                event = self.listening.as_ref().and_then(|l| l.events.try_recv().ok());
            }
        }
        Ok(())
    }

    /// Goes on with the folder that has the name now, if the one that was told of has lost it.
    fn follow(&mut self) -> Result<()> {
        let Some(listening) = &self.listening else { return Ok(()) };
        // Another one may even have its number.
        if !listening.lost && self.folder.is_there() {
            return Ok(());
        }
        let begun = Instant::now();
        self.folder = loop {
            match self.folder.anew() {
                Err(_) if begun.elapsed() < ANEW => std::thread::sleep(TICK),
                found => break found?,
            }
        };
        let root = self.folder.root().display();
        if let Some(kind) = self.folder.network {
            invalid!("{root}: was replaced by a folder on a network ({kind}), which is watched otherwise; start again");
        }
        (self.tell)(Note::Warning(format!(
            "{root}: the folder was moved away or removed; the one that has its name now is watched"
        )));
        self.listening = listen(&self.folder, &mut self.times, &self.tell);
        Ok(())
    }

    /// Looks at the whole folder, for pictures that were not scored.
    fn look(&mut self) -> Result<()> {
        self.follow()?;
        let (quiet, patience) = (self.quiet(), self.patience());
        // One moment for all: what was written at the same time is then taken in the order of names.
        let (lasting, now, date) = (self.folder.network.is_none(), Instant::now(), SystemTime::now());
        let (known, waits, tell) = (&self.known, &mut self.waits, &self.tell);
        let mut unreadable = Vec::new();
        let found = self.folder.each(
            &mut |name, state| {
                if waits.at.contains_key(&name) || locked(known).contains(&state.key(&name)) {
                    return;
                }
                // The clocks of other machines may be wrong: what they wrote is looked at twice.
                let age = state.age(date).filter(|_| lasting).unwrap_or_default();
                waits.put(name, Waiting { state, last: age >= patience }, now + quiet.saturating_sub(age));
            },
            &mut |e| unreadable.push(e.to_string()),
        );
        for e in unreadable {
            if waits.told.insert(e.clone()) {
                tell(Note::Warning(format!("{e}; what comes there is not seen")));
            }
        }
        match found {
            // A server that does not answer will do so again.
            Err(e) if self.times.poll.is_some() && !self.times.once => {
                if waits.told.insert(e.to_string()) {
                    tell(Note::Warning(format!("{e}; trying again")));
                }
                Ok(())
            }
            found => found,
        }
    }

    /// Takes note of what the system tells; whether the folder has to be looked at for it.
    fn hear(&mut self, event: notify::Result<notify::Event>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(e) => {
                let text = format!("{}: {e}", self.folder.root().display());
                if self.waits.told.insert(text.clone()) {
                    (self.tell)(Note::Warning(text));
                }
                return true;
            }
        };
        let ended = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        if ended && event.paths.iter().any(|path| path == self.folder.resolved()) {
            self.listening.iter_mut().for_each(|l| l.lost = true);
            return true;
        }
        let (written, paths) = match event.kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => (true, &event.paths[..]),
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => (true, event.paths.get(1..).unwrap_or_default()),
            EventKind::Create(_) | EventKind::Modify(_) => (false, &event.paths[..]),
            _ => return event.need_rescan(),
        };
        let quiet = if written { Duration::ZERO } else { self.quiet() };
        // Its date or its mode, which writers set last: it waits no longer for that.
        let metadata = matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_)));
        let mut new_folders = false;
        for path in paths {
            if let Some(name) = self.folder.name_of(path) {
                let until = self.waits.at.get(&name).filter(|_| metadata).map(|(ready, _)| *ready);
                let left = until.map(|ready| ready.saturating_duration_since(Instant::now()));
                self.arm(name, false, left.unwrap_or(quiet));
            } else if self.folder.recursive() && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write)) {
                // What was in it before the system began to tell of it.
                new_folders |= event.kind == EventKind::Create(CreateKind::Folder) || written && path.is_dir();
            }
        }
        new_folders || event.need_rescan()
    }

    /// Has a picture wait, if there is one that has not been scored as it is.
    fn arm(&mut self, name: PathBuf, last: bool, wait: Duration) {
        self.waits.take(&name);
        if let Some(state) = self.folder.state(&name) {
            self.waits.put(name, Waiting { state, last }, Instant::now() + wait);
        }
    }

    fn take_back(&mut self, returned: Returned) {
        match returned {
            // Unless what happened to it is known already.
            Returned::Changed(name) if !self.waits.at.contains_key(&name) => self.arm(name, false, self.quiet()),
            Returned::Changed(_) => {}
            Returned::Unreadable(name, state) => {
                if !self.waits.at.contains_key(&name) {
                    let age = state.age(SystemTime::now()).filter(|_| self.folder.network.is_none());
                    let ready = Instant::now() + self.patience().saturating_sub(age.unwrap_or_default());
                    self.waits.put(name, Waiting { state, last: true }, ready);
                }
            }
        }
    }

    /// Hands out what is ready and comes next; false where nobody listens any more. No more at once: that takes as long as scoring
    /// does, and what happens meanwhile is to be heard.
    fn hand_out_next(&mut self, take: &mut dyn FnMut(Listed) -> bool) -> bool {
        let Some(entry) = self.waits.due.first_entry().filter(|e| e.key().0 <= Instant::now()) else { return true };
        let ((.., name), waiting) = entry.remove_entry();
        self.waits.at.remove(&name);
        self.hand_out(name, waiting, take)
    }

    fn hand_out(&mut self, name: PathBuf, waiting: Waiting, take: &mut dyn FnMut(Listed) -> bool) -> bool {
        let Some(state) = self.folder.state(&name) else { return true };
        if state != waiting.state {
            let quiet = self.quiet();
            self.waits.put(name, Waiting { state, last: false }, Instant::now() + quiet);
            return true;
        }
        if let Some(left) = state.ambiguous_for() {
            self.waits.put(name, waiting, Instant::now() + left);
            return true;
        }
        let key = state.key(&name);
        {
            let mut known = locked(&self.known);
            if known.contains(&key) {
                return true;
            }
            known.under_way.insert(key);
        }
        let meant = Meant { source: Source::Path(self.folder.path(&name)), name: name.clone() };
        self.handed.send(Handed { name, state, last: waiting.last }).is_ok() && take(Ok(meant))
    }
}

impl Waits {
    fn put(&mut self, name: PathBuf, waiting: Waiting, ready: Instant) {
        let key = (ready, waiting.state.mtime_ns);
        self.at.insert(name.clone(), key);
        self.due.insert((key.0, key.1, name), waiting);
    }

    fn take(&mut self, name: &Path) -> Option<Waiting> {
        let (ready, written) = self.at.remove(name)?;
        self.due.remove(&(ready, written, name.to_path_buf()))
    }
}
