//! Gradients of whole networks, against central differences of their losses along random directions. As for single ops,
//! the differences are the CPU's in f64.

use super::RecordLoss;
use crate::engine::device::{Session, cpu};
use crate::engine::gradcheck::{Open, Report};
use crate::engine::ops::case::uniform;
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Tape};
use crate::engine::tensor::DType;
use crate::model::{Architecture, init};
use crate::program::Program;
use crate::{Result, invalid};
use std::sync::Arc;

/// Random directions tried.
const DIRECTIONS: usize = 3;
/// For 16-bit gradients of whole networks: at 64 px, norms over 2x2 codes amplify rounding. Measured in bf16: up
/// to 0.37.
const NORM: f64 = 0.5;
/// Smaller than for single ops: among tens of thousands of ReLUs, a step of 1e-6 takes one across its kink.
const STEP: f64 = 1e-7;

/// The network whose gradients are checked.
fn checked(p: &Program) -> Result<NetId> {
    match p.trained().next() {
        Some(net) => Ok(net),
        None => invalid!("a loss to check gradients by must name a trained network"),
    }
}

/// A session with the given parameters.
fn session(p: &Program, tape: Tape, values: &[Values<f64>], open: Open) -> Result<Box<dyn Session>> {
    let mut session = open(tape)?;
    for (net, values) in p.networks.iter().zip(values) {
        session.write_params(net.id, values)?;
    }
    Ok(session)
}

/// Fills the feature maps, which a run may overwrite, and runs.
fn run(p: &Program, session: &mut dyn Session) -> Result<()> {
    for (i, map) in p.inputs().enumerate() {
        let u = uniform(&format!("gradcheck.features.{i}"), p.tape.shape(map).len());
        session.write_values(map, &u.into_iter().map(f64::from).collect::<Vec<_>>())?;
    }
    session.run()
}

/// The gradients of all parameters that a program of `dtype` computes.
fn gradients(
    record: RecordLoss,
    a: &Architecture,
    values: &[Values<f64>],
    dtype: DType,
    open: Open,
) -> Result<Values<f64>> {
    let p = record(a, dtype)?;
    let net = checked(&p)?;
    let mut tape = p.tape.clone();
    tape.backward(p.report("loss")?, net)?;
    let mut session = session(&p, tape, values, open)?;
    run(&p, &mut *session)?;
    let parameters = Arc::new(p.tape.parameters(net).clone());
    if dtype == DType::F64 {
        let mut gradient = Values::zeros(parameters);
        session.read_grads(net, &mut gradient)?;
        return Ok(gradient);
    }
    let mut narrow = Values::<f32>::zeros(parameters);
    session.read_grads(net, &mut narrow)?;
    Ok(narrow.cast())
}

/// Compares the slopes of the loss along random directions in the space of all parameters, from gradients computed in
/// `dtype`. 16-bit gradients are compared as one vector with the CPU's in f64, for parameters rounded to 16 bits.
pub fn check(name: &str, record: RecordLoss, dtype: DType, open: Open) -> Result<Report> {
    // Small pictures; the code of the auto-encoder is 2x2, the least that instance norm has a gradient for.
    let a = Architecture::new("resnet18", &[2, 3], 64)?;
    let p = record(&a, DType::F64)?;
    let net = checked(&p)?;
    let parameters = Arc::new(p.tape.parameters(net).clone());
    let mut values: Vec<Values<f64>> =
        p.networks.iter().map(|n| init::network(p.tape.parameters(n.id), 0).cast()).collect();
    let narrow = dtype.exact() != dtype;
    if narrow {
        values.iter_mut().flat_map(|v| &mut v.data).for_each(|x| *x = dtype.round(*x));
    }
    let gradient = gradients(record, &a, &values, dtype, open)?;
    if narrow {
        let expected = gradients(record, &a, &values, DType::F64, &cpu::session)?;
        let what = format!("{} parameters, as one vector", parameters.count());
        return Ok(Report::norms(name, &what, &gradient.data, &expected.data, NORM));
    }
    let mut session = session(&p, p.tape.clone(), &values, &cpu::session)?;
    let mut moved = p
        .networks
        .iter()
        .zip(values)
        .find(|(n, _)| n.id == net)
        .map(|(_, v)| v)
        .unwrap_or_else(|| Values::zeros(parameters.clone()));
    let start = moved.clone();
    let (mut slopes, mut differences) = (Vec::new(), Vec::new());
    for k in 0..DIRECTIONS {
        // Every tensor moves in proportion to its size, so that none drowns in the others.
        let mut direction = vec![0.0; parameters.len()];
        for e in parameters.entries() {
            let tensor = &start.data[e.range.clone()];
            let size = (tensor.iter().map(|v| v * v).sum::<f64>() / tensor.len() as f64).sqrt().max(0.1);
            let u = uniform(&format!("gradcheck.direction.{k}.{}", e.name), tensor.len());
            direction[e.range.clone()].iter_mut().zip(u).for_each(|(d, u)| *d = size * u as f64);
        }
        let mut loss = |step: f64| -> Result<f64> {
            let points = start.data.iter().zip(&direction).map(|(p, d)| p + step * d);
            moved.data.iter_mut().zip(points).for_each(|(m, p)| *m = p);
            session.write_params(net, &moved)?;
            run(&p, &mut *session)?;
            session.scalar(p.report("loss")?)
        };
        differences.push((loss(STEP)? - loss(-STEP)?) / (2.0 * STEP));
        slopes.push(gradient.data.iter().zip(&direction).map(|(g, d)| g * d).sum());
    }
    Ok(Report::new(name, &format!("{} parameters, {DIRECTIONS} directions", parameters.count()), &slopes, &differences))
}
