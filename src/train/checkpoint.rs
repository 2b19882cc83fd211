//! Checkpoints: a model file with the optimizer's state and the position in the run besides, enough to go on with the
//! same bits.

use super::events::Losses;
use super::job::Job;
use super::part::Part;
use super::settings::{Key, Settings};
use crate::detector::file::{Config, Contents, save};
use crate::engine::params::Values;
use crate::engine::tape::NetId;
use crate::model::saved::{expect_finite, read_params, read_states, restore};
use crate::model::{TensorSource, resnet};
use crate::output::checkpoint_of;
use crate::weights::Archive;
use crate::{Error, Result, invalid};
use std::collections::HashSet;
use std::path::Path;

const SETTINGS: &str = "train.settings";
const POSITION: &str = "train.position";
const SECONDS: &str = "train.seconds";

/// Where a run is: the next step to do.
#[derive(Clone, Debug)]
pub struct Position {
    pub epoch: usize,
    pub step: usize,
    /// Optimizer steps done in all.
    pub updates: u64,
    /// Sums of the losses of this epoch's steps so far.
    pub sums: Losses,
    /// That earlier parts of the run took; no part of what is computed.
    pub seconds: f64,
}

/// Refuses to resume where there is nothing to go on from.
pub fn expect_to_resume(s: &Settings) -> Result<()> {
    let checkpoint = checkpoint_of(&s.out);
    if s.resume && !checkpoint.exists() {
        invalid!("{}: there is no checkpoint to resume from", checkpoint.display());
    }
    Ok(())
}

/// The networks that the programs train, all of them numbers.
pub fn networks(parts: &[Part]) -> Result<Vec<Values<f32>>> {
    let mut all = Vec::new();
    for part in parts {
        for net in part.program.trained() {
            let values = read_params(&*part.session, net)?;
            expect_finite(&values)?;
            all.push(values);
        }
    }
    Ok(all)
}

/// Writes a checkpoint atomically.
pub fn write(path: &Path, job: &Job, config: &Config, key: &Key, position: &Position, parts: &[Part]) -> Result<()> {
    let mut config = config.clone();
    config.extra.insert(SETTINGS.into(), key.to_text());
    config.extra.insert(POSITION.into(), position.to_text());
    config.extra.insert(SECONDS.into(), position.seconds.to_string());
    let networks = networks(parts)?;
    let held: Vec<Vec<(String, Vec<f32>)>> =
        parts.iter().map(|part| read_states(&*part.session)).collect::<Result<_>>()?;
    let state = held.iter().flatten().map(|(name, v)| (name.clone(), v.as_slice())).collect();
    save(path, &Contents { config: &config, backbone: job.source, networks: &networks, state })
}

/// Restores sessions from the checkpoint; returns where the run was.
///
/// Settings and backbone weights, which change the numbers, must be the same as then; the error names what is not.
pub fn read(
    path: &Path,
    s: &Settings,
    key: &Key,
    backbone: &dyn TensorSource,
    parts: &mut [Part],
    start: Position,
) -> Result<Position> {
    let archive = Archive::open(path)?;
    let lacks = |key: &str| Error::Invalid(format!("{}: not a checkpoint, it lacks `{key}`", path.display()));
    let then = archive.metadata().get(SETTINGS).ok_or_else(|| lacks(SETTINGS))?;
    key.expect(then).map_err(|e| e.within(path.display()))?;
    let frozen = !parts.iter().any(|part| part.program.trains_backbone());
    for (name, shape) in resnet::tensors(&s.architecture).into_iter().filter(|_| frozen) {
        let then = archive.f32(&format!("{}.{name}", resnet::NETWORK), &shape)?;
        if *then != *backbone.tensor(&name, &shape)? {
            invalid!("{}: cannot resume with other backbone weights: {name} differs", path.display());
        }
    }
    let position = archive.metadata().get(POSITION).ok_or_else(|| lacks(POSITION))?;
    let mut position = Position::from_text(position, start.sums.names).ok_or_else(|| lacks(POSITION))?;
    // Earlier versions did not count them.
    position.seconds = archive.metadata().get(SECONDS).and_then(|s| s.parse().ok()).unwrap_or_default();
    if position.epoch > s.epochs || position.epoch == s.epochs && position.step > 0 {
        let done = position.epoch;
        return Err(Error::Usage(format!(
            "{}: has {done} epochs behind it, more than --epochs {}; give at least {}, or leave --resume out to train anew",
            path.display(),
            s.epochs,
            done + usize::from(position.step > 0)
        )));
    }
    let names = |part: &Part| {
        part.program.trained().map(|n| part.program.tape.parameters(n).network.clone()).collect::<Vec<_>>()
    };
    let trained: HashSet<String> = parts.iter().flat_map(names).collect();
    for part in parts {
        let of_trained = |n: &NetId| trained.contains(&part.program.tape.parameters(*n).network);
        let networks: Vec<NetId> = part.program.networks.iter().map(|n| n.id).filter(of_trained).collect();
        restore(&mut *part.session, &networks, &archive)?;
    }
    Ok(position)
}

impl Position {
    /// The beginning of a run whose losses have these names.
    pub fn start(names: &'static [&'static str]) -> Self {
        Position { epoch: 0, step: 0, updates: 0, sums: Losses::zero(names), seconds: 0.0 }
    }

    /// Decimal integers; sums as their bits, so that reading gives back exactly what was written.
    fn to_text(&self) -> String {
        let sums = self.sums.values.iter().map(|v| v.to_bits());
        let numbers = [self.epoch as u64, self.step as u64, self.updates].into_iter().chain(sums);
        numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn from_text(text: &str, names: &'static [&'static str]) -> Option<Self> {
        let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [epoch, step, updates, ref sums @ ..] = numbers[..] else { return None };
        let values: Vec<f64> = sums.iter().map(|bits| f64::from_bits(*bits)).collect();
        let sums = (values.len() == names.len()).then_some(Losses { names, values })?;
        Some(Position { epoch: epoch as usize, step: step as usize, updates, sums, seconds: 0.0 })
    }
}
