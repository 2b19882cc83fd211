//! Gradients against central differences, and proof that the comparison can fail.

use crate::common::{relative_error, uniform};
use ckaad::detector::{METHODS, gradcheck as networks};
use ckaad::engine::device::cpu;
use ckaad::engine::gradcheck::{self, RELATIVE, Report};
use ckaad::engine::ops::cases;
use ckaad::engine::ops::energy::Term;
use ckaad::engine::params::{Init, Values};
use ckaad::engine::tape::{NetId, Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use std::sync::Arc;

#[test]
fn every_differentiable_op() {
    for case in cases().iter().filter(|c| c.differentiable) {
        let report = gradcheck::check(case, DType::F64, &cpu::session).unwrap();
        assert!(report.passed(), "{report:?}");
        let elements: usize = case.inputs.iter().map(|s| s.len()).sum();
        assert!(report.checked == elements || elements > 3000 && report.checked == 4, "{report:?}");
    }
}

#[test]
fn whole_networks() {
    for (name, network) in METHODS.into_iter().flat_map(|m| m.networks) {
        let report = networks::check(name, *network, DType::F64, &cpu::session).unwrap();
        assert!(report.passed(), "{report:?}");
    }
}

/// A gradient that is wrong in one element by little more than the tolerance, missing, or NaN is reported.
#[test]
fn wrong_gradients_are_reported() {
    let differences: Vec<f64> = uniform("differences", 50).into_iter().map(|x| 2.0 + x as f64).collect();
    let report = |change: &dyn Fn(&mut Vec<f64>)| {
        let mut gradients = differences.clone();
        change(&mut gradients);
        Report::new("op", "case", &gradients, &differences)
    };
    assert!(report(&|_| {}).passed());
    assert!(report(&|g| g[7] *= 1.0 + 0.9 * RELATIVE).passed());
    assert!(!report(&|g| g[7] *= 1.0 + 2.0 * RELATIVE).passed());
    assert!(!report(&|g| g[49] = f64::NAN).passed());
    assert!(!report(&|g| g.truncate(49)).passed());
    assert!(!Report::new("op", "case", &[], &[]).passed());
    // Near 0 the absolute tolerance counts.
    assert!(Report::new("op", "case", &[0.9e-5], &[0.0]).passed());
    assert!(!Report::new("op", "case", &[1.1e-5], &[0.0]).passed());
}

/// Gradients of parameters that the gradient itself passes through unchanged, twice, or under another shape land in
/// each parameter's own place.
#[test]
fn parameters_that_share_a_gradient() {
    let build = |t: &mut Tape, net: NetId| -> ckaad::Result<Var> {
        let [a, b] = ["a", "b"].map(|name| t.param(net, name, &[2, 3], Init::Zeros));
        let (a, b) = (a?, b?);
        let c = t.param(net, "c", &[6], Init::Zeros)?;
        let c = t.view(c, Shape([2, 1, 1, 3]))?;
        let sum = t.add(a, b)?;
        let sum = t.add(sum, c)?;
        let unit = t.l2_normalize(sum)?;
        t.energy(unit, Term::Low, 0..1)
    };
    let mut tape = Tape::new(DType::F64);
    let net = tape.network("net");
    let loss = build(&mut tape, net).unwrap();
    tape.output(loss);
    tape.backward(loss, net).unwrap();
    let mut session = cpu::session(tape.clone()).unwrap();
    let parameters = Arc::new(tape.parameters(net).clone());
    let mut values = Values::<f64>::zeros(parameters.clone());
    for e in parameters.entries() {
        let u: Vec<f64> = uniform(&e.name, e.range.len()).into_iter().map(f64::from).collect();
        values.set_from_file(&e.name, &u).unwrap();
    }
    let mut loss_at = |values: &Values<f64>| {
        session.write_params(net, values).unwrap();
        session.run().unwrap();
        session.scalar(loss).unwrap()
    };
    let mut differences = Vec::new();
    for e in parameters.entries() {
        for i in e.range.clone() {
            let mut moved = values.clone();
            moved.data[i] += 1e-6;
            let above = loss_at(&moved);
            moved.data[i] -= 2e-6;
            differences.push((above - loss_at(&moved)) / 2e-6);
        }
    }
    loss_at(&values);
    let mut grads = Values::<f64>::zeros(parameters.clone());
    session.read_grads(net, &mut grads).unwrap();
    let found: Vec<f64> = parameters.entries().iter().flat_map(|e| grads.data[e.range.clone()].to_vec()).collect();
    let e = relative_error(&found, &differences);
    assert!(e < 1e-6, "{found:?}\n{differences:?}");
}
