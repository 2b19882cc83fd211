//! A program with what its parts mean: which inputs take which pictures, which networks it trains or only uses, what it
//! reports. Whoever runs, plans, measures or checks a program knows nothing of the method that recorded it.

use crate::engine::device::Session;
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Tape, Var};
use crate::model::features::Feed;
use crate::model::{init, resnet};
use crate::{Result, invalid};

/// What the pictures are that an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pictures to be judged.
    Scored,
    /// Training pictures known to be normal.
    Normal,
    /// Training pictures known to be anomalous somewhere.
    Anomalous,
}

/// Pictures that enter a program as one batch, in one form.
#[derive(Clone, Debug)]
pub struct Group {
    /// One behind the other: how many of which.
    pub pictures: Vec<(Role, usize)>,
    pub feed: Feed,
    /// One variable, or with [`Feed::Features`] one per layer, finest first.
    pub vars: Vec<Var>,
}

impl Group {
    /// Pictures in the batch.
    pub fn len(&self) -> usize {
        self.pictures.iter().map(|(_, n)| n).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A network that a program uses.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub id: NetId,
    /// Whether the program changes its parameters.
    pub trained: bool,
}

/// A recorded program: what to fill before a run, and what to read after it.
#[derive(Clone, Debug)]
pub struct Program {
    pub tape: Tape,
    pub groups: Vec<Group>,
    pub networks: Vec<Network>,
    /// What can be read after a run, by name.
    pub reports: Vec<(&'static str, Var)>,
    /// Values on the way, by name, for tests and tools that declare them outputs.
    pub taps: Vec<(&'static str, Vec<Var>)>,
}

impl Program {
    /// The reported variable `name`.
    pub fn report(&self, name: &str) -> Result<Var> {
        match self.reports.iter().find(|(n, _)| *n == name) {
            Some((_, v)) => Ok(*v),
            None => {
                let there: Vec<&str> = self.reports.iter().map(|(n, _)| *n).collect();
                invalid!("the program reports no `{name}`, but {}", there.join(", "))
            }
        }
    }

    /// The values on the way that are called `name`; none if there are none.
    pub fn tap(&self, name: &str) -> &[Var] {
        self.taps.iter().find(|(n, _)| *n == name).map_or(&[], |(_, vars)| vars)
    }

    /// The network `name`.
    pub fn network(&self, name: &str) -> Option<NetId> {
        self.networks.iter().map(|n| n.id).find(|id| self.tape.parameters(*id).network == name)
    }

    /// Whether it changes the backbone, so that features of pictures do not stay what they are.
    pub fn trains_backbone(&self) -> bool {
        self.trained().any(|id| self.tape.parameters(id).network == resnet::NETWORK)
    }

    /// The networks whose parameters it changes.
    pub fn trained(&self) -> impl Iterator<Item = NetId> {
        self.networks.iter().filter(|n| n.trained).map(|n| n.id)
    }

    /// Everything to fill before a run.
    pub fn inputs(&self) -> impl Iterator<Item = Var> {
        self.groups.iter().flat_map(|g| g.vars.iter().copied())
    }

    /// Fills the networks of a session of this program: the backbone with its weights, all others with fresh ones. A backbone that
    /// the program trains is not folded, and not filled.
    pub fn fill(&self, session: &mut dyn Session, backbone: &Values<f32>, seed: u64) -> Result<()> {
        for network in &self.networks {
            let parameters = self.tape.parameters(network.id);
            if parameters.network != resnet::NETWORK {
                session.write_params(network.id, &init::network(parameters, seed))?;
            } else if !parameters.is_empty() && !network.trained {
                session.write_params(network.id, backbone)?;
            }
        }
        Ok(())
    }

    /// Pictures that one run takes.
    pub fn pictures(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }
}
