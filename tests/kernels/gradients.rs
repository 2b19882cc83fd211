//! Gradients computed by the kernels: in f32 against the CPU's central differences in f64, in 16 bits against its gradients.

use crate::common::{relative_error, uniform};
use crate::session;
use ckaad::detector::{METHODS, gradcheck as networks};
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::gradcheck::{self, Open};
use ckaad::engine::ops::{cases, conv2d, instance_norm};
use ckaad::engine::params::Init;
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;
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
    for (name, network) in METHODS.into_iter().flat_map(|m| m.networks) {
        for number in [Number::F32, Number::Bf16] {
            let open = |tape| -> ckaad::Result<Box<dyn Session>> { Ok(Box::new(session(tape, number)?)) };
            let report = networks::check(name, *network, number.storage(), &open).unwrap();
            assert!(report.passed(), "{number}: {report:?}");
        }
    }
}

/// The optimizer's numbers are f32 in 16-bit programs: of exact 16-bit factors, only the sums are rounded, and those of f32.
#[test]
fn gradients_of_parameters_have_the_digits_of_f32() {
    let x = Shape([3, 6, 5, 16]);
    for number in [Number::Bf16, Number::F16] {
        let record = |dtype: DType| {
            let mut t = Tape::new(dtype);
            let net = t.network("net");
            let input = t.input(x, dtype).unwrap();
            let param = |t: &mut Tape, name: &str, shape: &[usize]| t.param(net, name, shape, Init::Zeros).unwrap();
            let weight = param(&mut t, "weight", &[24, 16, 3, 3]);
            let bias = param(&mut t, "bias", &[24]);
            let doubling = param(&mut t, "doubling", &[16, 8, 2, 2]);
            let [gamma, beta] = ["gamma", "beta"].map(|name| param(&mut t, name, &[16]));
            let o = conv2d::Options { bias: Some(bias), ..conv2d::Options::square(2, 1) };
            let a = t.conv2d(input, weight, o).unwrap();
            // The same weights once more: two gradients are added.
            let b = t.conv2d(input, weight, conv2d::Options::square(3, 0)).unwrap();
            let c = t.conv_transpose2d(input, doubling, [2; 2], [0; 2], [0; 2]).unwrap();
            let affine = Some((gamma, beta));
            let d = t.instance_norm(input, 1e-5, instance_norm::Options { affine, ..Default::default() }).unwrap();
            let outputs = [a, b, c, d];
            let seeds = outputs.map(|v| (v, t.input(t.shape(v), dtype).unwrap()));
            let params = [weight, bias, doubling, gamma, beta];
            let grads = t.gradients(&seeds, &params).unwrap();
            let grads: Vec<Var> = grads.into_iter().map(|g| t.output(g.unwrap())).collect();
            let written: Vec<Var> = seeds.iter().map(|s| s.1).chain(params).chain([input]).collect();
            (t, written, grads)
        };
        let run = |dtype: DType, open: Open| -> Vec<Vec<f64>> {
            let (t, written, grads) = record(dtype);
            let mut s = open(t).unwrap();
            for v in written {
                let values = uniform(&format!("{v:?}"), s.tape().shape(v).len());
                let values: Vec<f64> = values.into_iter().map(|u| number.storage().round(u as f64)).collect();
                s.write_values(v, &values).unwrap();
            }
            s.run().unwrap();
            grads.into_iter().map(|g| s.read_values(g).unwrap()).collect()
        };
        let found = run(number.storage(), &|tape| Ok(Box::new(session(tape, number)?)));
        for (found, expected) in found.iter().zip(run(DType::F64, &cpu::session)) {
            // Rounding to bf16 or f16 would show as 1e-3 or 1e-4.
            let e = relative_error(found, &expected);
            assert!(e <= 1e-5, "{number}: {} values, relative error {e:.1e}", found.len());
        }
    }
}
