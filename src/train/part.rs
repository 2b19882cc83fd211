//! The programs of a step, each with its session, and how networks go from one to the other.

use super::job::Job;
use crate::engine::device::Session;
use crate::engine::tape::NetId;
use crate::model::saved::read_params;
use crate::model::{network, resnet};
use crate::program::Program;
use crate::{Result, invalid};
use std::collections::HashSet;

/// One of a step's programs, with its memory.
pub struct Part {
    pub program: Program,
    pub session: Box<dyn Session>,
}

impl Part {
    /// Opens a program's session, with the backbone's weights and fresh ones for all other networks.
    pub fn open(program: Program, job: &Job) -> Result<Self> {
        let mut session = job.s.backend.open(program.tape.clone())?;
        program.fill(&mut *session, &job.backbone, job.s.seed)?;
        for net in program.trained() {
            let parameters = program.tape.parameters(net);
            if parameters.network == resnet::NETWORK {
                session.write_params(net, &network(job.source, parameters)?)?;
            }
        }
        Ok(Part { program, session })
    }
}

/// Refuses programs that train one network twice: their optimizers would not know of each other.
pub fn expect_one_trainer(parts: &[Part]) -> Result<()> {
    let mut trained = HashSet::new();
    for part in parts {
        for net in part.program.trained() {
            let name = &part.program.tape.parameters(net).network;
            if !trained.insert(name.clone()) {
                invalid!("two programs of a step train network {name}: only one may");
            }
        }
    }
    Ok(())
}

/// Gives the parameters that program `from` has just trained to the others that use them.
pub fn hand_over(parts: &mut [Part], from: usize) -> Result<()> {
    if parts.len() == 1 {
        return Ok(());
    }
    let trained: Vec<NetId> = parts[from].program.trained().collect();
    for net in trained {
        let values = read_params(&*parts[from].session, net)?;
        for (_, part) in parts.iter_mut().enumerate().filter(|(i, _)| *i != from) {
            if let Some(theirs) = part.program.network(&values.parameters.network) {
                part.session.write_params(theirs, &values)?;
            }
        }
    }
    Ok(())
}
