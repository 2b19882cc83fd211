//! Learning by gradients: the loop over epochs and steps, with a checkpoint now and then.

use super::Outcome;
use super::checkpoint::{self, Position};
use super::events::{EpochLog, Event, Losses};
use super::features;
use super::feeder::Feeder;
use super::job::{Job, Learned};
use super::part::{Part, expect_one_trainer, hand_over};
use super::settings::{Calibrate, DataKey, Key};
use crate::detector::file::Config;
use crate::detector::{StepSpec, Steps};
use crate::model::features::Feed;
use crate::output::remove_checkpoint;
use crate::{Result, invalid};
use std::time::Instant;

/// A run between two steps.
struct Run<'a> {
    job: &'a Job<'a>,
    parts: Vec<Part>,
    feeder: Feeder<'a>,
    config: Config,
    key: Key,
    at: Position,
}

pub fn run(how: &dyn Steps, job: &Job) -> Result<Outcome> {
    let mut run = Run::prepare(how, job)?;
    while run.at.epoch < job.s.epochs {
        if !run.epoch()? {
            return run.interrupted();
        }
    }
    run.finish()
}

impl<'a> Run<'a> {
    /// Computes features, opens sessions and fills them, from a checkpoint where one is to go on from.
    fn prepare(how: &dyn Steps, job: &'a Job<'a>) -> Result<Self> {
        let s = job.s;
        let distort = how.uses_anomalies() && job.anomalous.is_empty();
        let n = job.batch();
        let m = match (how.uses_anomalies(), distort) {
            (false, _) => 0,
            (_, true) => n,
            (_, false) => s.batch.min(job.anomalous_views.len()),
        };
        let all: Vec<usize> = (0..job.pictures.all_views()).collect();
        let cache = match how.trains_backbone() {
            true => None,
            false => job.features(&features::program(&s.architecture, n, s.backend.dtype())?, &all)?,
        };
        let feed = if cache.is_some() { Feed::Features } else { Feed::Pixels };
        let spec = StepSpec {
            architecture: &s.architecture,
            normal: n,
            anomalous: m,
            normal_feed: feed,
            // Pseudo-anomalies differ from step to step.
            anomalous_feed: if distort { Feed::Pixels } else { feed },
            dtype: s.backend.dtype(),
        };
        let open = |program| Part::open(program, job);
        let mut parts: Vec<Part> = how.record(&spec)?.into_iter().map(open).collect::<Result<_>>()?;
        expect_one_trainer(&parts)?;
        let mut feeder = Feeder::new(job, &spec, distort, cache);
        if let [part] = &mut parts[..] {
            feeder.keep_on_device(&mut *part.session)?;
        }
        let data = DataKey {
            digest: job.pictures.digest(),
            normal: job.normal.len(),
            anomalous: job.anomalous.len(),
            cached: feeder.cached(),
        };
        let key = Key::new(s, &data)?;
        let mut at = Position::start(how.losses());
        match &job.checkpoint {
            Some(path) if s.resume => at = checkpoint::read(path, s, &key, job.source, &mut parts, at)?,
            Some(_) => remove_checkpoint(&s.out)?,
            None => {}
        }
        (job.events)(Event::Start { epoch: at.epoch, step: at.step, seconds: at.seconds });
        Ok(Run { job, parts, feeder, config: job.config(s.detector.clone()), key, at })
    }

    /// Goes on to the end of the epoch; false where it was stopped before.
    fn epoch(&mut self) -> Result<bool> {
        let (job, started, steps) = (self.job, Instant::now(), self.job.steps());
        let order = self.feeder.order(self.at.epoch);
        while self.at.step < steps {
            if job.stopped() {
                return Ok(false);
            }
            let losses = self.step(&order)?;
            let at = &mut self.at;
            at.step += 1;
            at.updates += 1;
            at.sums.values.iter_mut().zip(&losses.values).for_each(|(sum, l)| *sum += l);
            (job.events)(Event::Step { epoch: at.epoch + 1, step: at.step, steps, losses: &losses });
        }
        let mut losses = self.at.sums.clone();
        losses.values.iter_mut().for_each(|sum| *sum /= steps as f64);
        let epoch = self.at.epoch + 1;
        (job.events)(Event::Epoch(&EpochLog { epoch, seconds: started.elapsed().as_secs_f64(), losses }));
        let Position { updates, seconds, .. } = self.at;
        self.at = Position { epoch, updates, seconds, ..Position::start(self.at.sums.names) };
        let (every, last) = (job.s.checkpoint_every, epoch == job.s.epochs);
        // What is learned must not be lost when a cross-validation, which takes longer, is interrupted.
        let validated = matches!(job.s.calibrate, Calibrate::CrossValidation { .. });
        if every > 0 && epoch.is_multiple_of(every) || last && (every > 0 || validated) {
            self.save()?;
        }
        Ok(true)
    }

    /// Runs every program once, on the same pictures. `order` has the normal ones of the epoch.
    fn step(&mut self, order: &[usize]) -> Result<Losses> {
        let (at, n) = (&self.at, self.feeder.batch());
        let next = Position { step: at.step + 1, ..at.clone() };
        let of = |at: &Position| order[at.step * n..].get(..n);
        let pictures = self.feeder.pictures(of(at).unwrap_or_default(), at);
        let mut losses = Losses::zero(at.sums.names);
        for i in 0..self.parts.len() {
            let Part { program, session } = &mut self.parts[i];
            self.feeder.fill(&mut **session, program, &pictures)?;
            session.run()?;
            if let (true, Some(normal)) = (i + 1 == self.parts.len(), of(&next)) {
                let pictures = self.feeder.pictures(normal, &next);
                for part in &self.parts {
                    // What is wrong with a picture is said when its step comes.
                    let _ = self.feeder.read_ahead(&part.program, &pictures);
                }
            }
            let Part { program, session } = &self.parts[i];
            for (name, value) in losses.names.iter().zip(&mut losses.values) {
                if let Ok(v) = program.report(name) {
                    *value = session.scalar(v)?;
                }
            }
            hand_over(&mut self.parts, i)?;
        }
        if !losses.values.iter().all(|l| l.is_finite()) {
            invalid!(
                "training diverged in epoch {}, step {}: losses {}; nothing was written since the last checkpoint. Try a lower learning rate",
                at.epoch + 1,
                at.step + 1,
                losses.names.iter().zip(&losses.values).map(|(n, v)| format!("{n} {v}")).collect::<Vec<_>>().join(", ")
            );
        }
        Ok(losses)
    }

    /// Writes a checkpoint, where there are any.
    fn save(&self) -> Result<()> {
        match &self.job.checkpoint {
            Some(path) => {
                let seconds = self.at.seconds + self.job.started.elapsed().as_secs_f64();
                let at = Position { seconds, ..self.at.clone() };
                checkpoint::write(path, self.job, &self.config, &self.key, &at, &self.parts)
            }
            None => Ok(()),
        }
    }

    fn interrupted(&self) -> Result<Outcome> {
        // Before the first step there is nothing to keep, and an earlier run's checkpoint may be there.
        let saved = self.at.updates > 0;
        if saved {
            self.save()?;
        }
        Ok(Outcome::Interrupted { saved })
    }

    fn finish(self) -> Result<Outcome> {
        let networks = checkpoint::networks(&self.parts)?;
        Ok(Outcome::Learned(Learned { detector: self.config.detector, networks }))
    }
}
