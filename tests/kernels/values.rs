//! Values that the case table cannot hold: NaN and infinities, ties, long training, and pictures where each bit counts.

use crate::common::{relative_error, uniform};
use crate::session;
use ckaad::data::resize::bilinear;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::ops::optimizer::{Adam, LrSchedule};
use ckaad::engine::params::{Init, Values};
use ckaad::engine::tape::{Tape, Whole};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;
use half::bf16;
use std::sync::Arc;

/// One level of one pixel would show: the kernels' weights must be the host's, whose results are Pillow's.
#[test]
fn resize_is_the_hosts_bit_for_bit() {
    let sizes = [
        ((64, 64), 32),
        ((61, 47), 32),
        ((47, 61), 32),
        ((90, 31), 16),
        ((31, 90), 16),
        ((13, 7), 24),
        ((7, 13), 24),
        ((24, 100), 24),
        ((100, 24), 24),
        ((1, 33), 8),
        ((33, 1), 8),
        ((257, 3), 5),
    ];
    for ((width, height), size) in sizes {
        let mut t = Tape::new(DType::F32);
        let pixels = t.input(Shape([1, height, width, 3]), DType::U8).unwrap();
        // Bytes come out as they are.
        let y = t.preprocess(pixels, size, [0.0; 3], [1.0 / 255.0; 3]).unwrap();
        t.output(y);
        let picture: Vec<u8> = uniform(&format!("{width}x{height}"), width * height * 3)
            .into_iter()
            .map(|u| ((u + 1.0) * 128.0) as u8)
            .collect();
        let mut session = session(t, Number::F32).unwrap();
        let session: &mut dyn Session = &mut session;
        session.write(pixels, &picture).unwrap();
        session.run().unwrap();
        let found: Vec<u8> = session.read::<f32>(y).unwrap().into_iter().map(|v| v.round() as u8).collect();
        let expected = bilinear::<3>(&picture, (width, height), (size, size));
        assert!(found == expected, "{width} x {height} to {size}");
    }
}

#[test]
fn the_largest_values_whatever_they_are() {
    let len = 533;
    type Values = fn(usize) -> f32;
    let kinds: [(&str, Values); 6] = [
        ("ties", |i| (i % 7) as f32),
        ("one value", |_| 0.25),
        ("neighbouring values", |i| f32::from_bits(1.0f32.to_bits() + (i * 31 % 101) as u32)),
        ("both signs and zeros", |i| if i % 5 == 0 { -0.0 } else { 10.0 - (i % 21) as f32 }),
        ("infinity", |i| if i == 5 { f32::INFINITY } else { -(i as f32) }),
        ("NaN of both signs", |i| {
            if i == 9 {
                -f32::NAN
            } else if i == 400 {
                f32::NAN
            } else {
                i as f32
            }
        }),
    ];
    for (name, value) in kinds {
        let values: Vec<f32> = (0..len).map(value).collect();
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal)));
        for k in [1, 2, 3, 100, len - 1, len] {
            let mut t = Tape::new(DType::F32);
            let map = t.input(Shape([1, 13, 41, 1]), DType::F32).unwrap();
            let y = t.topk_mean(map, Some(k)).unwrap();
            t.output(y);
            let mut session = session(t, Number::F32).unwrap();
            let session: &mut dyn Session = &mut session;
            session.write(map, &values).unwrap();
            session.run().unwrap();
            let found = session.scalar(y).unwrap();
            let expected = sorted[..k].iter().map(|v| *v as f64).sum::<f64>() / k as f64;
            // The result is rounded to f32 once; the sums of these few hundred values hardly at all.
            let same = found == expected || found.is_nan() && expected.is_nan();
            assert!(same || (found - expected).abs() <= 2e-7 * expected.abs(), "{name}, {k}: {found}, not {expected}");
        }
    }
}

