//! Kernels of bytes beside the CPU's, which `tests/engine/int8.rs` holds against sums in 64 bits: the same bytes, and where results are
//! real the same bits, by whatever scales.

use crate::common::{conv_relu, driver, uniform};
use crate::session_by;
use ckaad::engine::device::cuda::CudaSession;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::ops::Activation;
use ckaad::engine::ops::conv2d::{Conv2d, Options};
use ckaad::engine::ops::conv2d_int8::Quantized;
use ckaad::engine::ops::conv2d_pixels::Conv2dPixels;
use ckaad::engine::params::Init;
use ckaad::engine::quantized::{Scheme, layers, rewrite, values};
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::tiling::{Choice, Variant};
use ckaad::engine::toolkit::cuda::{Choices, Number};
use ckaad::engine::toolkit::{Quantization, Stored};

/// The bytes of an output.
fn run(session: &mut dyn Session, inputs: &[(Var, Vec<u8>)], y: Var) -> Vec<u8> {
    for (v, bytes) in inputs {
        session.write_bytes(*v, bytes).unwrap();
    }
    session.run().unwrap();
    let info = session.tape().info(y);
    let mut bytes = vec![0; info.shape.len() * info.dtype.size()];
    session.read_bytes(y, &mut bytes).unwrap();
    bytes
}

fn any_bytes(name: &str, n: usize) -> Vec<u8> {
    uniform(name, n).into_iter().map(|u| ((u + 1.0) * 128.0) as u8).collect()
}

/// A convolution with all that is fused, or a transposed one.
fn scene(x: [usize; 4], [k, r, s]: [usize; 3], stride: usize, of: Option<[usize; 2]>, zero: u8, y: Stored) {
    let mut t = Tape::new(DType::F32);
    let mut inputs = Vec::new();
    let mut input = |t: &mut Tape, name: &str, shape: Shape, dtype| {
        let v = t.input(shape, dtype).unwrap();
        let real = || uniform(name, shape.len()).into_iter().map(|u| 0.37 * (u + 0.2));
        let bytes = match dtype {
            DType::F32 => real().flat_map(f32::to_le_bytes).collect(),
            _ => any_bytes(name, shape.len()),
        };
        inputs.push((v, bytes));
        v
    };
    let q = Quantized {
        x: Quantization { scale: 0.00123, zero },
        residual: Stored::Bytes(Quantization { scale: 0.031, zero: 128 }),
        y,
    };
    let out = if let Some([h, w]) = of {
        let sizes = Conv2d::new(Shape([x[0], h, w, k]), Shape([x[3], r, s, k]), [stride; 2], [r / 3, s / 3]).unwrap();
        let v = input(&mut t, "x", Shape(x), DType::U8);
        let w = input(&mut t, "w", sizes.weights(), DType::I8);
        let scale = input(&mut t, "scale", Shape::vector(k), DType::F32);
        t.conv_transpose2d_int8(v, w, scale, q, sizes).unwrap()
    } else {
        let (weights, pad) = (Shape([k, r, s, x[3]]), r / 2);
        let sizes = Conv2d::new(Shape(x), weights, [stride; 2], [pad; 2]).unwrap();
        let v = input(&mut t, "x", Shape(x), DType::U8);
        let w = input(&mut t, "w", weights, DType::I8);
        let scale = input(&mut t, "scale", Shape::vector(k), DType::F32);
        let bias = Some(input(&mut t, "bias", Shape::vector(k), DType::F32));
        let residual = Some(input(&mut t, "residual", sizes.output(), DType::U8));
        let o = Options { bias, residual, act: Activation::LeakyRelu(0.1), ..Options::square(stride, pad) };
        t.conv2d_int8(v, w, scale, q, o).unwrap()
    };
    t.output(out);
    let expected = run(&mut *cpu::session(t.clone()).unwrap(), &inputs, out);
    assert!(expected.iter().any(|b| *b != expected[0]));
    for variant in Variant::ALL {
        let choices = Choices::Forced(Choice { variant, splits: 1 });
        let found = run(&mut session_by(choices, t.clone(), Number::Int8).unwrap(), &inputs, out);
        assert!(found == expected, "{x:?} by {r}x{s}, {variant:?}, zero {zero}, {y:?}");
    }
}

