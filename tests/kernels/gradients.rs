//! Gradients computed by the kernels in f32, against the CPU's central differences in f64.

use crate::session;
use ckaad::engine::device::Session;
use ckaad::engine::device::cuda::Number;
use ckaad::engine::gradcheck;
use ckaad::engine::ops::cases;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::DType;
use ckaad::model;
use rayon::prelude::*;

fn open(tape: Tape) -> ckaad::Result<Box<dyn Session>> {
    Ok(Box::new(session(tape, Number::F32)?))
}

#[test]
fn every_differentiable_op() {
    cases().par_iter().filter(|c| c.differentiable).for_each(|case| {
        let report = gradcheck::check(case, DType::F32, &open).unwrap();
        assert!(report.passed(), "{report:?}");
    });
}

#[test]
fn whole_networks() {
    for (name, network) in model::gradcheck::NETWORKS {
        let report = model::gradcheck::check(name, network, DType::F32, &open).unwrap();
        assert!(report.passed(), "{report:?}");
    }
}