/// Equal rows of a bank: the first counts. A row of the bank itself is at distance 0, however long it is and whatever the product
/// has lost. NaN is at no distance from anything, and argmax finds it.
#[test]
fn neighbours_of_all_kinds() {
    let (c, rows, k) = (36, 150, 3);
    let row = |i: usize| -> Vec<f32> { uniform(&format!("row {}", i % 75), c).iter().map(|u| 100.0 + u).collect() };
    let bank: Vec<f32> = (0..rows).flat_map(row).collect();
    let mut x: Vec<f32> = [row(3), row(140), row(7)].concat();
    x[2 * c + 5] = f32::NAN;
    let mut t = Tape::new(DType::F32);
    let v = t.input(Shape([1, 1, 3, c]), DType::F32).unwrap();
    let b = t.input(Shape([rows, 1, 1, c]), DType::F32).unwrap();
    let (distances, nearest) = t.nearest(v, b, k).unwrap();
    let (one, _) = t.nearest(v, b, 1).unwrap();
    let most = t.argmax(one).unwrap();
    for v in [distances, nearest, most] {
        t.output(v);
    }
    for session in [cpu::session(t.clone()).unwrap(), Box::new(session(t, Number::F32).unwrap())] {
        let mut session = session;
        session.write(v, &x).unwrap();
        session.write(b, &bank).unwrap();
        session.run().unwrap();
        let (d, n) = (session.read::<f32>(distances).unwrap(), session.read::<f32>(nearest).unwrap());
        assert_eq!((&n[..2], &n[3..5]), (&[3.0, 78.0][..], &[65.0, 140.0][..]));
        assert_eq!((&d[..2], &d[3..5]), (&[0.0; 2][..], &[0.0; 2][..]));
        for at in [2, 5] {
            let square = |i: usize| (0..c).map(|j| (x[at / 3 * c + j] as f64 - bank[i * c + j] as f64).powi(2)).sum();
            let exact: f64 = square(n[at] as usize);
            assert!((d[at] as f64 / exact.sqrt() - 1.0).abs() <= 1e-6, "{d:?}");
        }
        assert!(d[6..].iter().all(|d| d.is_nan()), "{d:?}");
        assert_eq!(session.read::<f32>(most).unwrap(), [2.0]);
    }
}

/// Adam's bias correction is what f32 loses first: at the first steps all digits cancel, at late ones nothing is left of it.
#[test]
fn adam_at_any_step() {
    [Number::F32, Number::Bf16].into_iter().for_each(adam);
}

fn adam(kind: Number) {
    let (len, lr, eps) = (37, 1e-3, 1e-8);
    for betas @ (b1, b2) in [(0.5, 0.999), (0.9, 0.999), (0.0, 0.5)] {
        for done in [0u32, 1, 9, 999, 1_000_000] {
            let mut t = Tape::new(kind.storage());
            let net = t.network("net");
            let w = t.param(net, "weight", &[len], Init::Zeros).unwrap();
            t.adam(Adam { net, lr, betas, eps, schedule: LrSchedule::Constant }).unwrap();
            let tape = t.clone();
            let parameters = Arc::new(t.parameters(net).clone());
            let number = |name: &str, scale: f64| -> Vec<f64> {
                uniform(name, len).into_iter().map(|u| (u as f64 * scale) as f32 as f64).collect()
            };
            let [p, g, mut m, mut v] = [("p", 1.0), ("g", 1e-2), ("m", 1e-2), ("v", 1e-4)].map(|(n, s)| number(n, s));
            // In f32 nothing but the update, whose digits a larger value would hide; else what training is about.
            let p = if kind == Number::F32 { vec![0.0; len] } else { p };
            v.iter_mut().for_each(|v| *v = v.abs());
            let mut session = session(t, kind).unwrap();
            let session: &mut dyn Session = &mut session;
            let state = |name: &str| tape.states().iter().find(|s| s.name == name).unwrap().var;
            let rounded = tape.find_whole(net, Whole::Rounded);
            session.write_values(w, &p).unwrap();
            let grads = tape.find_whole(net, Whole::Grads).unwrap();
            for (var, from) in [(grads, &g), (state("moment1"), &m), (state("moment2"), &v)] {
                let mut values = from.clone();
                values.resize(parameters.len(), 0.0);
                session.write_values(var, &values).unwrap();
            }
            session.write(state("steps"), &[done as f32]).unwrap();
            session.run().unwrap();
            let step = f64::from(done + 1);
            let update = |i: usize| {
                m[i] = b1 * m[i] + (1.0 - b1) * g[i];
                v[i] = b2 * v[i] + (1.0 - b2) * g[i] * g[i];
                let (m, v) = (m[i] / (1.0 - b1.powf(step)), v[i] / (1.0 - b2.powf(step)));
                p[i] - lr * m / (v.sqrt() + eps)
            };
            let expected: Vec<f64> = (0..len).map(update).collect();
            let mut found = Values::<f32>::zeros(parameters);
            session.read_params(net, &mut found).unwrap();
            assert_eq!(rounded.is_some(), kind == Number::Bf16);
            if let Some(rounded) = rounded {
                let rounded: Vec<bf16> = session.read(rounded).unwrap();
                let expected = found.data.iter().map(|p| bf16::from_f32(*p));
                assert!(rounded.into_iter().eq(expected), "passes read what is not rounded");
            }
            let found: Vec<f64> = found.data[..len].iter().map(|p| *p as f64).collect();
            // A dozen operations, each rounded to 6e-8.
            let e = relative_error(&found, &expected);
            assert!(e <= 5e-7, "{kind}, {betas:?} after {done} steps: {e:e}");
            assert_eq!(session.read::<f32>(state("steps")).unwrap(), [step as f32]);
        }
    }
}

