//! Forward results of the case table. What devices are compared with is the CPU in f64, which the ONNX and PyTorch
//! files vouch for.

use crate::common::relative_error;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::gradcheck::Open;
use ckaad::engine::ops::case::Case;
use ckaad::engine::ops::{Op, cases};
use ckaad::engine::params::Init;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use std::collections::BTreeSet;

/// The result of a case on a device, its inputs rounded to f32 in either type.
fn result(case: &Case, dtype: DType, open: Open) -> Vec<f64> {
    let p = case.record(dtype).unwrap();
    let mut session = open(p.tape.clone()).unwrap();
    let round = |v: Vec<f64>| v.into_iter().map(|x| x as f32 as f64).collect();
    let inputs: Vec<Vec<f64>> = case.values().into_iter().map(round).collect();
    p.write(&mut *session, &inputs).unwrap();
    session.run().unwrap();
    session.read_values(p.output).unwrap()
}

#[test]
fn f32_agrees_with_f64() {
    for case in cases() {
        let [found, expected] = [DType::F32, DType::F64].map(|d| result(&case, d, &cpu::session));
        // f32 rounds by 6e-8; a few hundred terms that partly cancel leave this much.
        let e = relative_error(&found, &expected);
        assert!(e <= 5e-6, "{}, {}: relative error {e:e}", case.op, case.name);
        assert!(found.iter().any(|x| *x != 0.0) || case.name == "one position", "{}, {}: all 0", case.op, case.name);
    }
}

/// One thread or two, the case's own run or a repeated one: on the same number of threads the same bits.
#[test]
fn runs_repeat_bit_for_bit() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for case in cases() {
            let run = || pool.install(|| result(&case, DType::F32, &cpu::session));
            let bits = |v: Vec<f64>| v.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(run()), bits(run()), "{}, {} on {threads} threads", case.op, case.name);
        }
    }
}

/// An op without a case, or a gradient that no case reaches, would never be checked on any device.
#[test]
fn every_op_has_cases() {
    let mut reached = BTreeSet::new();
    for case in cases() {
        let mut p = case.record(DType::F64).unwrap();
        if case.differentiable {
            let seed = p.tape.input(p.tape.shape(p.output), DType::F64).unwrap();
            p.tape.gradients(&[(p.output, seed)], &p.inputs).unwrap();
        }
        reached.extend(p.tape.records().iter().map(|r| r.op.name()));
    }
    let all: BTreeSet<&str> = Op::NAMES.iter().copied().collect();
    assert_eq!(reached, all);
}

#[test]
fn names_are_unique() {
    let all = cases();
    let names: BTreeSet<(&str, &str)> = all.iter().map(|c| (c.op, c.name.as_str())).collect();
    assert_eq!(names.len(), all.len());
}

/// More threads than planned for would share scratch memory: refused, not computed wrongly.
#[test]
fn more_threads_than_planned_are_refused() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let case = cases().into_iter().find(|c| c.op == "conv2d").unwrap();
    let p = case.record(DType::F32).unwrap();
    let mut session: Box<dyn Session> = pool(1).install(|| cpu::session(p.tape.clone())).unwrap();
    p.write(&mut *session, &case.values()).unwrap();
    let message = pool(2).install(|| session.run()).unwrap_err().to_string();
    assert!(message.contains("planned for 1 thread") && message.contains("on 2"), "{message}");
    pool(1).install(|| session.run()).unwrap();
}

/// Frozen weights are rearranged once; writing them again, by whichever name, must not leave the old ones in use.
#[test]
fn weights_written_through_a_view_count() {
    let mut t = Tape::new(DType::F64);
    let net = t.network("net");
    let x = t.input(Shape::vector(3), DType::F64).unwrap();
    let w = t.param(net, "weight", &[2, 3], Init::Zeros).unwrap();
    let flat = t.view(w, Shape::vector(6)).unwrap();
    let y = t.linear(x, w).unwrap();
    t.output(y);
    let mut s = cpu::session(t).unwrap();
    for scale in [1.0, 10.0] {
        s.write(x, &[1.0, 2.0, 3.0]).unwrap();
        s.write_values(flat, &[scale, 0.0, 0.0, 0.0, scale, scale]).unwrap();
        s.run().unwrap();
        assert_eq!(s.read::<f64>(y).unwrap(), [scale, 5.0 * scale]);
    }
}
