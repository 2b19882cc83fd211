//! What sessions hold, to and from files: networks' parameters as `<network>.<name>`, and what ops keep beside them, an optimizer's
//! moments for one, as `train.<network>.<state>`.

use super::{TensorSource, network};
use crate::engine::device::Session;
use crate::engine::params::{Parameter, Values};
use crate::engine::tape::{NetId, State, Tape};
use crate::weights::Archive;
use crate::{Result, invalid};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Tensors of an archive under a prefix.
pub struct Prefixed<'a> {
    pub archive: &'a Archive,
    pub prefix: &'a str,
}

impl TensorSource for Prefixed<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        self.archive.f32(&format!("{}{name}", self.prefix), shape)
    }

    fn names(&self) -> Vec<&str> {
        self.archive.names().filter_map(|name| name.strip_prefix(self.prefix)).collect()
    }

    fn describe(&self) -> String {
        self.archive.path().display().to_string()
    }
}

/// Refuses a run whose settings are not those of the checkpoint that it is to go on from; names all that differ.
pub fn expect_same(then: &Map<String, Value>, now: &Map<String, Value>) -> Result<()> {
    let mut names: Vec<&String> = then.keys().chain(now.keys().filter(|k| !then.contains_key(*k))).collect();
    names.retain(|name| then.get(*name) != now.get(*name));
    if names.is_empty() {
        return Ok(());
    }
    let said = |name: &str, value: Option<&Value>| match value {
        None => format!("no {name}"),
        Some(Value::String(text)) => format!("{name} {text}"),
        Some(value) => format!("{name} {value}"),
    };
    let differs = |name: &&String| {
        format!("the checkpoint has {}, this run {}", said(name, then.get(*name)), said(name, now.get(*name)))
    };
    let all: Vec<String> = names.iter().map(differs).collect();
    invalid!("cannot resume with other settings: {}", all.join("; "))
}

/// The parameters of one network as they are in a session.
pub fn read_params(session: &dyn Session, net: NetId) -> Result<Values<f32>> {
    let mut values = Values::zeros(Arc::new(session.tape().parameters(net).clone()));
    session.read_params(net, &mut values)?;
    Ok(values)
}

/// Refuses parameters that are not numbers: a step's losses are computed before its update, and do not show it.
pub fn expect_finite(values: &Values<f32>) -> Result<()> {
    let broken = |e: &&Parameter| values.data[e.range.clone()].iter().any(|v| !v.is_finite());
    match values.parameters.entries().iter().find(broken) {
        None => Ok(()),
        Some(e) => invalid!(
            "training diverged: {}.{} holds values that are not numbers; nothing was written of them. Try a lower learning rate",
            values.parameters.network,
            e.name
        ),
    }
}

/// All that a session's ops keep beside parameters, by the names that files have for it.
pub fn read_states(session: &dyn Session) -> Result<Vec<(String, Vec<f32>)>> {
    let tape = session.tape();
    tape.states().iter().map(|state| Ok((state_name(tape, state), session.read(state.var)?))).collect()
}

fn state_name(tape: &Tape, state: &State) -> String {
    format!("train.{}.{}", tape.parameters(state.net).network, state.name)
}

/// Fills these networks of a session and all that its ops keep from a file.
pub fn restore(session: &mut dyn Session, networks: &[NetId], archive: &Archive) -> Result<()> {
    for net in networks {
        let parameters = session.tape().parameters(*net).clone();
        let source = Prefixed { archive, prefix: &format!("{}.", parameters.network) };
        session.write_params(*net, &network(&source, &parameters)?)?;
    }
    let tape = session.tape();
    let states: Vec<_> = tape.states().iter().map(|s| (s.var, state_name(tape, s), tape.shape(s.var).len())).collect();
    for (var, name, len) in states {
        session.write(var, &archive.f32(&name, &[len])?)?;
    }
    Ok(())
}