/// Updates far smaller than a bf16 step of the parameters add up, since it is f32 parameters that they are added to.
#[test]
fn small_updates_are_not_lost() {
    let mut t = Tape::new(DType::Bf16);
    let net = t.network("net");
    let w = t.param(net, "weight", &[3], Init::Ones).unwrap();
    // 1 and the next smaller bf16 are 2^-8 apart; with equal gradients every step is lr.
    t.adam(Adam { net, lr: 1e-4, betas: (0.9, 0.999), eps: 0.0, schedule: LrSchedule::Constant }).unwrap();
    let (len, all) = (t.parameters(net).len(), |what| t.find_whole(net, what).unwrap());
    let (grads, rounded) = (all(Whole::Grads), all(Whole::Rounded));
    let mut session = session(t, Number::Bf16).unwrap();
    let session: &mut dyn Session = &mut session;
    session.write_values(w, &[1.0; 3]).unwrap();
    session.write(grads, &vec![1.0f32; len]).unwrap();
    (0..50).for_each(|_| session.run().unwrap());
    for p in session.read_values(w).unwrap() {
        assert!((p - 0.995).abs() <= 5e-6, "{p}");
    }
    let rounded: Vec<bf16> = session.read(rounded).unwrap();
    assert_eq!(rounded[0], bf16::from_f64(1.0 - 1.0 / 256.0));
}

/// A clip that swallowed a NaN would hide a broken loss.
#[test]
fn nan_gradients_reach_the_parameters() {
    let mut t = Tape::new(DType::F32);
    let net = t.network("net");
    t.param(net, "weight", &[3], Init::Zeros).unwrap();
    let norm = t.clip_grad_norm(net, 1.0).unwrap();
    t.output(norm);
    t.adam(Adam { net, lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, schedule: LrSchedule::Constant }).unwrap();
    let mut values = Values::<f32>::zeros(Arc::new(t.parameters(net).clone()));
    values.data[1] = f32::NAN;
    let mut session = session(t, Number::F32).unwrap();
    let session: &mut dyn Session = &mut session;
    session.write(session.tape().find_whole(net, Whole::Grads).unwrap(), &values.data).unwrap();
    session.run().unwrap();
    assert!(session.scalar(norm).unwrap().is_nan());
    session.read_params(net, &mut values).unwrap();
    assert!(values.data[..3].iter().all(|p| p.is_nan()));
}
