//! Runs the cells of an experiment, several at once where memory allows. What is done stays done: results are written as cells
//! end, and a cell that was cut off goes on from its checkpoint.

use super::file::Experiment;
use super::folder::Folder;
use super::grid::{Cell, Opened};
use super::results::{CategoryResult, Outcome};
use super::shard::Shard;
use super::table::Report;
use crate::bench::{self, Workload};
use crate::data::layout::{Sample, TestSet, TrainSet};
use crate::data::protocol::Draw;
use crate::detector::file::ModelFile;
use crate::engine::device::cuda::card;
use crate::engine::device::{Backend, Device, cpu};
use crate::error::{Kind, plural};
use crate::model::TensorSource;
use crate::model::pretrained::Pretrained;
use crate::output::checkpoint_of;
use crate::report::evaluation::Known;
use crate::score::evaluate::{NoMask, evaluate};
use crate::score::scorer::{Gives, Scorer};
use crate::train;
use crate::train::events::{Ended, Event};
use crate::train::features::CacheKind;
use crate::train::settings::{Calibrate, Settings};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Pictures that are scored at a time.
const SCORED: usize = 16;
const CHECKPOINT_EVERY: usize = 5;
/// Bytes of pictures, and again of features, that a cell keeps in memory; as `ckaad train` does.
const BUDGET: usize = 2_048_000_000;
/// What a program, its libraries and its buffers take beside what a cell holds.
const BESIDE: u64 = 200_000_000;

/// How to run the cells.
pub struct Runner<'a> {
    pub experiment: &'a Experiment,
    pub opened: &'a [Opened<'a>],
    pub backend: Backend,
    /// A name or file for every backbone.
    pub weights: &'a str,
    /// Marked as ours.
    pub folder: PathBuf,
    /// Whose cells these are, where others run the rest.
    pub shard: Option<Shard>,
    /// Cells at a time, at most.
    pub jobs: usize,
    pub keep_models: bool,
    /// For the page: the command line that runs it.
    pub command: &'a str,
    pub stop: &'a AtomicBool,
    /// Hears of progress, from several threads.
    pub tell: &'a (dyn Fn(Progress) + Sync),
}

