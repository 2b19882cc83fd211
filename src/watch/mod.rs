//! Pictures scored as they come into a folder, each once, whatever ends the process between.
//!
//! One thread finds what has come (`arrivals`); decoding and scoring are those of every list of pictures (`score::pipeline`). A line in the
//! `journal` is what makes a picture done. It is written before the picture is moved (`sorting`) and names where to: who finds a line
//! and the picture still in its place, after a restart, finishes the move.

mod arrivals;
mod folder;
mod journal;
mod sorting;
mod state;

pub use arrivals::{Note, Tell, Times};
pub use folder::Folder;
pub use journal::Journal;
pub use sorting::{How, Sorting};

use crate::output::folder_of;
use crate::report::files::MapFiles;
use crate::report::json::path;
use crate::score::pipeline::{self, Loaded, Outcome, Wanted};
use crate::score::scorer::{Scored, Scorer};
use crate::score::verdict::Judge;
use crate::{Error, Result};
use arrivals::{Arrivals, Handed, Returned, Shared, Waits, listen, locked};
use serde_json::{Value, json};
use sorting::{Moved, free_place, is_copy, link_new, move_new};
use state::State;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// How often a folder is looked at where the system does not tell of it.
pub const POLL: Duration = Duration::from_secs(2);

/// What to watch, and what becomes of it.
pub struct Settings {
    pub folder: Folder,
    pub times: Times,
    pub sorting: Sorting,
    /// Leave alone what is in the folder when the journal begins.
    pub new_only: bool,
    pub judge: Judge,
    pub heatmaps: MapFiles,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub scored: u64,
    pub anomalous: u64,
    pub unreadable: u64,
    /// Could not be moved, or linked to.
    pub unmoved: u64,
}

/// Scores what comes until `stop` is set, or with [`Times::once`] what is there. `done` hears of every line. Errors: the folder or the journal
/// fails, or the model does; a picture that cannot be read gets a line.
pub fn watch(
    scorer: &mut Scorer,
    settings: Settings,
    journal: Journal,
    stop: Arc<AtomicBool>,
    tell: Tell,
    mut done: impl FnMut(&Counts),
) -> Result<Counts> {
    let Settings { folder, mut times, sorting, new_only, judge, heatmaps } = settings;
    let known = Shared::default();
    if let (None, Some(kind)) = (times.poll, folder.network) {
        times.poll = Some(POLL);
        let root = folder.root().display();
        tell(Note::Usual(format!("{root} is on a network ({kind}): it is looked at every {} s", POLL.as_secs())));
    }
    // Before anything is looked at: what comes from here on is either told or seen.
    let listening = match times.poll.is_none() && !times.once {
        false => None,
        true => listen(&folder, &mut times, &tell),
    };
    let batch = scorer.batch();
    let wanted = Wanted { pixels: !heatmaps.is_empty(), prompt: true, ..Wanted::default() };
    let ((hand, handed), (give_back, returned)) = (mpsc::channel(), mpsc::channel());
    let mut desk = Desk {
        folder: folder.clone(),
        journal,
        sorting,
        judge,
        heatmaps,
        known: known.clone(),
        handed,
        give_back,
        batch,
        entries: Vec::new(),
        counts: Counts::default(),
        tell: tell.clone(),
    };
    desk.begin(new_only)?;
    let mut arrivals =
        Arrivals { folder, times, known, handed: hand, returned, listening, stop, tell, waits: Waits::default() };
    pipeline::run(
        scorer,
        wanted,
        move |take| arrivals.run(take),
        |outcome| {
            desk.take(outcome)?;
            done(&desk.counts);
            Ok(())
        },
    )?;
    Ok(desk.counts)
}

/// Where outcomes become lines.
struct Desk {
    folder: Folder,
    journal: Journal,
    sorting: Sorting,
    judge: Judge,
    heatmaps: MapFiles,
    known: Shared,
    handed: Receiver<Handed>,
    give_back: Sender<Returned>,
    /// So many lines are written at once, or as many as there are when nothing else is on its way.
    batch: usize,
    entries: Vec<Done>,
    counts: Counts,
    tell: Tell,
}

/// A picture whose line is to be written.
struct Done {
    name: PathBuf,
    state: State,
    object: Value,
    /// Anomalous or not, if the model says it; or not readable.
    verdict: Result<Option<bool>, ()>,
}

impl Desk {
    /// Reads what is done, and finishes moves that were cut off.
    fn begin(&mut self, new_only: bool) -> Result<()> {
        if self.journal.torn > 0 {
            let torn = self.journal.torn;
            (self.tell)(Note::Warning(format!("the journal's last line was not whole: {torn} bytes were cut off")));
        }
        if new_only && self.journal.is_empty() {
            let lines = journal::carried(&self.folder, &mut |_, _| true)?;
            self.journal.append(&lines)?;
        }
        let known = self.known.clone();
        self.journal.each(&mut |e| {
            locked(&known).done.insert(e.state.key(&e.name));
        })?;
        let mut here = HashSet::new();
        let is_done = |name: &Path, state: &State| locked(&known).done.contains(&state.key(name));
        // Those that cannot be read are told of when they are looked at for what has come.
        let mut keep = |name: PathBuf, state: State| {
            if is_done(&name, &state) {
                here.insert(state.key(&name));
            }
        };
        self.folder.each(&mut keep, &mut drop)?;
        if here.is_empty() {
            return Ok(());
        }
        let mut owed = HashMap::new();
        self.journal.each(&mut |e| {
            let key = e.state.key(&e.name);
            if let Some(to) = e.moved_to.filter(|_| here.contains(&key)) {
                owed.insert(key, (e.name, e.state, to));
            }
        })?;
        for (name, state, to) in owed.into_values() {
            let from = self.folder.path(&name);
            if is_copy(&from, &to) {
                std::fs::remove_file(&from).map_err(|e| Error::io(&from, e))?;
                continue;
            }
            self.send(&name, &state, to)?;
        }
        Ok(())
    }

