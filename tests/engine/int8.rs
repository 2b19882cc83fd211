//! Convolutions of bytes against sums in 64 bits and what the definition makes of them in f64.

use crate::common::conv_relu;
use ckaad::engine::device::cpu;
use ckaad::engine::ops::case::uniform;
use ckaad::engine::ops::conv2d::{Conv2d, Options};
use ckaad::engine::ops::conv2d_int8::Quantized;
use ckaad::engine::ops::conv2d_pixels::Conv2dPixels;
use ckaad::engine::ops::{Activation, Op};
use ckaad::engine::quantized::{Scheme, layers, rewrite, values};
use ckaad::engine::tape::{NetId, Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::{Quantization, Stored};
use std::collections::BTreeSet;

/// One convolution, or the transposed one that it is the adjoint of.
#[derive(Clone, Copy)]
struct Scene {
    x: [usize; 4],
    /// Filters, height, width.
    filters: [usize; 3],
    stride: usize,
    pad: usize,
    transposed: bool,
    zero: u8,
    /// All bytes and all weights at the ends of their ranges.
    extreme: bool,
}

impl Scene {
    const fn new(x: [usize; 4], filters: [usize; 3], stride: usize, pad: usize) -> Self {
        Scene { x, filters, stride, pad, transposed: false, zero: 0, extreme: false }
    }

    const fn transposed(self) -> Self {
        Scene { transposed: true, ..self }
    }

    const fn signed(self) -> Self {
        Scene { zero: 128, ..self }
    }

    const fn extreme(self) -> Self {
        Scene { extreme: true, ..self }
    }
}

const SCENES: [Scene; 17] = [
    Scene::new([2, 3, 4, 5], [3, 1, 1], 1, 0),
    Scene::new([2, 5, 4, 3], [4, 3, 3], 1, 1),
    Scene::new([1, 9, 8, 3], [4, 7, 7], 2, 3).signed(),
    Scene::new([1, 17, 16, 4], [40, 3, 3], 2, 1).signed(),
    Scene::new([1, 12, 13, 64], [33, 1, 1], 1, 0),
    Scene::new([1, 4, 4, 1100], [32, 1, 1], 1, 0),
    Scene::new([3, 12, 13, 32], [64, 3, 3], 1, 1),
    Scene::new([1, 10, 9, 64], [32, 3, 3], 1, 0).signed(),
    Scene::new([1, 16, 16, 128], [32, 3, 3], 1, 1).signed().extreme(),
    Scene::new([2, 16, 16, 64], [64, 3, 3], 1, 1).extreme(),
    // Sums beyond what Winograd's form can hold.
    Scene::new([1, 16, 16, 256], [32, 3, 3], 1, 1).extreme(),
    Scene::new([1, 40, 40, 544], [32, 3, 3], 1, 1),
    Scene::new([2, 4, 5, 12], [12, 2, 2], 2, 0).transposed(),
    Scene::new([1, 4, 4, 64], [64, 2, 2], 2, 0).transposed().signed(),
    Scene::new([1, 5, 4, 7], [7, 3, 3], 2, 1).transposed().signed(),
    Scene::new([1, 3, 3, 4], [4, 3, 2], 1, 1).transposed(),
    Scene::new([1, 1, 1, 40], [136, 3, 3], 1, 1),
];

/// Sums of the convolution of `x - zero` with `w` at every place of the result; `zero` is given the place in x.
fn sums(p: &Conv2d, transposed: bool, x: &[u8], zero: impl Fn(usize) -> i64, w: &[i64]) -> Vec<i64> {
    let u = |v: u32| v as usize;
    let mut y = vec![0; if transposed { p.input().len() } else { p.output().len() }];
    for n in 0..u(p.n) {
        for (oh, ow) in (0..u(p.oh)).flat_map(|oh| (0..u(p.ow)).map(move |ow| (oh, ow))) {
            for (r, s) in (0..u(p.r)).flat_map(|r| (0..u(p.s)).map(move |s| (r, s))) {
                let (h, w_) = (
                    (oh * u(p.stride_h) + r).wrapping_sub(u(p.pad_h)),
                    (ow * u(p.stride_w) + s).wrapping_sub(u(p.pad_w)),
                );
                if h >= u(p.h) || w_ >= u(p.w) {
                    continue;
                }
                for k in 0..u(p.k) {
                    for c in 0..u(p.c) {
                        let inner = ((n * u(p.h) + h) * u(p.w) + w_) * u(p.c) + c;
                        let outer = ((n * u(p.oh) + oh) * u(p.ow) + ow) * u(p.k) + k;
                        let (from, to) = if transposed { (outer, inner) } else { (inner, outer) };
                        y[to] += (i64::from(x[from]) - zero(from)) * w[((k * u(p.r) + r) * u(p.s) + s) * u(p.c) + c];
                    }
                }
            }
        }
    }
    y
}

/// A scene's result for one way to fuse and keep it, and what it should be: real numbers.
fn check(scene: &Scene, fused: bool, kept: Stored) {
    let Scene { x: [n, h, w, c], filters: [k, r, s], stride, pad, transposed, zero, extreme } = *scene;
    let of_conv = if transposed {
        // The convolution that takes the result to x.
        [n, (h - 1) * stride + r - 2 * pad, (w - 1) * stride + s - 2 * pad, k]
    } else {
        [n, h, w, c]
    };
    let weights = if transposed { Shape([c, r, s, k]) } else { Shape([k, r, s, c]) };
    let sizes = Conv2d::new(Shape(of_conv), weights, [stride; 2], [pad; 2]).unwrap();
    let y_shape = if transposed { sizes.input() } else { sizes.output() };
    let numbers = |name: &str, len: usize| uniform(&format!("{:?}{name}", scene.x), len);
    let x: Vec<u8> =
        numbers("x", n * h * w * c).iter().map(|v| if extreme { 255 } else { (v * 128.0 + 128.0) as u8 }).collect();
    let f: Vec<i8> =
        numbers("w", weights.len()).iter().map(|v| if extreme { -127 } else { (v * 127.0).round() as i8 }).collect();
    let scale: Vec<f32> = numbers("s", y_shape.c()).iter().map(|v| 1e-3 * (1.5 + v)).collect();
    let bias: Vec<f32> = numbers("b", y_shape.c());
    let residual: Vec<u8> = numbers("r", y_shape.len()).iter().map(|v| (v * 128.0 + 128.0) as u8).collect();
    let (of_x, of_residual) = (Quantization { scale: 0.02, zero }, Quantization { scale: 0.03, zero: 128 });
    let act = if fused { Activation::Relu } else { Activation::None };

    let mut t = Tape::new(DType::F32);
    let input = |t: &mut Tape, shape: Shape, dtype| t.input(shape, dtype).unwrap();
    let vx = input(&mut t, Shape([n, h, w, c]), DType::U8);
    let vw = input(&mut t, weights, DType::I8);
    let vs = input(&mut t, Shape::vector(y_shape.c()), DType::F32);
    let vb = input(&mut t, Shape::vector(y_shape.c()), DType::F32);
    let vr = input(&mut t, y_shape, DType::U8);
    let q = Quantized { x: of_x, residual: Stored::Bytes(of_residual), y: kept };
    let fused_in = fused && !transposed;
    let y = if transposed {
        t.conv_transpose2d_int8(vx, vw, vs, q, sizes).unwrap()
    } else {
        let o = Options {
            bias: fused_in.then_some(vb),
            residual: fused_in.then_some(vr),
            act,
            ..Options::square(stride, pad)
        };
        t.conv2d_int8(vx, vw, vs, q, o).unwrap()
    };
    t.output(y);
    let mut session = cpu::session(t).unwrap();
    session.write(vx, &x).unwrap();
    session.write(vw, &f).unwrap();
    session.write(vs, &scale).unwrap();
    session.write(vb, &bias).unwrap();
    session.write(vr, &residual).unwrap();
    session.run().unwrap();
    let found = session.read_values(y).unwrap();

    let wide: Vec<i64> = f.iter().map(|w| i64::from(*w)).collect();
    for (i, (found, sum)) in found.iter().zip(sums(&sizes, transposed, &x, |_| zero.into(), &wide)).enumerate() {
        let channel = i % y_shape.c();
        let mut want = sum as f64 * f64::from(of_x.scale) * f64::from(scale[channel]);
        let mut size = want.abs();
        if fused_in {
            let residual = (f64::from(residual[i]) - 128.0) * f64::from(of_residual.scale);
            want = (want + f64::from(bias[channel]) + residual).max(0.0);
            size += f64::from(bias[channel]).abs() + residual.abs();
        }
        // f32 rounds each of five results by at most 2^-24 of the largest term.
        let slack = 5.0 * size * 2f64.powi(-24);
        match kept {
            Stored::Real => {
                assert!((found - want).abs() <= slack, "{:?} {fused}: {i}: {found}, expected {want}", scene.x)
            }
            Stored::Bytes(q) => {
                let steps = want / f64::from(q.scale);
                let [least, most] = q.range().map(f64::from);
                let (found, slack) =
                    (found - f64::from(q.zero), slack / f64::from(q.scale) + steps.abs() * 2f64.powi(-23));
                let clamped = steps.clamp(least, most);
                assert!(
                    (found - clamped).abs() <= 0.5 + slack,
                    "{:?} {fused}: {i}: {found}, expected {steps}",
                    scene.x
                );
            }
        }
    }
}

#[test]
fn convolutions_follow_the_definition() {
    for scene in &SCENES {
        for fused in [false, true] {
            let (unsigned, signed) = (Quantization { scale: 0.05, zero: 0 }, Quantization { scale: 0.1, zero: 128 });
            for kept in [Stored::Real, Stored::Bytes(unsigned), Stored::Bytes(signed)] {
                check(scene, fused, kept);
            }
        }
    }
}

/// Pixels with weights of 16 bits, of any values and at the ends of their ranges.
#[test]
fn convolutions_of_pixels_follow_the_definition() {
    // Input, filters, height and width of them, padding, vertical stride.
    for ([n, h, w], [k, r, s], pad, stride) in [
        ([2, 20, 18], [40, 7, 7], 3, 2),
        ([1, 33, 35], [64, 7, 7], 3, 2),
        ([1, 9, 12], [5, 3, 4], 0, 1),
        ([3, 5, 31], [32, 1, 1], 0, 3),
        ([1, 3, 4], [33, 5, 3], 2, 1),
    ] {
        for extreme in [false, true] {
            let weights = Shape([k, r, s, 3]);
            let sizes = Conv2d::new(Shape([n, h, w, 3]), weights, [stride, 2], [pad; 2]).unwrap();
            let numbers = |name: &str, len: usize| uniform(&format!("{h}{name}"), len);
            let x: Vec<u8> = numbers("x", n * h * w * 3)
                .iter()
                .map(|v| if extreme { 255 } else { (v * 128.0 + 128.0) as u8 })
                .collect();
            let f: Vec<i16> = numbers("w", weights.len())
                .iter()
                .map(|v| if extreme { -32767 } else { (v * 32767.0).round() as i16 })
                .collect();
            let scale: Vec<f32> = numbers("s", k).iter().map(|v| 1e-6 * (1.5 + v)).collect();
            let bias: Vec<f32> = numbers("b", k);
            let mean = if extreme { [0.0, 1e-9, 0.001] } else { [0.485, 0.456, 0.406] };
            let subtracted = if extreme { [0, 0, 0] } else { [124, 116, 104] };
            let mut t = Tape::new(DType::F32);
            let vx = t.input(Shape([n, h, w, 3]), DType::U8).unwrap();
            let vw = t.input(weights, DType::I16).unwrap();
            let [vs, vb] = [(); 2].map(|()| t.input(Shape::vector(k), DType::F32).unwrap());
            let q = Quantization { scale: 0.02, zero: 128 };
            let kept = [Stored::Real, Stored::Bytes(q)].map(|y| {
                let op = Conv2dPixels { sizes, mean, std: [1.0; 3], act: Activation::None, y };
                let y = t.conv2d_pixels(op, [vx, vw, vs, vb]).unwrap();
                t.output(y);
                y
            });
            let mut session = cpu::session(t).unwrap();
            session.write(vx, &x).unwrap();
            session.write(vw, &f).unwrap();
            session.write(vs, &scale).unwrap();
            session.write(vb, &bias).unwrap();
            session.run().unwrap();
            let [real, bytes] = kept.map(|y| session.read_values(y).unwrap());
            let wide: Vec<i64> = f.iter().map(|w| i64::from(*w)).collect();
            let all = sums(&sizes, false, &x, |place| subtracted[place % 3], &wide);
            assert!(all.iter().all(|sum| i32::try_from(*sum).is_ok()));
            for (i, sum) in all.iter().enumerate() {
                let (product, bias) = (*sum as f64 * f64::from(scale[i % k]), f64::from(bias[i % k]));
                let want = product + bias;
                // f32 rounds the sum, the product and what is added by at most 2^-24 of the larger term each.
                let slack = 3.0 * (product.abs() + bias.abs()) * 2f64.powi(-24);
                assert!((real[i] - want).abs() <= slack, "{sizes:?}: {i}: {}, expected {want}", real[i]);
                let steps = want / f64::from(q.scale);
                let slack = slack / f64::from(q.scale) + steps.abs() * 2f64.powi(-23);
                let found = bytes[i] - 128.0;
                assert!((found - steps.clamp(-128.0, 127.0)).abs() <= 0.5 + slack, "{sizes:?}: {i}: {found}, {steps}");
            }
        }
    }
}

/// Half-way cases go to the even byte, what is too large or small to the last one.
#[test]
fn bytes_are_rounded_to_even_and_clamped() {
    let x = [-300.0, -128.5, -1.5, -0.5, -0.49, 0.0, 0.5, 1.5, 2.5, 126.5, 127.5, 254.5, 255.5, 1e9, f32::INFINITY];
    for (zero, want) in [
        (0, [0, 0, 0, 0, 0, 0, 0, 2, 2, 126, 128, 254, 255, 255, 255]),
        (128, [0, 0, 126, 128, 128, 128, 128, 130, 130, 254, 255, 255, 255, 255, 255]),
    ] {
        for scale in [1.0, 0.25] {
            let mut t = Tape::new(DType::F32);
            let v = t.input(Shape::vector(x.len()), DType::F32).unwrap();
            let y = t.quantize(v, Quantization { scale, zero }).unwrap();
            t.output(y);
            let mut session = cpu::session(t).unwrap();
            session.write(v, &x.map(|x| x * scale)).unwrap();
            session.run().unwrap();
            assert_eq!(session.read::<u8>(y).unwrap(), want);
        }
    }
}

/// A residual block behind a pooling, f32 beside bytes: ‖difference‖ stays below what rounding to 8 bits explains.
#[test]
fn a_program_is_rewritten() {
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([2, 16, 16, 8]), DType::F32).unwrap();
    let net = t.network("n");
    let layer = |t: &mut Tape, x, name: &str, sizes, residual| conv_relu(t, net, x, name, sizes, 1, residual);
    let stem = layer(&mut t, x, "stem", [32, 8, 3], None);
    let pooled = t.max_pool(stem, 3, 2, 1).unwrap();
    let a = layer(&mut t, pooled, "a", [32, 32, 3], None);
    let b = layer(&mut t, a, "b", [32, 32, 3], Some(pooled));
    let c = layer(&mut t, b, "c", [16, 32, 1], None);
    t.output(c);
    let names = |names: &[&str]| names.iter().map(|n| format!("n.{n}.weight")).collect::<BTreeSet<String>>();
    let found: Vec<String> = layers(&t).into_iter().map(|l| l.name).collect();
    assert_eq!(found, ["n.stem.weight", "n.a.weight", "n.b.weight", "n.c.weight"]);

    let numbers = |name: &str, len: usize| uniform(name, len);
    let run = |tape: Tape| -> (Vec<f64>, usize) {
        let mut session = cpu::session(tape).unwrap();
        session.write(x, &numbers("x", 2 * 16 * 16 * 8)).unwrap();
        let parameters = session.tape().parameters(net).clone();
        let mut bytes = 0;
        for (i, e) in parameters.entries().iter().enumerate() {
            let v = session.tape().param_var(net, i).unwrap();
            let values = numbers(e.name.trim_end_matches("_scale"), e.shape.len());
            match session.tape().info(v).dtype {
                DType::I8 => {
                    bytes += 1;
                    let steps: Vec<i8> = values.iter().map(|v| (127.0 * v).round() as i8).collect();
                    session.write_bytes(v, bytemuck::cast_slice(&steps)).unwrap();
                }
                _ if e.name.ends_with("_scale") => session.write(v, &vec![1f32 / 127.0; e.shape.len()]).unwrap(),
                _ => session.write(v, &values).unwrap(),
            }
        }
        session.run().unwrap();
        (session.read_values(c).unwrap(), bytes)
    };
    let (expected, none) = run(t.clone());
    assert_eq!(none, 0);
    let all = ["stem", "a", "b", "c"];
    for eight in [&all[..], &all[1..], &["b"], &["c", "stem"]] {
        let eight = names(eight);
        // The largest values of each, over what a byte can count.
        let mut observed = t.clone();
        let wanted = values(&t, &eight);
        for v in &wanted {
            observed.output(v.var);
        }
        let mut session = cpu::session(observed).unwrap();
        session.write(x, &numbers("x", 2 * 16 * 16 * 8)).unwrap();
        for (i, e) in t.parameters(net).entries().iter().enumerate() {
            session.write(t.param_var(net, i).unwrap(), &numbers(&e.name, e.shape.len())).unwrap();
        }
        session.run().unwrap();
        let scale = |v: &ckaad::engine::quantized::Value| {
            let most = session.read_values(v.var).unwrap().into_iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            (v.name.clone(), (most / if v.zero == 0 { 255.0 } else { 127.0 }) as f32)
        };
        let scheme = Scheme { layers: eight.clone(), scales: wanted.iter().map(scale).collect() };
        let (found, bytes) = run(rewrite(&t, &scheme).unwrap());
        assert_eq!(bytes, eight.len());
        let e = crate::common::relative_error(&found, &expected);
        // Rounding takes 1/sqrt(12) of a step: 0.4 % of the size of numbers whose largest is four times as large as bytes, 0.4 % of uniform
        // weights, 0.6 % a layer of both. Four layers would make 2.4 % if their errors all added up.
        assert!(e > 0.0 && e < 0.02, "{eight:?}: {e:.1e}");
    }

    // Pictures become bytes once; the pooling's result, which is also a residual, stays in them.
    let scales = values(&t, &names(&all)).into_iter().map(|v| (v.name, 0.1)).collect();
    let whole = rewrite(&t, &Scheme { layers: names(&all), scales }).unwrap();
    let ops: Vec<&str> = whole.records().iter().map(|r| r.op.name()).collect();
    assert_eq!(ops, ["quantize", "conv2d_int8", "max_pool", "conv2d_int8", "conv2d_int8", "conv2d_int8"]);
    // What does not fit is named.
    let scheme = Scheme { layers: names(&["a"]), ..Scheme::default() };
    let told = rewrite(&t, &scheme).unwrap_err().to_string();
    assert!(told.contains("no scale of n.stem.conv2d"), "{told}");
    let scheme = Scheme { layers: names(&["nowhere"]), ..Scheme::default() };
    let told = rewrite(&t, &scheme).unwrap_err().to_string();
    assert!(told.contains("n.nowhere.weight"), "{told}");
}

