//! Gradients of whole networks, against central differences of their losses along random directions. As for single ops,
//! the differences are the CPU's in f64.

use super::discriminator::Level;
use super::features::{self, Feed};
use super::{Architecture, autoencoder, discriminator, init};
use crate::Result;
use crate::engine::device::{Session, cpu};
use crate::engine::gradcheck::{Open, Report};
use crate::engine::ops::case::uniform;
use crate::engine::ops::energy::Term;
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::DType;
use std::sync::Arc;

/// A network with the loss that its gradients are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Reconstruction loss, eq. (2).
    Autoencoder,
    /// The energies that a discriminator gives the reconstructions: gradients pass through a network that stays as it is.
    AutoencoderAdversarial,
    PatchDiscriminator,
    ImageDiscriminator,
}

pub const NETWORKS: [(&str, Network); 4] = [
    ("autoencoder", Network::Autoencoder),
    ("autoencoder-adversarial", Network::AutoencoderAdversarial),
    ("patch-discriminator", Network::PatchDiscriminator),
    ("image-discriminator", Network::ImageDiscriminator),
];

/// Images in the batch, and how many of them count as normal.
const IMAGES: usize = 3;
const NORMAL: usize = 2;
/// Random directions tried.
const DIRECTIONS: usize = 3;
/// For 16-bit gradients of whole networks: at 64 px, norms over 2x2 codes amplify rounding. Measured in bf16: up
/// to 0.37.
const NORM: f64 = 0.5;
/// Smaller than for single ops: among tens of thousands of ReLUs, a step of 1e-6 takes one across its kink.
const STEP: f64 = 1e-7;

/// A recorded loss.
struct Program {
    tape: Tape,
    maps: Vec<Var>,
    loss: Var,
    /// The network whose gradients are checked.
    net: NetId,
    /// All networks there are.
    nets: Vec<NetId>,
}

fn record(network: Network, a: &Architecture, dtype: DType) -> Result<Program> {
    let mut tape = Tape::new(dtype);
    let t = &mut tape;
    let (ae, disc) = (t.network(autoencoder::NETWORK), t.network(discriminator::NETWORK));
    let (maps, _) = features::record(t, disc, a, IMAGES, Feed::Features)?;
    let sum = |t: &mut Tape, terms: Vec<Var>| t.weighted_sum(&terms.into_iter().map(|v| (1.0, v)).collect::<Vec<_>>());
    let discriminate = |t: &mut Tape, level| -> Result<Var> {
        let mut terms = Vec::new();
        for e in discriminator::record(t, disc, a, level, &maps)? {
            terms.push(t.energy(e, Term::Low, 0..NORMAL)?);
            terms.push(t.energy(e, Term::High { margin: 5.0 }, NORMAL..IMAGES)?);
        }
        sum(t, terms)
    };
    let (net, loss) = match network {
        Network::Autoencoder => {
            let recon = autoencoder::record(t, ae, a, &maps)?;
            let terms = maps.iter().zip(recon).map(|(&f, g)| t.cosine_loss(f, g, NORMAL)).collect::<Result<_>>()?;
            (ae, sum(t, terms)?)
        }
        Network::AutoencoderAdversarial => {
            let recon = autoencoder::record(t, ae, a, &maps)?;
            let energies = discriminator::record(t, disc, a, Level::Patch, &recon)?;
            let terms = energies.into_iter().map(|e| t.energy(e, Term::Low, 0..IMAGES)).collect::<Result<_>>()?;
            (ae, sum(t, terms)?)
        }
        Network::PatchDiscriminator => (disc, discriminate(t, Level::Patch)?),
        Network::ImageDiscriminator => (disc, discriminate(t, Level::Image)?),
    };
    t.output(loss);
    Ok(Program { maps, loss, net, nets: vec![ae, disc], tape })
}

/// A session with the given parameters.
fn session(p: &Program, tape: Tape, parameters: &[Values<f64>], open: Open) -> Result<Box<dyn Session>> {
    let mut session = open(tape)?;
    for (&net, values) in p.nets.iter().zip(parameters) {
        session.write_params(net, values)?;
    }
    Ok(session)
}

