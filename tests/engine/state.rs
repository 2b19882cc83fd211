//! What outlives a run: states that ops declare, and whole networks, closed once something works on all of them.

use ckaad::engine::device::cpu;
use ckaad::engine::ops::energy::Term;
use ckaad::engine::ops::optimizer::{Adam, LrSchedule};
use ckaad::engine::params::{Init, Values};
use ckaad::engine::tape::{NetId, Tape, Var, Whole};
use ckaad::engine::tensor::{DType, Shape};
use std::sync::Arc;

const ADAM: fn(NetId) -> Adam =
    |net| Adam { net, lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, schedule: LrSchedule::Constant };

/// A linear layer and a loss of it.
fn layer(t: &mut Tape) -> (NetId, Var) {
    let net = t.network("net");
    let x = t.input(Shape([2, 1, 1, 3]), DType::F32).unwrap();
    let w = t.param(net, "weight", &[4, 3], Init::Zeros).unwrap();
    let y = t.linear(x, w).unwrap();
    let loss = t.energy(y, Term::Low, 0..2).unwrap();
    (net, t.output(loss))
}

#[test]
fn the_optimizer_declares_its_state() {
    let mut t = Tape::new(DType::F32);
    let (net, loss) = layer(&mut t);
    t.backward(loss, net).unwrap();
    assert!(t.states().is_empty());
    // Twice in one program is still one state.
    t.adam(ADAM(net)).unwrap();
    t.adam(ADAM(net)).unwrap();
    let states: Vec<(&str, Shape)> = t.states().iter().map(|s| (&*s.name, t.shape(s.var))).collect();
    let all = Shape::vector(t.parameters(net).len());
    assert_eq!(states, [("moment1", all), ("moment2", all), ("steps", Shape::SCALAR)]);
    let text = t.to_string();
    let line =
        "params(net), state(net.moment1), state(net.moment2), state(net.steps) = adam(grads(net)) : 1x1x1x16 f32";
    assert!(text.lines().filter(|l| *l == line).count() == 2, "{text}");

    let mut session = cpu::session(t).unwrap();
    let steps = session.tape().states()[2].var;
    assert_eq!(session.read::<f32>(steps).unwrap(), [0.0]);
    session.run().unwrap();
    assert_eq!(session.read::<f32>(steps).unwrap(), [2.0]);
    session.write(steps, &[7.0f32]).unwrap();
    session.run().unwrap();
    assert_eq!(session.read::<f32>(steps).unwrap(), [9.0]);
}

/// Running statistics, say: no optimizer, no parameters, sizes of their own.
#[test]
fn a_state_belongs_to_no_op_in_particular() {
    let mut t = Tape::new(DType::F32);
    let net = t.network("norm");
    let mean = t.state(net, "bn1.running_mean", Shape::vector(5), DType::F32).unwrap();
    assert_eq!(t.state(net, "bn1.running_mean", Shape::vector(5), DType::F32).unwrap(), mean);
    let other = t.network("other");
    let counter = t.state(other, "bn1.running_mean", Shape::SCALAR, DType::F32).unwrap();
    assert_ne!(counter, mean);
    let message = t.state(net, "bn1.running_mean", Shape::vector(6), DType::F32).unwrap_err().to_string();
    for word in ["norm.bn1.running_mean", "1x1x1x6", "1x1x1x5"] {
        assert!(message.contains(word), "{message}");
    }
    let mut session = cpu::session(t).unwrap();
    assert_eq!(session.plan().usage.optimizer, 20);
    assert_eq!(session.read::<f32>(mean).unwrap(), [0.0; 5]);
    session.write(mean, &[1.0f32, 2.0, 3.0, 4.0, 5.0]).unwrap();
    session.run().unwrap();
    assert_eq!(session.read::<f32>(mean).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert!(session.write_bytes(mean, &[0; 16]).unwrap_err().to_string().contains("takes 20 bytes, found 16"));
}

/// Parameters that come after would be missing from what was recorded.
#[test]
fn a_network_takes_no_parameters_after_its_gradients() {
    type Close = fn(&mut Tape, NetId, Var) -> ckaad::Result<()>;
    let ways: [Close; 3] = [
        |t, net, loss| t.backward(loss, net),
        |t, net, _| t.adam(ADAM(net)),
        |t, net, _| t.clip_grad_norm(net, 1.0).map(drop),
    ];
    for close in ways {
        let mut t = Tape::new(DType::F32);
        let (net, loss) = layer(&mut t);
        t.param(net, "bias", &[4], Init::Zeros).unwrap();
        close(&mut t, net, loss).unwrap();
        // Those that are there can be used again, and other networks are free.
        t.param(net, "weight", &[4, 3], Init::Zeros).unwrap();
        let other = t.network("other");
        t.param(other, "weight", &[4], Init::Zeros).unwrap();
        let message = t.param(net, "late.weight", &[4], Init::Zeros).unwrap_err().to_string();
        assert!(message.contains("net.late.weight") && message.contains("comes too late"), "{message}");
    }
}

#[test]
fn a_network_without_parameters_is_not_trained() {
    let mut t = Tape::new(DType::F32);
    let net = t.network("empty");
    let message = t.adam(ADAM(net)).unwrap_err().to_string();
    assert!(message.contains("network empty has no parameters"), "{message}");
}

#[test]
fn gradients_that_nobody_takes_cannot_be_read() {
    let mut t = Tape::new(DType::F32);
    let (net, _) = layer(&mut t);
    let mut values = Values::<f32>::zeros(Arc::new(t.parameters(net).clone()));
    assert!(t.find_whole(net, Whole::Grads).is_none() && !t.trains(net));
    let session = cpu::session(t).unwrap();
    let message = session.read_grads(net, &mut values).unwrap_err().to_string();
    assert!(message.contains("no gradients of network net"), "{message}");
}

/// Single parameters and gradients are parts of the whole, at their own places.
#[test]
fn single_parameters_are_parts_of_the_whole() {
    let mut t = Tape::new(DType::F32);
    let (net, loss) = layer(&mut t);
    t.backward(loss, net).unwrap();
    t.adam(ADAM(net)).unwrap();
    let parameters = Arc::new(t.parameters(net).clone());
    let [params, grads] = [Whole::Params, Whole::Grads].map(|what| t.find_whole(net, what).unwrap());
    let mut session = cpu::session(t).unwrap();
    let mut values = Values::<f32>::zeros(parameters.clone());
    values.data[parameters.entries()[0].range.clone()].iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
    session.write_params(net, &values).unwrap();
    assert_eq!(session.read::<f32>(params).unwrap(), values.data);
    let mut found = Values::<f32>::zeros(parameters.clone());
    session.read_params(net, &mut found).unwrap();
    assert_eq!(found.data, values.data);
    session.write(grads, &vec![0.5f32; parameters.len()]).unwrap();
    session.read_grads(net, &mut found).unwrap();
    assert!(found.data.iter().all(|g| *g == 0.5));
}