/// A first layer that keeps its digits takes pixels as they come: beside the same of normalised pixels in f64.
#[test]
fn the_first_layer_takes_pixels() {
    const SIDE: usize = 32;
    let record = |dtype, width| {
        let mut t = Tape::new(dtype);
        let pixels = t.input(Shape([2, SIDE, width, 3]), DType::U8).unwrap();
        let net = t.network("n");
        let x = t.preprocess(pixels, SIDE, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).unwrap();
        let stem = conv_relu(&mut t, net, x, "stem", [32, 3, 7], 2, None);
        let y = conv_relu(&mut t, net, stem, "a", [32, 32, 3], 1, None);
        t.output(stem);
        t.output(y);
        (t, pixels, net, stem)
    };
    let eight = BTreeSet::from(["n.a.weight".to_string()]);
    let rewritten = |width| {
        let (t, pixels, net, stem) = record(DType::F32, width);
        let scales = values(&t, &eight).into_iter().map(|v| (v.name, 0.1)).collect();
        (rewrite(&t, &Scheme { layers: eight.clone(), scales }).unwrap(), pixels, net, stem)
    };
    let names = |t: &Tape| t.records().iter().map(|r| r.op.name()).collect::<Vec<_>>();
    assert_eq!(names(&rewritten(SIDE).0), ["conv2d_pixels", "quantize", "conv2d_int8"]);
    // Pictures that have to be resized first stay with real numbers.
    assert_eq!(names(&rewritten(SIDE + 2).0), ["preprocess", "conv2d", "quantize", "conv2d_int8"]);

    let x: Vec<u8> = uniform("x", 2 * SIDE * SIDE * 3).iter().map(|v| (v * 128.0 + 128.0) as u8).collect();
    let numbers = |name: &str, len| uniform(name, len);
    let run = |(t, pixels, net, stem): (Tape, Var, NetId, Var)| -> Vec<f64> {
        let mut session = cpu::session(t).unwrap();
        session.write(pixels, &x).unwrap();
        let tape = session.tape().clone();
        let of_pixels = tape.records().iter().find_map(|r| match &r.op {
            Op::Conv2dPixels(op) => Some((op.clone(), r.inputs.clone())),
            _ => None,
        });
        for (i, e) in tape.parameters(net).entries().iter().enumerate() {
            let v = tape.param_var(net, i).unwrap();
            if tape.info(v).dtype == tape.dtype() {
                session.write_param(net, i, &numbers(&e.name, e.shape.len())).unwrap();
            }
        }
        if let Some((op, inputs)) = of_pixels {
            let whole = op.whole(&numbers("stem.weight", 32 * 7 * 7 * 3), &numbers("stem.bias", 32)).unwrap();
            session.write(inputs[1], &whole.weights).unwrap();
            session.write(inputs[2], &whole.scale).unwrap();
            session.write(inputs[3], &whole.bias).unwrap();
        }
        session.run().unwrap();
        session.read_values(stem).unwrap()
    };
    let (found, expected) = (run(rewritten(SIDE)), run(record(DType::F64, SIDE)));
    let inside = |i: usize| [i / 32 % 16, i / 512 % 16].iter().all(|o| (2..=14).contains(o));
    let part = |of: &[f64], wanted: bool| -> Vec<f64> {
        of.iter().enumerate().filter(|(i, _)| inside(*i) == wanted).map(|(_, v)| *v).collect()
    };
    // Rounding takes 1/sqrt(12) of a step of a 32767th from weights that are 1/sqrt(3) of the largest: 1.5e-5.
    let e = crate::common::relative_error(&part(&found, true), &part(&expected, true));
    assert!(e > 0.0 && e < 3e-5, "{e:.1e}");
    // Up to half a step of a pixel, 0.9 % of a standard deviation, wherever a window's taps are in the padding.
    let e = crate::common::relative_error(&part(&found, false), &part(&expected, false));
    assert!(e < 5e-3, "{e:.1e}");
}