#[test]
fn convolutions_are_the_same_to_the_last_bit() {
    for zero in [0, 128] {
        for y in [Stored::Real, Stored::Bytes(Quantization { scale: 0.0417, zero: 128 - zero })] {
            scene([2, 9, 11, 32], [48, 3, 3], 1, None, zero, y);
            scene([1, 10, 7, 7], [5, 3, 3], 2, None, zero, y);
            scene([1, 2, 2, 272], [72, 1, 1], 1, None, zero, y);
            scene([1, 5, 6, 64], [32, 2, 2], 2, Some([10, 12]), zero, y);
            scene([2, 5, 3, 10], [7, 3, 3], 2, Some([10, 5]), zero, y);
        }
    }
}

/// All that 16 bits hold as weights; the ends of their range and of the pixels'.
#[test]
fn convolutions_of_pixels_are_the_same_to_the_last_bit() {
    for (picture, [k, r, s], stride, pad) in
        [([2, 30, 26, 3], [64, 7, 7], 2, 3), ([1, 17, 19, 3], [37, 5, 3], 1, 2), ([1, 40, 8, 3], [3, 3, 9], 3, 4)]
    {
        for extreme in [false, true] {
            for y in [Stored::Real, Stored::Bytes(Quantization { scale: 0.0417, zero: 128 })] {
                let (weights, channels) = (Shape([k, r, s, 3]), Shape::vector(k));
                let sizes = Conv2d::new(Shape(picture), weights, [stride, 2], [pad; 2]).unwrap();
                let mut t = Tape::new(DType::F32);
                let x = t.input(Shape(picture), DType::U8).unwrap();
                let w = t.input(weights, DType::I16).unwrap();
                let [scale, bias] = [(); 2].map(|()| t.input(channels, DType::F32).unwrap());
                let (mean, act) = ([0.485, 0.456, 0.406], Activation::LeakyRelu(0.1));
                let op = Conv2dPixels { sizes, mean, std: [1.0; 3], act, y };
                let y = t.conv2d_pixels(op, [x, w, scale, bias]).unwrap();
                t.output(y);
                let real = |name, of: f32| -> Vec<u8> {
                    uniform(name, k).into_iter().flat_map(|u| (of * u).to_le_bytes()).collect()
                };
                let (mut pixels, mut filters) =
                    (any_bytes("x", Shape(picture).len()), any_bytes("w", 2 * weights.len()));
                if extreme {
                    pixels.fill(255);
                    filters = i16::MIN.to_le_bytes().repeat(weights.len());
                }
                let inputs = [(x, pixels), (w, filters), (scale, real("scale", 1e-6)), (bias, real("bias", 2.0))];
                let expected = run(&mut *cpu::session(t.clone()).unwrap(), &inputs, y);
                let found = run(&mut CudaSession::new(t, driver(), Number::Int8).unwrap(), &inputs, y);
                assert!(found == expected && expected.iter().any(|b| *b != expected[0]), "{picture:?}, {extreme}");
            }
        }
    }
}

/// The largest products there are, all of one sign: as 64 bits have their sum.
#[test]
fn sums_are_exact() {
    let (c, k) = (2048, 40);
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([1, 3, 1, c]), DType::U8).unwrap();
    let w = t.input(Shape([k, 1, 1, c]), DType::I8).unwrap();
    let scale = t.input(Shape::vector(k), DType::F32).unwrap();
    for (zero, byte) in [(0u8, 255u8), (128, 0)] {
        let mut t = t.clone();
        // Such a power of two that nothing is rounded before the sum is.
        let of_x = Quantization { scale: 0.5, zero };
        let q = Quantized { x: of_x, residual: Stored::Real, y: Stored::Real };
        let y = t.conv2d_int8(x, w, scale, q, Options::square(1, 0)).unwrap();
        t.output(y);
        let mut session = CudaSession::new(t, driver(), Number::Int8).unwrap();
        let ones = vec![1f32; k].iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = run(&mut session, &[(x, vec![byte; 3 * c]), (w, vec![-128i8 as u8; k * c]), (scale, ones)], y);
        let sum = c as i64 * (i64::from(byte) - i64::from(zero)) * -128;
        let expected = (sum as f64 / 2.0) as f32;
        let found: &[f32] = bytemuck::cast_slice(&found);
        assert!(found.iter().all(|f| *f == expected), "{found:?}, expected {expected}");
    }
}

