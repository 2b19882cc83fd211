//! Checkpoints: a model file with the optimizer's state and the position in the run besides, enough to go on with the
//! same bits.

use crate::engine::device::Session;
use crate::engine::params::Values;
use crate::engine::tape::{NetId, State, Tape};
use crate::model::file::{Config, Contents, ModelFile, save};
use crate::model::{TensorSource, resnet};
use crate::{Error, Result, invalid};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SETTINGS: &str = "train.settings";
const POSITION: &str = "train.position";
/// A state that checkpoints of earlier versions lack: it is the number of updates, which their position has.
const STEPS: &str = "steps";

/// Losses of a step, or their sums over an epoch's steps: d_loss, recon, adv, loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums(pub [f64; 4]);

/// Where a run is: the next step to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    pub epoch: usize,
    pub step: usize,
    /// Optimizer steps done in all.
    pub updates: u64,
    /// Sums of the losses of this epoch's steps so far.
    pub sums: Sums,
}

/// A file beside the model: `model.safetensors` has its checkpoint in `model.checkpoint.safetensors`.
pub fn beside(model: &Path, extension: &str) -> PathBuf {
    if model.extension().is_some_and(|e| e == "safetensors") {
        return model.with_extension(extension);
    }
    // Other names keep theirs whole: m.v1 and m.v2 are two models.
    let mut name = model.as_os_str().to_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Where a model's checkpoint is.
pub fn path_of(model: &Path) -> PathBuf {
    beside(model, "checkpoint.safetensors")
}

/// The parameters of one network as they are in a session.
pub fn parameters(session: &dyn Session, net: NetId) -> Result<Values<f32>> {
    let mut values = Values::zeros(Arc::new(session.tape().layout(net).clone()));
    session.read_params(net, &mut values)?;
    Ok(values)
}

/// Refuses parameters that are not numbers: a step's losses are computed before its update, and do not show it.
pub fn expect_finite(values: &Values<f32>) -> Result<()> {
    let broken = |e: &&crate::engine::params::Parameter| values.data[e.range.clone()].iter().any(|v| !v.is_finite());
    match values.layout.entries().iter().find(broken) {
        None => Ok(()),
        Some(e) => invalid!(
            "training diverged: {}.{} holds values that are not numbers; nothing was written. Try a lower --lr",
            values.layout.network,
            e.name
        ),
    }
}

/// The networks that are trained, and where they are in the program.
pub struct Trained {
    pub ae: NetId,
    pub discriminator: Option<NetId>,
}

impl Trained {
    fn nets(&self) -> impl Iterator<Item = NetId> {
        std::iter::once(self.ae).chain(self.discriminator)
    }
}

/// Writes a checkpoint atomically.
pub fn write(
    path: &Path,
    config: &Config,
    settings: &str,
    position: &Position,
    backbone: &dyn TensorSource,
    session: &dyn Session,
    trained: &Trained,
) -> Result<()> {
    let mut config = config.clone();
    config.extra.insert(SETTINGS.into(), settings.into());
    config.extra.insert(POSITION.into(), position.to_text());
    let ae = parameters(session, trained.ae)?;
    let discriminator = trained.discriminator.map(|d| parameters(session, d)).transpose()?;
    for values in [Some(&ae), discriminator.as_ref()].into_iter().flatten() {
        expect_finite(values)?;
    }
    let mut held: Vec<(String, Vec<f32>)> = Vec::new();
    for state in session.tape().states() {
        held.push((state_name(session.tape(), state), session.read(state.var)?));
    }
    let state = held.iter().map(|(name, v)| (name.clone(), v.as_slice())).collect();
    save(path, &Contents { config: &config, backbone, ae: &ae, discriminator: discriminator.as_ref(), state })
}

fn state_name(tape: &Tape, state: &State) -> String {
    format!("train.{}.{}", tape.layout(state.net).network, state.name)
}

/// Restores a session from a checkpoint; returns where the run was.
///
/// Settings and backbone weights, which change the numbers, must be the same as then; the error names what is not.
pub fn read(
    path: &Path,
    settings: &str,
    backbone: &dyn TensorSource,
    session: &mut dyn Session,
    trained: &Trained,
) -> Result<Position> {
    let file = ModelFile::open(path)?;
    let lacks = |key: &str| Error::Invalid(format!("{}: not a checkpoint, it lacks `{key}`", path.display()));
    let of_file = file.config.extra.get(SETTINGS).ok_or_else(|| lacks(SETTINGS))?;
    if let Some(difference) = difference(of_file, settings) {
        invalid!("{}: cannot resume with other settings: {difference}", path.display());
    }
    for (name, shape) in resnet::tensors(&file.config.architecture) {
        let then = file.archive.f32(&format!("{}.{name}", resnet::NETWORK), &shape)?;
        if *then != *backbone.tensor(&name, &shape)? {
            invalid!("{}: cannot resume with other backbone weights: {name} differs", path.display());
        }
    }
    let position = file.config.extra.get(POSITION).ok_or_else(|| lacks(POSITION))?;
    let position = Position::from_text(position).ok_or_else(|| lacks(POSITION))?;
    for net in trained.nets() {
        let layout = Arc::new(session.tape().layout(net).clone());
        session.write_params(net, &file.network::<f32>(&layout)?)?;
    }
    for state in session.tape().states().to_vec() {
        let (name, len) = (state_name(session.tape(), &state), session.tape().shape(state.var).len());
        if state.name == STEPS && !file.archive.contains(&name) {
            session.write(state.var, &[position.updates as f32])?;
        } else {
            session.write(state.var, &file.archive.f32(&name, &[len])?)?;
        }
    }
    Ok(position)
}

/// The lines in which two settings texts differ.
fn difference(then: &str, now: &str) -> Option<String> {
    let changed: Vec<String> = then
        .lines()
        .zip(now.lines())
        .filter(|(a, b)| a != b)
        .map(|(a, b)| format!("the checkpoint has {a}, this run {b}"))
        .collect();
    if then == now {
        None
    } else if changed.is_empty() {
        Some("it was written by another version of this program".into())
    } else {
        Some(changed.join("; "))
    }
}

impl Position {
    /// Decimal integers; sums as their bits, so that reading gives back exactly what was written.
    fn to_text(self) -> String {
        let sums = self.sums.0.map(f64::to_bits);
        let numbers = [self.epoch as u64, self.step as u64, self.updates].into_iter().chain(sums);
        numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn from_text(text: &str) -> Option<Self> {
        let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [epoch, step, updates, a, b, c, d] = numbers.try_into().ok()?;
        let sums = Sums([a, b, c, d].map(f64::from_bits));
        Some(Position { epoch: epoch as usize, step: step as usize, updates, sums })
    }
}