/// What a run tells.
pub enum Progress<'a> {
    /// Steps of work done, of how many, in units that take about equally long.
    Work {
        done: u64,
        of: u64,
    },
    Begun(&'a Cell),
    /// And how many of the cells that are to be run have a result now.
    Done(&'a Outcome, usize),
    /// It has no result; the others go on.
    Failed(&'a Cell, &'a Error),
    Warning(&'a str),
}

/// How a run ended.
pub struct Summary {
    pub outcomes: Vec<Outcome>,
    pub failed: usize,
    pub interrupted: bool,
}

/// What threads share.
struct Shared {
    next: usize,
    /// Bytes that running cells take, and how many there are.
    taken: Memory,
    running: usize,
    /// It was said that there are fewer cells at a time than asked for.
    told: bool,
    outcomes: Vec<Outcome>,
    folder: Folder,
    failed: usize,
    /// Nothing can be written any more.
    broken: Option<Error>,
}

impl Runner<'_> {
    /// Runs those of `own` that have no result in the folder yet; `cells` are all of the grid.
    pub fn run(&self, cells: &[Cell], own: &[&Cell]) -> Result<Summary> {
        let folder = Folder::open(&self.folder, &mut |text| (self.tell)(Progress::Warning(text)))?;
        let outcomes = folder.results()?;
        let others = outcomes.iter().filter(|o| !cells.contains(&o.cell)).count();
        if others > 0 {
            let results = if others == 1 { "1 result is".into() } else { format!("{others} results are") };
            let text = format!(
                "{}: {results} of other settings, pictures, weights or devices, or by an earlier version, which did not look at \
                 what files hold{}; not shown",
                folder.file().display(),
                // What those cells depend on is not read.
                if self.shard.is_some() { ", or of cells that are another shard's now" } else { "" }
            );
            (self.tell)(Progress::Warning(&text));
        }
        let open: Vec<&Cell> = own.iter().copied().filter(|c| !outcomes.iter().any(|o| o.cell == **c)).collect();
        let work = Work::new(self, &open)?;
        work.tell(self);
        let taken = Memory::default();
        let shared = Shared { next: 0, taken, running: 0, told: false, outcomes, folder, failed: 0, broken: None };
        let (shared, freed) = (Mutex::new(shared), Condvar::new());
        // Of all jobs, however many cells are left: a checkpoint is gone on from with as many threads as wrote it.
        let threads = (rayon::current_num_threads() / self.jobs).max(1);
        let jobs = self.jobs.clamp(1, open.len().max(1));
        let worker = || -> Result<()> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::Invalid(format!("no threads can be had: {e}")))?;
            while let Some((at, cell)) = self.next(&open, &work, &shared, &freed) {
                (self.tell)(Progress::Begun(cell));
                let ended = pool.install(|| self.cell(cell, threads, &mut |share| work.go_on(self, at, share)));
                let mut shared = lock(&shared);
                shared.taken = shared.taken.less(work.needs[at]);
                shared.running -= 1;
                self.note(cells, own, cell, ended, &mut shared);
                freed.notify_all();
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|w| match w.join() {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(e) = shared.broken {
            return Err(e);
        }
        // Also where no cell was left to run: what is printed may have changed.
        self.write_tables(cells, &mut shared)?;
        shared.outcomes.retain(|o| cells.contains(&o.cell));
        let interrupted = self.stop.load(Ordering::Relaxed);
        Ok(Summary { outcomes: shared.outcomes, failed: shared.failed, interrupted })
    }

    /// Writes the tables of what there is so far.
    fn write_tables(&self, cells: &[Cell], shared: &mut Shared) -> Result<()> {
        let (experiment, opened, shard) = (self.experiment, self.opened, self.shard);
        let report = Report { experiment, opened, shard, cells, outcomes: &shared.outcomes };
        shared.folder.write_tables(&report, self.command)
    }

    /// The next cell, once there is memory for it; one alone always has enough.
    fn next<'c>(
        &self,
        open: &[&'c Cell],
        work: &Work,
        shared: &Mutex<Shared>,
        freed: &Condvar,
    ) -> Option<(usize, &'c Cell)> {
        let mut now = lock(shared);
        loop {
            if now.next >= open.len() || now.broken.is_some() || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let need = work.needs[now.next];
            let with_it = now.taken.and(need);
            if now.running == 0 || with_it.fits(work.memory) {
                let at = now.next;
                now.next += 1;
                now.taken = with_it;
                now.running += 1;
                return Some((at, open[at]));
            }
            if !std::mem::replace(&mut now.told, true) {
                let running = plural(now.running, "cell");
                let text = format!(
                    "{running} at a time rather than {}: another one would take {with_it} in all, and there are {}",
                    self.jobs, work.memory
                );
                (self.tell)(Progress::Warning(&text));
            }
            now = freed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a result down.
    fn note(&self, cells: &[Cell], own: &[&Cell], cell: &Cell, ended: Result<Option<Outcome>>, shared: &mut Shared) {
        match ended {
            Ok(None) | Err(Error::Cancelled) => {}
            Ok(Some(outcome)) => {
                let before = shared.outcomes.iter().filter(|o| own.contains(&&o.cell)).count();
                (self.tell)(Progress::Done(&outcome, before + 1));
                shared.outcomes.push(outcome);
                let written = shared.folder.write_results(&shared.outcomes);
                let written = written.and_then(|()| self.write_tables(cells, shared));
                shared.broken = shared.broken.take().or(written.err());
            }
            Err(e) => {
                shared.failed += 1;
                (self.tell)(Progress::Failed(cell, &e));
            }
        }
    }

    fn dataset(&self, cell: &Cell) -> Result<&Opened<'_>> {
        let found = self.opened.iter().find(|o| o.spec.name == cell.dataset);
        found.ok_or_else(|| Error::Invalid(format!("dataset {} is not there", cell.dataset)))
    }

    fn draw(&self, cell: &Cell) -> Result<Draw> {
        cell.protocol().draw(self.dataset(cell)?.train(&cell.categories)?)
    }

    /// Trains and evaluates; nothing comes of it where it is to stop. `progress` hears which share is done.
    fn cell(&self, cell: &Cell, threads: usize, progress: &mut (dyn FnMut(f64) + Send)) -> Result<Option<Outcome>> {
        let (started, dataset, setup) = (Instant::now(), self.dataset(cell)?, &cell.settings);
        // What cannot be tested is not trained.
        cell.categories.iter().try_for_each(|category| dataset.test(category).map(drop))?;
        let Draw { train, validation } = self.draw(cell)?;
        let (normal, labelled, validated) = (train.good.len(), train.anomalous.len(), validation.len());
        if let Some(less) = cell.labelled_less(normal, labelled) {
            (self.tell)(Progress::Warning(&format!("{}: {less}, which is all there are", cell.describe())));
        }
        let architecture = setup.architecture()?;
        let weights = Pretrained::open(self.weights, &architecture, cell.seed)?;
        let out = self.model_path(cell)?;
        let settings = Settings {
            detector: setup.detector()?,
            architecture,
            framing: setup.framing()?,
            backend: self.backend.clone(),
            epochs: setup.epochs(),
            batch: setup.batch_size(),
            seed: cell.seed,
            shuffle: true,
            // Thresholds come from validation pictures, if there are any.
            calibrate: Calibrate::HoldOut(0.0),
            quantile: 1.0,
            cache: CacheKind::Auto,
            budget: BUDGET,
            checkpoint_every: CHECKPOINT_EVERY,
            resume: checkpoint_of(&out).exists(),
            out: out.clone(),
            weights: weights.describe(),
            normal_class: None,
        };
        let (progress, before) = (Mutex::new(progress), Mutex::new(0.0));
        let heard = |event: Event| match event {
            Event::Start { seconds, .. } => *lock(&before) = seconds,
            Event::Step { epoch, step, steps, .. } => {
                let done = ((epoch - 1) * steps + step) as f64 / (settings.epochs * steps) as f64;
                (lock(&progress))(done);
            }
            Event::Warning(text) => (self.tell)(Progress::Warning(text)),
            _ => (),
        };
        let begin = |settings: &Settings| train::run(settings, train.clone(), &weights, &heard, self.stop);
        let ended = match begin(&settings) {
            Err(e) if settings.resume && matches!(e.kind(), Kind::Usage | Kind::Data) => {
                let text = format!("{}: begun anew, as its checkpoint does not fit: {e}", cell.describe());
                (self.tell)(Progress::Warning(&text));
                begin(&Settings { resume: false, ..settings.clone() })
            }
            ended => ended,
        };
        if let Ended::Interrupted { .. } = ended? {
            return Ok(None);
        }
        let model = ModelFile::open(&out)?;
        let mut scorer = Scorer::from_file(&model, SCORED, &self.backend, Gives::ScoresAndMaps)?;
        let pro = self.experiment.pro()?;
        let (mut threshold, mut config) = (None, model.config.clone());
        if !validation.is_empty() {
            let e = evaluate(&mut scorer, &of_samples(validation), None, pro, |_| Ok(()))?;
            threshold = e.overall.best.map(|b| b.threshold);
            config.calibrated_on = e.pictures.iter().filter_map(|p| p.digest).collect();
        }
        let mut results = Vec::new();
        for category in &cell.categories {
            let e = evaluate(&mut scorer, dataset.test(category)?, threshold, pro, |_| Ok(()))?;
            for reason in &e.unreadable {
                (self.tell)(Progress::Warning(&format!("{}: left out: {reason}", cell.describe())));
            }
            let known = Known::new(&config, &e);
            for text in known.describe(e.pictures.len()) {
                (self.tell)(Progress::Warning(&format!("{}: {text}", cell.describe())));
            }
            if let n @ 1.. = e.without_mask(|_| true)
                && e.without_mask(|why| *why == NoMask::Missing) < e.count(true)
            {
                let pictures = plural(n, "anomalous picture");
                let text = format!("{}: {pictures} without a usable mask count in image metrics only", cell.describe());
                (self.tell)(Progress::Warning(&text));
            }
            results.push(CategoryResult::new(category, &e, &known));
        }
        let _ = std::fs::remove_file(checkpoint_of(&out));
        if !self.keep_models {
            std::fs::remove_file(&out).map_err(|e| Error::io(&out, e))?;
        }
        let seconds = *lock(&before) + started.elapsed().as_secs_f64();
        Ok(Some(Outcome { cell: cell.clone(), normal, labelled, validated, seconds, threads, results }))
    }

    /// Where a cell's model is while it is made, and its checkpoint beside it.
    fn model_path(&self, cell: &Cell) -> Result<PathBuf> {
        let folder = self.folder.join("cells");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let text = serde_json::to_vec(cell).map_err(|e| Error::Invalid(format!("a cell cannot be named: {e}")))?;
        let digest: String = Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect();
        Ok(folder.join(format!("{digest}.safetensors")))
    }
}

/// Validation pictures as a set to evaluate on.
fn of_samples(images: Vec<Sample>) -> TestSet {
    TestSet { images, ..TestSet::default() }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that a cell takes, or that there are.
#[derive(Clone, Copy, Default)]
struct Memory {
    host: u64,
    /// Of a GPU; nothing is taken there by what runs on the host.
    device: u64,
}

impl Memory {
    fn and(self, other: Memory) -> Memory {
        Memory { host: self.host + other.host, device: self.device + other.device }
    }

    fn less(self, other: Memory) -> Memory {
        Memory { host: self.host - other.host, device: self.device - other.device }
    }

    fn fits(self, there: Memory) -> bool {
        self.host <= there.host && self.device <= there.device
    }

    /// What can be had now.
    fn free(backend: &Backend) -> Result<Memory> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let device = match backend.device {
            Device::Cuda(index) => card::gpus()?.iter().find(|g| g.index == index).map_or(0, |g| g.memory_bytes as u64),
            _ => 0,
        };
        Ok(Memory { host: system.available_memory(), device })
    }
}

/// `1.2 GB`, with a GPU's beside it.
impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let gb = |bytes: u64| bytes as f64 / 1e9;
        write!(f, "{:.1} GB", gb(self.host))?;
        if self.device > 0 { write!(f, " and {:.1} GB of the GPU's", gb(self.device)) } else { Ok(()) }
    }
}

/// How much there is to do, and what it takes.
struct Work {
    /// Of every open cell.
    units: Vec<u64>,
    needs: Vec<Memory>,
    /// What there is.
    memory: Memory,
    done: Vec<AtomicU64>,
}

impl Work {
    fn new(runner: &Runner, open: &[&Cell]) -> Result<Self> {
        let (mut units, mut needs) = (Vec::new(), Vec::new());
        // Of cells that differ in the seed alone it is the same.
        let mut planned: HashMap<String, u64> = HashMap::new();
        for cell in open {
            let set = runner.dataset(cell)?.train(&cell.categories)?;
            let key = format!("{:?}", cell.settings);
            let plan = match planned.get(&key) {
                Some(plan) => *plan,
                None => *planned.entry(key).or_insert(plan_of(cell)?),
            };
            let (steps, kept) = plan_of_pictures(cell, &set)?;
            units.push(steps);
            needs.push(match runner.backend.device {
                Device::Cuda(_) => Memory { host: BESIDE + kept, device: BESIDE + plan },
                _ => Memory { host: BESIDE + kept + plan, device: 0 },
            });
        }
        let done = units.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Work { units, needs, memory: Memory::free(&runner.backend)?, done })
    }

    /// A cell is this share done.
    fn go_on(&self, runner: &Runner, at: usize, share: f64) {
        self.done[at].store((self.units[at] as f64 * share) as u64, Ordering::Relaxed);
        self.tell(runner);
    }

    fn tell(&self, runner: &Runner) {
        let done = self.done.iter().map(|d| d.load(Ordering::Relaxed)).sum();
        (runner.tell)(Progress::Work { done, of: self.units.iter().sum() });
    }
}

