//! What a convolution leaves for the instance norm behind it spares launches; without an instance norm right behind,
//! nothing is left.

use crate::session;
use ckaad::engine::ops::{conv2d, instance_norm};
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::Shape;
use ckaad::engine::toolkit::cuda::Number;

/// Kernels launched by a 1x1 convolution of `x` to `k` channels and what `then` records behind it.
fn launched(
    number: Number,
    x: [usize; 4],
    k: usize,
    then: impl Fn(&mut Tape, Var) -> ckaad::Result<Var>,
) -> Vec<String> {
    let dtype = number.storage();
    let mut tape = Tape::new(dtype);
    let (x, w) = (tape.input(Shape(x), dtype).unwrap(), tape.input(Shape([k, 1, 1, x[3]]), dtype).unwrap());
    let y = tape.conv2d(x, w, conv2d::Options::square(1, 0)).unwrap();
    let z = then(&mut tape, y).unwrap();
    tape.output(z);
    let family = |name: &str| {
        name.rsplit_once('_').unwrap().0.replace("_small", "").replace("_medium", "").replace("_large", "")
    };
    session(tape, number).unwrap().launches().map(|(_, l)| family(l.call.entry.name)).collect()
}

fn norm(t: &mut Tape, y: Var) -> ckaad::Result<Var> {
    t.instance_norm(y, 1e-5, instance_norm::Options::default())
}

const DEEP: [usize; 4] = [1, 4, 4, 512];
const LARGE: [usize; 4] = [2, 33, 34, 16];

#[test]
fn a_norm_behind_a_convolution_takes_one_launch() {
    for number in [Number::F32, Number::Tf32, Number::Bf16, Number::F16] {
        assert_eq!(launched(number, DEEP, 16, norm), ["conv2d_fwd", "instance_norm_fwd"], "{number}");
        assert_eq!(launched(number, LARGE, 64, norm), ["conv2d_fwd", "instance_norm_apply"], "{number}");
    }
}

#[test]
fn only_a_norm_of_the_result_itself_is_left_something() {
    let alone = launched(Number::F32, DEEP, 16, |_, y| Ok(y));
    assert_eq!(alone, ["conv2d_fwd", "conv2d_reduce_splits"]);
    let also_residual = |t: &mut Tape, y: Var| {
        t.instance_norm(y, 1e-5, instance_norm::Options { residual: Some(y), ..Default::default() })
    };
    let apart = ["conv2d_fwd", "conv2d_reduce_splits", "instance_norm_fwd"];
    assert_eq!(launched(Number::F32, DEEP, 16, also_residual), apart);
    let reshaped = |t: &mut Tape, y: Var| {
        let view = t.view(y, Shape([1, 2, 8, 16]))?;
        norm(t, view)
    };
    assert_eq!(launched(Number::F32, DEEP, 16, reshaped), apart);
}
