//! Several runs on their way at once.

use crate::common::driver;
use crate::session;
use ckaad::engine::device::cuda::CudaSession;
use ckaad::engine::device::{Backend, Session};
use ckaad::engine::ops::Activation;
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::{Choices, Number};

/// ReLU of the sum of an input with itself, twice: buffers of the arena are used again within a run.
fn program() -> (Tape, Var, Var) {
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([2, 3, 5, 4]), DType::F32).unwrap();
    let twice = t.add(x, x).unwrap();
    let positive = t.activate(twice, Activation::Relu).unwrap();
    let y = t.add(positive, twice).unwrap();
    let y = t.output(y);
    (t, x, y)
}

fn batch(seed: usize) -> Vec<f32> {
    (0..120).map(|i| ((i * 37 + seed * 101) % 41) as f32 - 20.0).collect()
}

/// The program's result by hand.
fn truth(x: &[f32]) -> Vec<f32> {
    x.iter().map(|v| (2.0 * v).max(0.0) + 2.0 * v).collect()
}

fn check(session: &mut dyn Session, [x, y]: [Var; 2]) {
    let lanes = session.lanes();
    for i in 0..5 + lanes {
        if i >= lanes {
            let result: Vec<f32> = bytemuck::pod_collect_to_vec(session.collect(&[y]).unwrap()[0]);
            assert_eq!(result, truth(&batch(i - lanes)), "run {}", i - lanes);
        }
        if i < 5 {
            let values = batch(i);
            let (first, rest) = values.split_at(50);
            session.submit(&[(x, &[bytemuck::cast_slice(first), bytemuck::cast_slice(rest)])]).unwrap();
        }
    }
}

#[test]
fn results_come_in_order_from_every_lane() {
    for lanes in [1, 2, 3] {
        let (tape, x, y) = program();
        let mut s = CudaSession::with_lanes(tape, driver(), Number::F32, lanes, Choices::Model).unwrap();
        assert_eq!(s.lanes(), lanes);
        check(&mut s, [x, y]);
    }
    let (tape, x, y) = program();
    check(&mut *Backend::CPU.open(tape).unwrap(), [x, y]);
}

#[test]
fn lanes_and_single_runs_do_not_disturb_each_other() {
    let (tape, x, y) = program();
    let mut s = session(tape, Number::F32).unwrap();
    let s: &mut dyn Session = &mut s;
    s.write(x, &batch(7)).unwrap();
    s.run().unwrap();
    assert_eq!(s.read::<f32>(y).unwrap(), truth(&batch(7)));
    check(s, [x, y]);
}

#[test]
fn too_many_runs_or_too_much_input() {
    let (tape, x, y) = program();
    let mut s = session(tape, Number::F32).unwrap();
    let error = s.collect(&[]).unwrap_err().to_string();
    assert!(error.contains("no run"), "{error}");
    let long = [0u8; 4 * 121];
    assert!(s.submit(&[(x, &[&long])]).unwrap_err().to_string().contains("480 bytes"));
    assert!(s.submit(&[(y, &[&long[..0]])]).is_ok(), "an empty part changes nothing");
    let error = s.submit(&[]).unwrap_err().to_string();
    assert!(error.contains("on their way"), "{error}");
}
