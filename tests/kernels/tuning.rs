//! Choices for convolutions, forced or measured, are what is launched, and change no result beyond rounding.

use crate::common::{driver, relative_error, uniform};
use crate::session_by;
use ckaad::engine::device::Cost;
use ckaad::engine::device::{Backend, Device, Session, tune};
use ckaad::engine::ops::conv2d::Options;
use ckaad::engine::ops::conv2d_int8::Quantized;
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::tiling::{Choice, Pass, Variant};
use ckaad::engine::toolkit::cuda::{Choices, MODULES, Number, Tuned, Tuning};
use ckaad::engine::toolkit::{Quantization, Stored};
use std::sync::Arc;

/// Two convolutions of different sizes.
fn program() -> (Tape, [Var; 3], Var) {
    let mut t = Tape::new(DType::F32);
    let mut input = |shape| t.input(Shape(shape), DType::F32).unwrap();
    let inputs = [input([1, 9, 10, 32]), input([40, 3, 3, 32]), input([20, 1, 1, 40])];
    let [x, v, w] = inputs;
    let y = t.conv2d(x, v, Options::square(1, 1)).unwrap();
    let z = t.conv2d(y, w, Options::square(1, 0)).unwrap();
    t.output(z);
    (t, inputs, z)
}

/// Names of the convolutions' kernels, how many blocks each has along z (splits), and the result.
fn run(choices: Choices) -> (Vec<(&'static str, u32)>, Vec<f64>) {
    let (tape, inputs, z) = program();
    let mut s = session_by(choices, tape, Number::Tf32).unwrap();
    let launches = s.launches().map(|(_, l)| (l.call.entry.name, l.grid[2]));
    let launches = launches.filter(|(name, _)| name.starts_with("conv2d_fwd")).collect();
    let s: &mut dyn Session = &mut s;
    for v in inputs {
        let values = uniform(&format!("{v:?}"), s.tape().shape(v).len());
        s.write(v, &values).unwrap();
    }
    s.run().unwrap();
    (launches, s.read_values(z).unwrap())
}

#[test]
fn what_was_measured_is_launched_and_gives_the_same_result() {
    let work = tune::products(&[program().0], Number::Tf32).unwrap();
    let [first, second] = &work[..] else { panic!("two products") };
    let (_, expected) = run(Choices::Model);
    let pairs = [(Variant::Small, Variant::Large), (Variant::Large, Variant::Medium), (Variant::Medium, Variant::Long)];
    for (deep, flat) in pairs {
        let mut tuning = Tuning::default();
        for w in [first, second] {
            let deep_one = w.product.depth == 288;
            let choice =
                if deep_one { Choice { variant: deep, splits: 3 } } else { Choice { variant: flat, splits: 1 } };
            tuning.insert(Number::Tf32, w.product, Tuned { choice, cost: 1.0 });
            // What is known of other numbers is not used.
            let other = Choice { variant: Variant::Small, splits: 2 };
            tuning.insert(Number::F32, w.product, Tuned { choice: other, cost: 1.0 });
        }
        let (launched, found) = run(Choices::Measured(Arc::new(tuning)));
        let name = |v| match v {
            Variant::Small => "conv2d_fwd_small_tf32",
            Variant::Medium => "conv2d_fwd_medium_tf32",
            Variant::Long => "conv2d_fwd_tf32",
            Variant::Large => "conv2d_fwd_large_tf32",
        };
        assert_eq!(launched, [(name(deep), 3), (name(flat), 1)]);
        // The same tf32 products in another order of f32 sums. Of what lies between the two convolutions some values are then rounded
        // to the other neighbour, 2^-11 away: 4.3e-5 on an H200, whose tensor cores cut sums off instead of rounding them. A wrong
        // or missing part of a sum would be hundreds of times that.
        let error = relative_error(&found, &expected);
        assert!(error <= 2e-4, "{error:.1e}");
    }
}

/// Measuring finds what is cheapest: every other choice, measured by hand, costs as much.
#[test]
fn measuring_finds_the_cheapest() {
    if !driver().name().starts_with("sim") {
        return; // Times differ from run to run; the emulator's counts do not.
    }
    let backend = Backend { device: Device::Sim, number: Number::Tf32, choices: Choices::Model };
    let (tape, ..) = program();
    for work in tune::products(&[tape], Number::Tf32).unwrap() {
        let outcome = work.measure(&backend, 100, 1).unwrap();
        assert!(outcome.measured >= 4 && outcome.best.cost <= outcome.old.cost, "{:?}", outcome.best);
        assert_eq!(work.measure(&backend, 3, 1).unwrap().measured, 3);
        for variant in Variant::ALL {
            let choices = Choices::Forced(Choice { variant, splits: 1 });
            let again = work.measure(&Backend { choices, ..backend.clone() }, 1, 1).unwrap();
            assert_eq!(again.old.choice, Choice { variant, splits: 1 });
            assert!(outcome.best.cost <= again.old.cost * 1.021, "{:?} against {:?}", outcome.best, again.old);
        }
    }
}

/// A convolution of bytes and one in f32 of the same sizes are two products, each measured with its own kernels and launched by what was
/// measured of it.
#[test]
fn bytes_are_measured_apart() {
    let mut t = Tape::new(DType::F32);
    let mut input = |shape, dtype| t.input(shape, dtype).unwrap();
    let [x, w] = [Shape([1, 9, 10, 32]), Shape([40, 3, 3, 32])];
    let (xs, ws, scale) = ([DType::F32, DType::U8], [DType::F32, DType::I8], input(Shape::vector(40), DType::F32));
    let [[x, bytes], [w, steps]] = [(x, xs), (w, ws)].map(|(shape, types)| types.map(|dtype| input(shape, dtype)));
    let o = Options::square(1, 1);
    let q = Quantized { x: Quantization { scale: 1.0, zero: 128 }, residual: Stored::Real, y: Stored::Real };
    for y in [t.conv2d(x, w, o).unwrap(), t.conv2d_int8(bytes, steps, scale, q, o).unwrap()] {
        t.output(y);
    }
    let backend = Backend { device: Device::Sim, number: Number::Int8, choices: Choices::Model };
    let work = tune::products(std::slice::from_ref(&t), backend.number).unwrap();
    let [real, eight] = &work[..] else { panic!("two products") };
    assert_eq!((real.number, eight.number, real.product), (Number::F32, Number::Int8, eight.product));
    let mut tuning = Tuning::default();
    for (work, variant) in [(real, Variant::Small), (eight, Variant::Large)] {
        let outcome = work.measure(&backend, 100, 1).unwrap();
        assert!(outcome.measured >= 3 && outcome.best.cost <= outcome.old.cost, "{:?}", outcome.best);
        tuning.insert(work.number, work.product, Tuned { choice: Choice { variant, splits: 1 }, cost: 1.0 });
    }
    let session = session_by(Choices::Measured(Arc::new(tuning)), t, Number::Int8).unwrap();
    let launched: Vec<&str> = session.launches().map(|(_, l)| l.call.entry.name).collect();
    assert_eq!(launched, ["conv2d_fwd_small_f32", "conv2d_int8_fwd_large_s8"]);
}

#[test]
fn the_identity_of_a_backend_tells_tunings_apart() {
    let work = tune::products(&[program().0], Number::Tf32).unwrap();
    let identity = |choices, number| Backend { device: Device::Sim, number, choices }.identity().unwrap();
    let with = |variant| {
        let mut tuning = Tuning::default();
        let choice = Choice { variant, splits: 1 };
        tuning.insert(Number::Tf32, work[0].product, Tuned { choice, cost: 1.0 });
        Choices::Measured(Arc::new(tuning))
    };
    let model = identity(Choices::Model, Number::Tf32);
    let [small, large] = [Variant::Small, Variant::Large].map(|v| identity(with(v), Number::Tf32));
    assert!(model != small && model != large && small != large, "{model}, {small}, {large}");
    // Nothing is known of bf16: the model decides.
    assert_eq!(identity(Choices::Model, Number::Bf16), identity(with(Variant::Small), Number::Bf16));
}

/// With channel counts that fill 16 bytes, every variant reads and writes memory without waste: no two threads wait for the
/// same bank of shared memory, and no more sectors are moved than hold what is asked for.
#[test]
fn aligned_shapes_waste_no_memory_traffic() {
    if !driver().name().starts_with("sim") {
        return; // Only the emulator counts.
    }
    for number in [Number::F32, Number::Tf32, Number::Bf16, Number::F16] {
        let dtype = number.storage();
        let mut t = Tape::new(dtype);
        let mut input = |shape| t.input(Shape(shape), dtype).unwrap();
        let [x, w, v] = [input([2, 16, 16, 64]), input([128, 3, 3, 64]), input([64, 2, 2, 128])];
        let [dy, dz] = [input([2, 16, 16, 128]), input([2, 32, 32, 128])];
        let y = t.conv2d(x, w, Options::square(1, 1)).unwrap();
        let z = t.conv_transpose2d(x, v, [2, 2], [0, 0], [0, 0]).unwrap();
        for g in t.gradients(&[(y, dy), (z, dz)], &[x, w, v]).unwrap().into_iter().flatten() {
            t.output(g);
        }
        t.output(y);
        t.output(z);
        let variants = Variant::ALL.into_iter().filter(|v| v.exists(number));
        for choice in variants.flat_map(|variant| [1, 2].map(|splits| Choice { variant, splits })) {
            let choices = Choices::Forced(choice);
            let mut s = session_by(choices, t.clone(), number).unwrap();
            let s: &mut dyn Session = &mut s;
            for v in [x, w, v, dy, dz] {
                let values: Vec<f64> = uniform("values", s.tape().shape(v).len()).iter().map(|x| *x as f64).collect();
                s.write_values(v, &values).unwrap();
            }
            for part in s.profile(1).unwrap() {
                let (Some(launch), Cost::Counters(c)) = (part.launch, part.cost) else { panic!("counted launches") };
                let name = launch.call.entry.name;
                if name.starts_with("conv") {
                    assert_eq!((c.conflicts, c.sectors), (0, c.ideal_sectors), "{name}, {choice:?}");
                }
            }
        }
    }
}

/// What the host takes for a block's shared memory is what the kernel was compiled with.
#[test]
fn shared_memory_is_as_the_kernels_have_it() {
    let passes = [
        (Pass::Forward, "conv2d_fwd"),
        (Pass::InputGradient, "conv2d_bwd_input"),
        (Pass::WeightGradient, "conv2d_bwd_weight"),
        (Pass::Transposed, "conv_transpose2d_fwd"),
    ];
    for (pass, name) in passes {
        for number in [Number::F32, Number::Tf32, Number::Bf16, Number::F16] {
            for (variant, infix) in [(Variant::Small, "_small"), (Variant::Medium, "_medium"), (Variant::Long, "")] {
                let name = format!("{name}{infix}_{number}");
                let entry = MODULES.iter().flat_map(|m| m.entries).find(|e| e.name == name).unwrap();
                let text = &entry.module().ptx[entry.text.0..entry.text.1];
                // The array is a template's, whose argument is its size.
                let bytes = variant.tile(pass).shared(pass, number);
                assert!(text.contains(&format!("shared_memoryILj{bytes}E")), "{name}: {bytes}");
            }
        }
    }
}

/// No kernel is left to the model alone: each variant has its kernels for every pass.
#[test]
fn every_variant_has_kernels() {
    let names: Vec<&str> = MODULES.iter().flat_map(|m| m.entries).map(|e| e.name).collect();
    for pass in ["conv2d_fwd", "conv2d_bwd_input", "conv2d_bwd_weight", "conv_transpose2d_fwd"] {
        for number in [Number::F32, Number::Tf32, Number::Bf16, Number::F16] {
            for (variant, infix) in Variant::ALL.into_iter().zip(["_small", "_medium", "", "_large"]) {
                let name = format!("{pass}{infix}_{number}");
                assert_eq!(names.contains(&name.as_str()), variant.exists(number), "{name}");
            }
        }
    }
}