/// Bytes that a training step takes, as it is planned for the CPU; a GPU's plan differs by little.
fn plan_of(cell: &Cell) -> Result<u64> {
    let setup = &cell.settings;
    let kind = bench::Kind::Train { batch: setup.batch_size(), cached: true };
    let workload = Workload { detector: setup.detector()?, architecture: setup.architecture()?, kind, scheme: None };
    let mut bytes = 0;
    for program in workload.record(Backend::CPU.number)? {
        bytes += cpu::plan(&program.tape)?.total as u64;
    }
    Ok(bytes)
}

/// Pictures that a cell's steps take in all, and the bytes of pictures and features that are kept in memory; what is more goes to
/// files.
fn plan_of_pictures(cell: &Cell, set: &TrainSet) -> Result<(u64, u64)> {
    let a = cell.settings.architecture()?;
    let (uses, normal) = (cell.uses_anomalies()?, set.good.len());
    let drawn = cell.row.ratio.beside(normal).map_or(set.anomalous.len(), |asked| asked.min(set.anomalous.len()));
    let pictures = normal + if uses { drawn } else { 0 };
    let maps: usize = a.sizes().into_iter().zip(a.channels()).map(|(size, channels)| size * size * channels).sum();
    let kept = [a.image_size * a.image_size * 3, maps * size_of::<f32>()].map(|each| (pictures * each).min(BUDGET));
    Ok((cell.pictures_in_steps(normal)?, kept.iter().sum::<usize>() as u64))
}
