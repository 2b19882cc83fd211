//! A backbone from nothing: a ResNet learns to tell pictures apart that formulas draw, and is written with its batch norms
//! folded. Knows nothing of anomaly detection.
//!
//! Pictures, classes and initial values are functions of the seed and of the step, so a run that goes on from a checkpoint has the
//! bits of one that was never interrupted.

mod batches;
mod checkpoint;
mod evaluation;
mod export;
pub mod program;
mod recipe;

pub use evaluation::HeldOut;
pub use export::export;
pub use recipe::{Objective, Optimizer, Recipe};

use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::Var;
use crate::model::init;
use crate::model::saved::{expect_finite, read_params};
use crate::output::{beside, checkpoint_of, remove_checkpoint};
use crate::{Error, Result};
use batches::Batches;
use evaluation::Judge;
use program::Program;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What to learn, where, and what to write.
#[derive(Clone, Debug)]
pub struct Settings {
    pub recipe: Recipe,
    pub backend: Backend,
    /// Backbone to write, [`export`]ed.
    pub out: PathBuf,
    /// Go on from the checkpoint beside `out`. Else one that is there is removed when the first step begins.
    pub resume: bool,
    /// Steps between lines of the log.
    pub log_every: u32,
    /// Steps between checkpoints, each with a held-out evaluation.
    pub checkpoint_every: u32,
    /// Steps between backbones that are kept beside `out` with their step in the name; 0 for none.
    pub keep_every: u32,
    /// Held-out pictures, rounded up to whole batches.
    pub held_out: usize,
    /// Threads that draw pictures.
    pub drawing: usize,
    /// Said of the program in the backbone's file.
    pub commit: String,
}

/// What a run tells.
pub enum Event<'a> {
    /// The step that comes next; not 0 in a resumed run.
    Start(u32),
    /// Steps done, and the loss of the last.
    Step(u32, f64),
    Line(&'a Line),
}

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Steps done.
    pub step: u32,
    /// Mean over the steps since the line before.
    pub loss: f64,
    /// Of this run so far.
    pub seconds: f64,
    /// Share of those seconds in which steps waited for pictures.
    pub waiting: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Finished,
    /// Stopped on request, with a checkpoint.
    Interrupted,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// Steps done.
    step: u32,
    /// Sum of the losses since the last line of the log, and how many.
    sum: f64,
    count: u32,
}

impl Position {
    /// The sum as its bits, so that reading gives back exactly what was written.
    fn to_text(self) -> String {
        format!("{} {} {}", self.step, self.sum.to_bits(), self.count)
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let step = parts.next()?.parse().ok()?;
        let sum = f64::from_bits(parts.next()?.parse().ok()?);
        Some(Position { step, sum, count: parts.next()?.parse().ok()? })
    }
}

/// After which steps a backbone is kept: every so many of all, but the last, which is the backbone itself; none where that is 0.
pub fn kept_steps(steps: u32, every: u32) -> impl Iterator<Item = u32> {
    (1..steps).filter(move |step| every > 0 && step.is_multiple_of(every))
}

/// Where the backbone after so many steps is kept.
pub fn kept(out: &Path, step: u32) -> PathBuf {
    beside(out, &format!("step-{step}.safetensors"))
}

/// A run between two steps.
struct Run<'a> {
    s: &'a Settings,
    program: Program,
    loss: Var,
    session: Box<dyn Session>,
    judge: Judge,
    at: Position,
    started: Instant,
    /// Seconds in which steps waited for pictures.
    waited: f64,
}