/// Fills the feature maps, which a run may overwrite, and runs.
fn run(p: &Program, session: &mut dyn Session) -> Result<()> {
    for (i, &map) in p.maps.iter().enumerate() {
        let u = uniform(&format!("gradcheck.features.{i}"), p.tape.shape(map).len());
        session.write_values(map, &u.into_iter().map(f64::from).collect::<Vec<_>>())?;
    }
    session.run()
}

/// The gradients of all parameters that a program of `dtype` computes.
fn gradients(
    network: Network,
    a: &Architecture,
    parameters: &[Values<f64>],
    dtype: DType,
    open: Open,
) -> Result<Values<f64>> {
    let p = record(network, a, dtype)?;
    let mut tape = p.tape.clone();
    tape.backward(p.loss, p.net)?;
    let mut session = session(&p, tape, parameters, open)?;
    run(&p, &mut *session)?;
    let layout = Arc::new(p.tape.layout(p.net).clone());
    if dtype == DType::F64 {
        let mut gradient = Values::zeros(layout);
        session.read_grads(p.net, &mut gradient)?;
        return Ok(gradient);
    }
    let mut narrow = Values::<f32>::zeros(layout);
    session.read_grads(p.net, &mut narrow)?;
    Ok(narrow.cast())
}

/// Compares the slopes of the loss along random directions in the space of all parameters, from gradients computed in
/// `dtype`. 16-bit gradients are compared as one vector with the CPU's in f64, for parameters rounded to 16 bits.
pub fn check(name: &str, network: Network, dtype: DType, open: Open) -> Result<Report> {
    // Small pictures; the code of the auto-encoder is 2x2, the least that instance norm has a gradient for.
    let a = Architecture::new("resnet18", &[2, 3], 64)?;
    let p = record(network, &a, DType::F64)?;
    let layout = Arc::new(p.tape.layout(p.net).clone());
    let mut parameters: Vec<Values<f64>> = p.nets.iter().map(|n| init::network(p.tape.layout(*n), 0).cast()).collect();
    let narrow = dtype.exact() != dtype;
    if narrow {
        parameters.iter_mut().flat_map(|v| &mut v.data).for_each(|x| *x = dtype.round(*x));
    }
    let gradient = gradients(network, &a, &parameters, dtype, open)?;
    if narrow {
        let expected = gradients(network, &a, &parameters, DType::F64, &cpu::session)?;
        let what = format!("{} parameters, as one vector", layout.count());
        return Ok(Report::norms(name, &what, &gradient.data, &expected.data, NORM));
    }
    let mut session = session(&p, p.tape.clone(), &parameters, &cpu::session)?;
    let start = parameters.into_iter().find(|v| v.layout.network == layout.network).expect("one of the networks");
    let mut moved = start.clone();
    let (mut slopes, mut differences) = (Vec::new(), Vec::new());
    for k in 0..DIRECTIONS {
        // Every tensor moves in proportion to its size, so that none drowns in the others.
        let mut direction = vec![0.0; layout.len()];
        for e in layout.entries() {
            let values = &start.data[e.range.clone()];
            let size = (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt().max(0.1);
            let u = uniform(&format!("gradcheck.direction.{k}.{}", e.name), values.len());
            direction[e.range.clone()].iter_mut().zip(u).for_each(|(d, u)| *d = size * u as f64);
        }
        let mut loss = |step: f64| -> Result<f64> {
            let points = start.data.iter().zip(&direction).map(|(p, d)| p + step * d);
            moved.data.iter_mut().zip(points).for_each(|(m, p)| *m = p);
            session.write_params(p.net, &moved)?;
            run(&p, &mut *session)?;
            session.scalar(p.loss)
        };
        differences.push((loss(STEP)? - loss(-STEP)?) / (2.0 * STEP));
        slopes.push(gradient.data.iter().zip(&direction).map(|(g, d)| g * d).sum());
    }
    Ok(Report::new(name, &format!("{} parameters, {DIRECTIONS} directions", layout.count()), &slopes, &differences))
}