/// Halves, what no byte holds, NaN.
#[test]
fn rounding_is_the_same() {
    let ends = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, f32::MIN_POSITIVE / 2.0];
    let steps = (-1300..1300).map(|i| 0.1 * i as f32 / 4.0);
    let x: Vec<u8> = ends.into_iter().chain(steps).flat_map(f32::to_le_bytes).collect();
    for (scale, zero) in [(0.1, 0), (0.1, 128), (0.25, 128), (0.0371, 0), (3e-39, 128)] {
        let mut t = Tape::new(DType::F32);
        let v = t.input(Shape::vector(x.len() / 4), DType::F32).unwrap();
        let y = t.quantize(v, Quantization { scale, zero }).unwrap();
        t.output(y);
        let inputs = [(v, x.clone())];
        let expected = run(&mut *cpu::session(t.clone()).unwrap(), &inputs, y);
        let found = run(&mut CudaSession::new(t, driver(), Number::Int8).unwrap(), &inputs, y);
        assert!(found == expected, "{scale}, {zero}");
    }
}

/// A rewritten program: rounding, a pooling, a residual block, a transposed convolution, all in bytes.
#[test]
fn programs_are_the_same_to_the_last_bit() {
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([2, 16, 16, 8]), DType::F32).unwrap();
    let net = t.network("n");
    let layer = |t: &mut Tape, x, name: &str, sizes, residual| conv_relu(t, net, x, name, sizes, 1, residual);
    let stem = layer(&mut t, x, "stem", [32, 8, 3], None);
    let pooled = t.max_pool(stem, 3, 2, 1).unwrap();
    let a = layer(&mut t, pooled, "a", [32, 32, 3], None);
    let b = layer(&mut t, a, "b", [32, 32, 3], Some(pooled));
    let up = t.param(net, "up.weight", &[32, 16, 2, 2], Init::Zeros).unwrap();
    t.set_label("n.up");
    let y = t.conv_transpose2d(b, up, [2; 2], [0; 2], [0; 2]).unwrap();
    t.output(y);
    let names: Vec<String> = layers(&t).into_iter().map(|l| l.name).collect();
    assert_eq!(names.len(), 4);
    let names = names.into_iter().collect();
    let scales = values(&t, &names).into_iter().map(|v| (v.name, 0.021)).collect();
    let program = rewrite(&t, &Scheme { layers: names, scales }).unwrap();

    let mut inputs = vec![(x, uniform("x", t.shape(x).len()).into_iter().flat_map(f32::to_le_bytes).collect())];
    for (i, e) in program.parameters(net).entries().iter().enumerate() {
        let (v, n) = (program.param_var(net, i).unwrap(), e.shape.len());
        let scale = if e.name.ends_with("_scale") { 1e-3 } else { 0.3 };
        inputs.push(match program.info(v).dtype {
            DType::I8 => (v, any_bytes(&e.name, n)),
            _ => (v, uniform(&e.name, n).into_iter().flat_map(|u| (scale * (u + 1.5)).to_le_bytes()).collect()),
        });
    }
    let expected = run(&mut *cpu::session(program.clone()).unwrap(), &inputs, y);
    let found = run(&mut CudaSession::new(program, driver(), Number::Int8).unwrap(), &inputs, y);
    let real: &[f32] = bytemuck::cast_slice(&expected);
    assert!(real.iter().all(|v| v.is_finite()) && real.iter().any(|v| *v != real[0]));
    assert!(found == expected);
}
