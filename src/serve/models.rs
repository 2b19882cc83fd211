//! The models in service, by name: loaded, replaced and dropped while the server runs. What is served never depends on a file once
//! it was read.

use super::Settings;
use super::engine::{Batching, Engine, FAILED};
use super::errors::Refusal;
use super::metrics::Metrics;
use crate::backend::Request;
use crate::detector::file::{Config, ModelFile};
use crate::error::plural;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

/// What model files end in.
const EXTENSION: &str = "safetensors";

/// A model that is ready.
pub struct Model {
    pub name: String,
    pub config: Config,
    pub engine: Engine,
    /// Where it computes, for people.
    pub device: String,
}

/// A file that a model comes from.
struct Source {
    path: PathBuf,
    /// Named when the server started, not found in the folder.
    named: bool,
    /// As it was seen last: one that still changes is not read.
    seen: Option<Stamp>,
    /// As it was when it was read, whatever came of it.
    read: Option<Stamp>,
    state: State,
}

enum State {
    Serving(Arc<Model>),
    /// With the reason.
    Unavailable(String),
    /// By request: it stays out until it is asked for.
    Unloaded,
}

/// What tells a file from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    node: u64,
    /// Who may read it.
    mode: u32,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        #[cfg(unix)]
        let (node, mode) = {
            use std::os::unix::fs::MetadataExt;
            (file.ino(), file.mode())
        };
        #[cfg(not(unix))]
        let (node, mode) = (0, 0);
        Stamp { bytes: file.len(), modified: file.modified().ok(), node, mode }
    }
}

/// A model as a client may know of it.
pub struct Listed {
    pub name: String,
    pub ready: bool,
    /// Why it is not.
    pub reason: String,
}

/// All of them.
pub struct Models {
    folder: Option<PathBuf>,
    request: Request,
    batching: Batching,
    metrics: Arc<Metrics>,
    sources: RwLock<BTreeMap<String, Source>>,
    /// One file is read at a time. What was said of the folder last, so that it is said once.
    loading: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    folder: Option<String>,
    names: Vec<PathBuf>,
}