/// Learns. `stop` is looked at between steps.
pub fn run(s: &Settings, events: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Ended> {
    s.recipe.check()?;
    let mut run = Run::open(s)?;
    let sides = run.program.labels.iter().map(|l| run.program.tape.shape(*l).h()).collect();
    let mut batches = Batches::start(&s.recipe, sides, run.at.step, s.drawing)?;
    if !s.resume {
        remove_checkpoint(&s.out)?;
    }
    events(Event::Start(run.at.step));
    while run.at.step < s.recipe.steps {
        if stop.load(Ordering::Relaxed) {
            run.save()?;
            return Ok(Ended::Interrupted);
        }
        let loss = run.step(&mut batches)?;
        events(Event::Step(run.at.step, loss));
        run.after_step(events)?;
    }
    run.write_backbone(&s.out)?;
    Ok(Ended::Finished)
}

impl<'a> Run<'a> {
    fn open(s: &'a Settings) -> Result<Self> {
        let (program, loss) = program::step(&s.recipe, s.backend.dtype())?;
        let mut session = s.backend.open(program.tape.clone())?;
        let at = if s.resume {
            checkpoint::read(&checkpoint_of(&s.out), &s.recipe, &s.backend, &program, &mut *session)?
        } else {
            for net in [program.backbone, program.heads] {
                let fresh = init::network(program.tape.parameters(net), s.recipe.seed);
                session.write_params(net, &fresh)?;
            }
            Position::default()
        };
        let judge = Judge::open(&s.recipe, &s.backend, s.held_out)?;
        Ok(Run { s, program, loss, session, judge, at, started: Instant::now(), waited: 0.0 })
    }

    fn step(&mut self, batches: &mut Batches) -> Result<f64> {
        let asked = Instant::now();
        let batch = batches.take()?;
        self.waited += asked.elapsed().as_secs_f64();
        self.session.write(self.program.pixels, &batch.pixels)?;
        for (to, labels) in self.program.labels.iter().zip(&batch.labels) {
            self.session.write(*to, labels)?;
        }
        self.session.run()?;
        let loss = self.session.scalar(self.loss)?;
        if !loss.is_finite() {
            return Err(self.diverged("loss", self.at.step + 1, loss));
        }
        let at = &mut self.at;
        *at = Position { step: at.step + 1, sum: at.sum + loss, count: at.count + 1 };
        Ok(loss)
    }

    /// What is due after a step: a line of the log, a checkpoint, a backbone to keep.
    fn after_step(&mut self, events: &mut dyn FnMut(Event)) -> Result<()> {
        let (s, step) = (self.s, self.at.step);
        let last = step == s.recipe.steps;
        let due = |every: u32| every > 0 && step.is_multiple_of(every) || last;
        if due(s.log_every) || due(s.checkpoint_every) {
            let held_out = if due(s.checkpoint_every) { Some(self.judge()?) } else { None };
            let seconds = self.started.elapsed().as_secs_f64();
            let loss = self.at.sum / f64::from(self.at.count);
            events(Event::Line(&Line { step, loss, seconds, waiting: self.waited / seconds, held_out }));
            self.at = Position { step, ..Position::default() };
        }
        if due(s.checkpoint_every) {
            self.save()?;
        }
        if !last && due(s.keep_every) {
            self.write_backbone(&kept(&s.out, step))?;
        }
        Ok(())
    }

    fn diverged(&self, what: &str, step: u32, found: f64) -> Error {
        let lr = self.s.recipe.lr;
        Error::Invalid(format!(
            "training diverged in step {step}: {what} is {found}; nothing was written since the last checkpoint. Try a lower --lr \
             than {lr}"
        ))
    }

    /// The backbone and the heads, all of them numbers.
    fn networks(&self) -> Result<[Values<f32>; 2]> {
        let [backbone, heads] = [self.program.backbone, self.program.heads].map(|net| {
            let values = read_params(&*self.session, net)?;
            expect_finite(&values)?;
            Ok(values)
        });
        Ok([backbone?, heads?])
    }

    fn judge(&mut self) -> Result<HeldOut> {
        let [backbone, heads] = self.networks()?;
        let found = self.judge.run(&self.s.recipe, &backbone, &heads)?;
        if !found.loss.is_finite() {
            return Err(self.diverged("its loss on held-out pictures", self.at.step, found.loss));
        }
        Ok(found)
    }

    fn save(&self) -> Result<()> {
        let s = self.s;
        let path = checkpoint_of(&s.out);
        checkpoint::write(&path, &s.recipe, &s.backend, &self.at, &self.networks()?, &*self.session)
    }

    fn write_backbone(&self, path: &Path) -> Result<()> {
        let [backbone, _] = self.networks()?;
        export(path, &self.s.recipe, self.at.step, &self.s.backend, &self.s.commit, &backbone)
    }
}