    /// Takes what became of a picture.
    fn take(&mut self, outcome: Outcome) -> Result<()> {
        let Ok(Handed { name, state, last }) = self.handed.recv() else { return Ok(()) };
        let returned = match &outcome.result {
            // What was scored may be neither the old one nor the new one.
            _ if self.folder.state(&name) != Some(state) => Some(Returned::Changed(name.clone())),
            Err(_) if !last => Some(Returned::Unreadable(name.clone(), state)),
            _ => None,
        };
        if let Some(returned) = returned {
            // In this order: with neither a picture on its way nor one that waits all is done.
            let _ = self.give_back.send(returned);
            locked(&self.known).under_way.remove(&state.key(&name));
        } else {
            let done = self.judged(name, state, outcome)?;
            self.entries.push(done);
        }
        let alone = locked(&self.known).under_way.len() == self.entries.len();
        if self.entries.len() == self.batch || alone { self.commit() } else { Ok(()) }
    }

    /// What is said of a picture.
    fn judged(&mut self, name: PathBuf, state: State, outcome: Outcome) -> Result<Done> {
        // What is no number is below every threshold, and would pass for normal.
        let is_number = |(picture, scored): (Loaded, Scored)| match scored.score.is_finite() {
            true => Ok((picture, scored)),
            false => Err(Error::Invalid(format!(
                "{}: its score is no number ({}); nothing is said of it",
                self.folder.path(&name).display(),
                scored.score
            ))),
        };
        let (picture, scored) = match outcome.result.and_then(is_number) {
            Ok(scored) => scored,
            Err(e) => {
                (self.tell)(Note::Warning(e.to_string()));
                self.counts.unreadable += 1;
                return Ok(Done { name, state, object: json!({ "error": e.to_string() }), verdict: Err(()) });
            }
        };
        let shown = (picture.shown.width, picture.shown.height);
        let verdict = self.judge.verdict(&scored, shown);
        let (mut object, anomalous) = (json!(verdict), verdict.anomalous);
        // Pictures that come one after the other under one name keep theirs, also after a restart.
        let stem = name.file_stem().unwrap_or_default().to_string_lossy();
        let called = name.with_file_name(format!("{stem}-{}.png", state.key(&name)));
        let written = self.heatmaps.write(&called, &picture.shown.rgb, shown, &scored.map)?;
        written.heatmap.iter().for_each(|file| path::put(&mut object, "heatmap", file));
        if !picture.shown.warnings.is_empty() {
            object["warnings"] = picture.shown.warnings.into();
        }
        self.counts.scored += 1;
        self.counts.anomalous += u64::from(anomalous == Some(true));
        Ok(Done { name, state, object, verdict: Ok(anomalous) })
    }

    /// Writes the lines there are, and moves their pictures.
    fn commit(&mut self) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        if self.journal.follow(&self.folder, &mut locked(&self.known))? {
            (self.tell)(Note::Usual("the journal was moved away or emptied: a new one is begun".into()));
        }
        let (mut lines, mut keys, mut moves, mut taken) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
        for mut done in std::mem::take(&mut self.entries) {
            let folder = self.sorting.folder(done.verdict);
            match (folder, self.sorting.how) {
                (None, _) => {}
                (Some(folder), How::Move) => {
                    let to = free_place(folder, &done.name, &taken);
                    path::put(&mut done.object, "moved_to", &to);
                    taken.insert(to.clone());
                    moves.push((done.name.clone(), done.state, to));
                }
                // Before its line: whoever comes after a kill finds the link and takes it for its own.
                (Some(folder), how) => match link_new(how, &self.folder.path(&done.name), folder, &done.name) {
                    Ok(link) => path::put(&mut done.object, "linked_to", &link),
                    Err(e) => {
                        self.counts.unmoved += 1;
                        (self.tell)(Note::Warning(format!("{}: no link to it: {e}", done.name.display())));
                    }
                },
            }
            lines.extend(journal::line(done.object, &self.folder, &done.name, &done.state));
            keys.push(done.state.key(&done.name));
        }
        self.journal.append(&lines)?;
        {
            let mut known = locked(&self.known);
            for key in keys {
                known.under_way.remove(&key);
                known.done.insert(key);
            }
        }
        for (name, state, to) in moves {
            self.send(&name, &state, to)?;
        }
        Ok(())
    }

    /// Moves a picture to where its line says, or, where something is in that place meanwhile, to another one of which there is then a
    /// line, too. What cannot be moved stays, and is told.
    fn send(&mut self, name: &Path, state: &State, mut to: PathBuf) -> Result<()> {
        let from = self.folder.path(name);
        loop {
            match move_new(&from, &to, state) {
                Ok(Moved::Taken) => {
                    let file = name.file_name().unwrap_or_default();
                    to = free_place(&folder_of(&to), Path::new(file), &HashSet::new());
                    let mut object = json!({ "score": null });
                    path::put(&mut object, "moved_to", &to);
                    self.journal.append(&journal::line(object, &self.folder, name, state))?;
                }
                Ok(Moved::Done | Moved::Gone) => return Ok(()),
                Err(e) => {
                    let from = from.display();
                    self.counts.unmoved += 1;
                    (self.tell)(Note::Warning(format!("{e}: {from} stays where it is until the next start")));
                    return Ok(());
                }
            }
        }
    }
}
