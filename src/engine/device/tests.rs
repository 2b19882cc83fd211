//! Sessions and plan know of no op that keeps anything: here a sum does, which never did before.

use super::{Backend, Device};
use crate::engine::ops::add::Add;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};

/// Adds its input to a state in every run.
fn total() -> (Tape, Var, Var) {
    let mut t = Tape::new(DType::F32);
    let net = t.network("net");
    let x = t.input(Shape::vector(3), DType::F32).unwrap();
    let total = t.state(net, "total", Shape::vector(3), DType::F32).unwrap();
    t.record_into(Add, vec![total, x], vec![total]);
    (t, x, total)
}

#[test]
fn any_op_can_keep_a_state() {
    for device in [Device::Cpu, Device::Sim] {
        let (tape, x, total) = total();
        let mut session = Backend { device, ..Backend::CPU }.open(tape).unwrap();
        for run in 1..4 {
            session.write(x, &[1.0f32, 2.0, -3.0]).unwrap();
            session.run().unwrap();
            let n = run as f32;
            assert_eq!(session.read::<f32>(total).unwrap(), [n, 2.0 * n, -3.0 * n]);
        }
        session.write(total, &[10.0f32; 3]).unwrap();
        session.write(x, &[1.0f32, 2.0, -3.0]).unwrap();
        session.run().unwrap();
        assert_eq!(session.read::<f32>(total).unwrap(), [11.0, 12.0, 7.0]);
    }
}