impl Models {
    /// Loads the models that were named, each of which must be usable, and those in the folder, of which others are passed over.
    pub fn open(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self> {
        let models = Models {
            folder: settings.folder.clone(),
            request: settings.device.clone(),
            batching: settings.batching,
            metrics,
            sources: RwLock::default(),
            loading: Mutex::default(),
        };
        for (name, path) in &settings.models {
            if models.read().contains_key(name) {
                return Err(Error::Usage(format!("--model: two models are called {name}: give one as NAME=FILE")));
            }
            models.write().insert(name.clone(), Source::new(path.clone(), true));
            models.load(name).map_err(|e| e.within(path.display()))?;
        }
        if let Some(folder) = &settings.folder {
            std::fs::read_dir(folder).map_err(|e| Error::unread(folder, e, "a folder of model files"))?;
        }
        let mut told = models.loading.lock().unwrap_or_else(PoisonError::into_inner);
        models.look_into_folder(&mut told);
        let found: Vec<String> = models.read().iter().filter(|(_, s)| !s.named).map(|(name, _)| name.clone()).collect();
        for name in found {
            let _ = models.load_or_tell(&name);
        }
        drop(told);
        Ok(models)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Source>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Source>> {
        self.sources.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model of a name; without one, the only one there is.
    pub fn get(&self, name: Option<&str>) -> Result<Arc<Model>, Refusal> {
        let sources = self.read();
        let serving = || sources.values().filter_map(|source| source.model());
        let names = || serving().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(name) = name else {
            let mut all = serving();
            return match (all.next(), all.next()) {
                (Some(only), None) => alive(only),
                (None, _) => Err(Refusal::busy("no model", "no model is in service", 1)),
                _ => {
                    Err(Refusal::bad(format!("there are several models: say which by ?model=NAME, one of {}", names())))
                }
            };
        };
        match sources.get(name).map(|source| &source.state) {
            Some(State::Serving(model)) => alive(model),
            Some(State::Unavailable(why)) => {
                Err(Refusal::busy("no model", format!("the model {name} could not be loaded: {why}"), 1))
            }
            // One that is not in service is as one that never was.
            Some(State::Unloaded) | None if serving().next().is_none() => {
                Err(Refusal::not_found(format!("no model is called {name:?}, and none is in service")))
            }
            _ => Err(Refusal::not_found(format!("no model is called {name:?}: expected one of {}", names()))),
        }
    }

    /// Those that are ready.
    pub fn serving(&self) -> Vec<Arc<Model>> {
        let sources = self.read();
        sources.values().filter_map(|source| source.model()).filter(|model| model.engine.is_alive()).cloned().collect()
    }

    pub fn list(&self) -> Vec<Listed> {
        let listed = |(name, source): (&String, &Source)| {
            let reason = match &source.state {
                State::Serving(model) if model.engine.is_alive() => String::new(),
                State::Serving(_) => FAILED.into(),
                State::Unavailable(why) => why.clone(),
                State::Unloaded => "unloaded".into(),
            };
            Listed { name: name.clone(), ready: reason.is_empty(), reason }
        };
        self.read().iter().map(listed).collect()
    }

    /// Looks for what has changed: new files, other contents, files that are gone. To be called again and again; a file is read
    /// once it was found twice without a change.
    pub fn poll(&self) {
        let mut told = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_into_folder(&mut told);
        let mut changed = Vec::new();
        for (name, source) in self.write().iter_mut() {
            let now = std::fs::metadata(&source.path).map(|file| Stamp::of(&file));
            if let (Err(e), State::Unavailable(why)) = (&now, &mut source.state) {
                // As of a link that leads nowhere.
                let found = format!("{name}: {e}");
                if *why != found {
                    tracing::warn!(model = name, "cannot be loaded: {e}");
                    *why = found;
                }
            }
            let now = now.ok();
            let settled = now == source.seen;
            if !settled && now.is_none() && source.model().is_some() {
                tracing::warn!(model = name, "{} is gone; the model stays in service", source.path.display());
            }
            source.seen = now;
            if settled && now.is_some() && now != source.read && !matches!(source.state, State::Unloaded) {
                changed.push(name.clone());
            }
        }
        for name in changed {
            let _ = self.load_or_tell(&name);
        }
    }

    /// Loads a model, or loads it again; what was in service stays in service until that is done.
    pub fn load_again(&self, name: &str) -> Result<(), Refusal> {
        let mut told = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_into_folder(&mut told);
        if !self.read().contains_key(name) {
            return Err(Refusal::not_found(format!("no model is called {name:?}")));
        }
        self.load_or_tell(name).map_err(|e| Refusal::bad(format!("the model {name} cannot be loaded: {e}")))
    }

    /// Takes a model out of service; what it has queued is done.
    pub fn unload(&self, name: &str) -> Result<(), Refusal> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        match self.write().get_mut(name) {
            Some(source) => source.state = State::Unloaded,
            None => return Err(Refusal::not_found(format!("no model is called {name:?}"))),
        }
        self.metrics.load("dropped");
        tracing::info!(model = name, "unloaded");
        Ok(())
    }

    /// Takes in what is new in the folder, and drops what is gone from it.
    fn look_into_folder(&self, told: &mut Told) {
        let Some(folder) = &self.folder else { return };
        let found = match std::fs::read_dir(folder).and_then(|all| all.collect::<std::io::Result<Vec<_>>>()) {
            Ok(found) => found,
            Err(e) => {
                let why = e.to_string();
                if told.folder.as_ref() != Some(&why) {
                    tracing::warn!("{}: {why}; the models stay in service", folder.display());
                    told.folder = Some(why);
                }
                return;
            }
        };
        told.folder = None;
        let mut present = BTreeMap::new();
        for path in found.into_iter().map(|entry| entry.path()) {
            // Beside a model that is being trained lies its checkpoint.
            let checkpoint =
                path.file_stem().is_some_and(|stem| Path::new(stem).extension() == Some("checkpoint".as_ref()));
            if path.extension() != Some(EXTENSION.as_ref()) || checkpoint {
                continue;
            }
            match name_of(&path) {
                Ok(name) => drop(present.insert(name, path)),
                Err(e) if !told.names.contains(&path) => {
                    tracing::warn!("passed over: {e}");
                    told.names.push(path);
                }
                Err(_) => {}
            }
        }
        let mut sources = self.write();
        sources.retain(|name, source| {
            let stays = source.named || present.contains_key(name);
            if !stays {
                if source.model().is_some() {
                    self.metrics.load("dropped");
                }
                tracing::info!(model = name, "dropped: {} is gone", source.path.display());
            }
            stays
        });
        for (name, path) in present {
            sources.entry(name).or_insert_with(|| Source::new(path, false));
        }
    }

    /// As [`Models::load`]; what cannot be loaded is logged.
    fn load_or_tell(&self, name: &str) -> Result<()> {
        self.load(name).inspect_err(|e| {
            let serving = self.read().get(name).is_some_and(|source| source.model().is_some());
            let stays = if serving { "; the one before stays in service" } else { "" };
            tracing::warn!(model = name, "cannot be loaded: {e}{stays}");
        })
    }

    /// Reads a model's file and puts it in service, if it can be used.
    fn load(&self, name: &str) -> Result<()> {
        let Some(path) = self.read().get(name).map(|source| source.path.clone()) else { return Ok(()) };
        let (stamp, loaded) = self.read_model(name, &path);
        let mut sources = self.write();
        let Some(source) = sources.get_mut(name) else { return Ok(()) };
        (source.seen, source.read) = (stamp, stamp);
        match loaded {
            Ok(model) => {
                let again = source.model().is_some();
                let what = if again { "replaced" } else { "loaded" };
                tracing::info!(model = name, "{what} from {}, computing on {}", path.display(), model.device);
                source.state = State::Serving(Arc::new(model));
                self.metrics.load("loaded");
                Ok(())
            }
            Err(e) => {
                if source.model().is_none() {
                    source.state = State::Unavailable(e.to_string());
                }
                self.metrics.load("failed");
                Err(e)
            }
        }
    }

    /// A model, and the file as it was when it was read.
    fn read_model(&self, name: &str, path: &Path) -> (Option<Stamp>, Result<Model>) {
        // Errors name the model: clients see them, and need not know where files are.
        let (stamp, bytes) = match read(path) {
            Ok((stamp, bytes)) => (Some(stamp), bytes),
            Err(e) => {
                // One that may not be read is tried again once it has changed.
                let stamp = std::fs::metadata(path).ok().map(|file| Stamp::of(&file));
                return (stamp, Err(Error::Invalid(e.to_string()).within(name)));
            }
        };
        let start = || {
            let file = ModelFile::of_bytes(name, bytes?)?;
            let request = Request { quantized: file.config.quantized.is_some(), ..self.request.clone() };
            let chosen = request.choose()?;
            // What one picture cannot be scored for is no matter of the batch.
            file.config.scoring(1, chosen.backend.number)?;
            let engine = Engine::start(name, &file, &chosen.backend, self.batching, self.metrics.clone())?;
            chosen.notes.iter().for_each(|note| tracing::debug!(model = name, "{note}"));
            Ok(Model { name: name.into(), config: file.config, engine, device: chosen.backend.to_string() })
        };
        (stamp, start())
    }
}

impl Source {
    fn new(path: PathBuf, named: bool) -> Self {
        let state = State::Unavailable("it is being loaded".into());
        Source { path, named, seen: None, read: None, state }
    }

    fn model(&self) -> Option<&Arc<Model>> {
        match &self.state {
            State::Serving(model) => Some(model),
            _ => None,
        }
    }
}

/// The model, unless its engine has failed.
fn alive(model: &Arc<Model>) -> Result<Arc<Model>, Refusal> {
    if model.engine.is_alive() { Ok(model.clone()) } else { Err(Refusal::busy("no model", FAILED, 1)) }
}

/// A whole file, and what it was before and after.
fn read(path: &Path) -> std::io::Result<(Stamp, Result<Vec<u8>>)> {
    let before = std::fs::metadata(path)?;
    // Asked first: opening a pipe would wait for whoever writes into it.
    if !before.is_file() {
        return Ok((Stamp::of(&before), Err(Error::Invalid("not a file, expected a model file".into()))));
    }
    let bytes = std::fs::read(path)?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&std::fs::metadata(path)?));
    if before != after || after.bytes != bytes.len() as u64 {
        return Ok((before, Err(Error::Invalid("it changed while it was read".into()))));
    }
    Ok((after, Ok(bytes)))
}

/// The name of a model that is only known by its file: what stands before `.safetensors`.
pub fn name_of(path: &Path) -> Result<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    expect_name(&stem).map_err(|e| e.within(path.display()))?;
    Ok(stem.into_owned())
}

/// Names are part of addresses.
pub fn expect_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(fits) || name.chars().all(|c| c == '.') {
        return Err(Error::Usage(format!(
            "{name:?} cannot be a model's name: expected up to 128 letters, digits, '-', '_' and '.'; give it as NAME=FILE"
        )));
    }
    Ok(())
}

/// What is said of how many there are.
pub fn describe(models: &[Arc<Model>]) -> String {
    let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
    format!("{}: {}", plural(names.len(), "model"), names.join(", "))
}
