//! The auto-encoder and the discriminators, each with a loss to check its gradients by.

use super::autoencoder;
use super::discriminator::{self, Level};
use crate::Result;
use crate::detector::RecordLoss;
use crate::engine::ops::energy::Term;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::DType;
use crate::model::Architecture;
use crate::model::features::{self, Feed};
use crate::model::layers::Norm;
use crate::program::{Group, Network, Program, Role};

pub const LOSSES: [(&str, RecordLoss); 5] = [
    ("autoencoder", |a, dtype| record(a, dtype, autoencoder::NETWORK, reconstruction)),
    ("autoencoder-batch-norm", |a, dtype| record(a, dtype, autoencoder::NETWORK, batch_normalised)),
    ("autoencoder-adversarial", |a, dtype| record(a, dtype, autoencoder::NETWORK, adversarial)),
    ("patch-discriminator", |a, dtype| record(a, dtype, discriminator::NETWORK, |s| discriminate(s, Level::Patch))),
    ("image-discriminator", |a, dtype| record(a, dtype, discriminator::NETWORK, |s| discriminate(s, Level::Image))),
];

/// Pictures in the batch, and how many of them count as normal.
const PICTURES: usize = 3;
const NORMAL: usize = 2;

/// What a loss is recorded with.
struct Scene<'a> {
    tape: &'a mut Tape,
    a: &'a Architecture,
    maps: &'a [Var],
    ae: NetId,
    discriminator: NetId,
}

fn record(
    a: &Architecture,
    dtype: DType,
    trained: &str,
    terms: impl FnOnce(&mut Scene) -> Result<Vec<Var>>,
) -> Result<Program> {
    let mut tape = Tape::new(dtype);
    let (ae, discriminator) = (tape.network(autoencoder::NETWORK), tape.network(discriminator::NETWORK));
    let (vars, maps) = features::record(&mut tape, ae, a, PICTURES, Feed::Features)?;
    let terms = terms(&mut Scene { tape: &mut tape, a, maps: &maps, ae, discriminator })?;
    let loss = tape.weighted_sum(&terms.into_iter().map(|v| (1.0, v)).collect::<Vec<_>>())?;
    let network = |id| Network { id, trained: tape.parameters(id).network == trained };
    Ok(Program {
        groups: vec![Group { pictures: vec![(Role::Normal, PICTURES)], feed: Feed::Features, vars }],
        networks: [ae, discriminator].map(network).into(),
        reports: vec![("loss", tape.output(loss))],
        taps: vec![],
        tape,
    })
}

/// Reconstruction loss, eq. (2).
fn reconstruction(s: &mut Scene) -> Result<Vec<Var>> {
    reconstruction_with(s, Norm::Instance)
}

/// The same with batch norms in training.
fn batch_normalised(s: &mut Scene) -> Result<Vec<Var>> {
    reconstruction_with(s, Norm::Batch(&mut vec![]))
}

fn reconstruction_with(s: &mut Scene, norm: Norm) -> Result<Vec<Var>> {
    let recon = autoencoder::record(s.tape, s.ae, s.a, norm, s.maps)?;
    s.maps.iter().zip(recon).map(|(&f, g)| s.tape.cosine_loss(f, g, 0..NORMAL)).collect()
}

/// The energies that a discriminator gives the reconstructions: gradients pass through a network that stays as it is.
fn adversarial(s: &mut Scene) -> Result<Vec<Var>> {
    let recon = autoencoder::record(s.tape, s.ae, s.a, Norm::Instance, s.maps)?;
    let energies = discriminator::record(s.tape, s.discriminator, s.a, Level::Patch, &recon)?;
    energies.into_iter().map(|e| s.tape.energy(e, Term::Low, 0..PICTURES)).collect()
}

fn discriminate(s: &mut Scene, level: Level) -> Result<Vec<Var>> {
    let mut terms = Vec::new();
    for e in discriminator::record(s.tape, s.discriminator, s.a, level, s.maps)? {
        terms.push(s.tape.energy(e, Term::Low, 0..NORMAL)?);
        terms.push(s.tape.energy(e, Term::High { margin: 5.0 }, NORMAL..PICTURES)?);
    }
    Ok(terms)
}
