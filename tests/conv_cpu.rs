//! The CPU convolution kernels against seven plain loops in `f64`.
//!
//! Error is |got - want| / |want| over the whole tensor (Euclidean norms). Tolerances: `f32` direct 1e-5 (rounding 6e-8
//! times the square root of at most some ten thousand terms leaves two orders), Winograd 2e-5, `f64` 1e-13.

use ckaad::engine::ops::Activation;
use ckaad::engine::ops::conv2d::Conv2d;
use ckaad::engine::ops::conv2d::cpu::{self, Filters};
use ckaad::engine::real::Real;
use ckaad::engine::tensor::Shape;
use ckaad::engine::toolkit::cpu::microkernel::Finish;

struct Case {
    name: &'static str,
    n: usize,
    hw: (usize, usize),
    ck: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    pad: (usize, usize),
}

macro_rules! case {
    ($name:literal $n:literal x $hw:tt $ck:tt k $kernel:tt s $stride:tt p $pad:tt) => {
        Case { name: $name, n: $n, hw: $hw, ck: $ck, kernel: $kernel, stride: $stride, pad: $pad }
    };
}

const CASES: &[Case] = &[
    case!("stem" 1 x (23, 21) (3, 64) k (7, 7) s (2, 2) p (3, 3)),
    case!("layer1" 1 x (16, 16) (64, 64) k (3, 3) s (1, 1) p (1, 1)),
    case!("layer2 down" 3 x (16, 12) (32, 64) k (3, 3) s (2, 2) p (1, 1)),
    case!("shortcut" 3 x (8, 8) (64, 96) k (1, 1) s (2, 2) p (0, 0)),
    case!("layer3" 1 x (8, 8) (128, 128) k (3, 3) s (1, 1) p (1, 1)),
    case!("deep" 3 x (4, 4) (300, 70) k (3, 3) s (1, 1) p (1, 1)),
    case!("bottleneck" 3 x (9, 7) (256, 65) k (1, 1) s (1, 1) p (0, 0)),
    case!("up" 1 x (16, 16) (48, 64) k (2, 2) s (2, 2) p (0, 0)),
    case!("up, odd" 3 x (6, 10) (5, 17) k (2, 2) s (2, 2) p (0, 0)),
    case!("up, with a rest" 1 x (7, 9) (13, 3) k (2, 2) s (2, 2) p (0, 0)),
    case!("winograd, one image" 1 x (16, 20) (32, 96) k (3, 3) s (1, 1) p (1, 1)),
    case!("winograd, cut tiles" 3 x (13, 18) (64, 32) k (3, 3) s (1, 1) p (1, 1)),
    case!("winograd, uneven padding" 3 x (15, 14) (32, 32) k (3, 3) s (1, 1) p (0, 2)),
    case!("winograd, wide padding" 1 x (15, 18) (32, 64) k (3, 3) s (1, 1) p (3, 3)),
    case!("winograd, deep" 1 x (16, 16) (320, 32) k (3, 3) s (1, 1) p (1, 1)),
    case!("winograd, many tiles" 3 x (44, 40) (32, 32) k (3, 3) s (1, 1) p (1, 1)),
    case!("one of everything" 1 x (1, 1) (1, 1) k (1, 1) s (1, 1) p (0, 0)),
    case!("one pixel" 3 x (1, 1) (13, 5) k (3, 3) s (1, 1) p (1, 1)),
    case!("one output channel" 3 x (5, 6) (17, 1) k (1, 1) s (1, 1) p (0, 0)),
    case!("one input channel" 1 x (13, 17) (1, 3) k (3, 3) s (1, 1) p (1, 1)),
    case!("odd sizes" 3 x (13, 5) (17, 33) k (3, 3) s (1, 1) p (1, 1)),
    case!("no padding" 1 x (11, 13) (7, 31) k (3, 3) s (1, 1) p (0, 0)),
    case!("wide padding" 1 x (5, 6) (6, 8) k (3, 3) s (1, 1) p (2, 2)),
    case!("pad above kernel" 1 x (4, 3) (3, 5) k (2, 2) s (1, 1) p (3, 3)),
    case!("pad above kernel, strided" 3 x (3, 3) (5, 4) k (1, 1) s (2, 2) p (2, 3)),
    case!("uneven kernel" 3 x (7, 8) (5, 13) k (3, 2) s (1, 1) p (1, 0)),
    case!("uneven stride" 1 x (17, 13) (3, 17) k (3, 3) s (3, 1) p (1, 1)),
    case!("uneven everything" 3 x (13, 17) (5, 3) k (2, 7) s (1, 3) p (0, 3)),
    case!("stride above kernel" 1 x (10, 11) (4, 6) k (2, 1) s (3, 3) p (1, 0)),
    case!("kernel as large as the image" 3 x (7, 7) (3, 5) k (7, 7) s (1, 1) p (0, 0)),
];

impl Case {
    fn sizes(&self) -> Conv2d {
        let out = |x: usize, k: usize, s: usize, p: usize| ((x + 2 * p - k) / s + 1) as u32;
        Conv2d {
            n: self.n as u32,
            h: self.hw.0 as u32,
            w: self.hw.1 as u32,
            c: self.ck.0 as u32,
            k: self.ck.1 as u32,
            r: self.kernel.0 as u32,
            s: self.kernel.1 as u32,
            stride_h: self.stride.0 as u32,
            stride_w: self.stride.1 as u32,
            pad_h: self.pad.0 as u32,
            pad_w: self.pad.1 as u32,
            oh: out(self.hw.0, self.kernel.0, self.stride.0, self.pad.0),
            ow: out(self.hw.1, self.kernel.1, self.stride.1, self.pad.1),
        }
    }
}

fn values<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::of(((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) as f32 as f64)
        })
        .collect()
}

/// Visits every (x index, w index, y index) that multiply and add up in the convolution.
fn each_product(p: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let [n, h, w, c, k, r, s] = [p.n, p.h, p.w, p.c, p.k, p.r, p.s].map(|v| v as usize);
    let [sh, sw, ph, pw, oh, ow] = [p.stride_h, p.stride_w, p.pad_h, p.pad_w, p.oh, p.ow].map(|v| v as usize);
    for image in 0..n {
        for i in 0..oh {
            for j in 0..ow {
                for u in 0..r {
                    for v in 0..s {
                        let (y, x) = ((i * sh + u).wrapping_sub(ph), (j * sw + v).wrapping_sub(pw));
                        if y >= h || x >= w {
                            continue;
                        }
                        for o in 0..k {
                            for ch in 0..c {
                                visit(
                                    ((image * h + y) * w + x) * c + ch,
                                    ((o * r + u) * s + v) * c + ch,
                                    ((image * oh + i) * ow + j) * k + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn error<T: Real>(got: &[T], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let (mut above, mut below) = (0.0, 0.0);
    for (g, w) in got.iter().zip(want) {
        above += (g.f64() - w).powi(2);
        below += w * w;
    }
    if above == 0.0 { 0.0 } else { (above / below).sqrt() }
}

fn with_threads(threads: usize, f: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Runs `call(out, scratch)` twice on poisoned memory; both results must be the same bits and close to `want`.
fn check<T: Real>(what: &str, scratch: usize, want: &[f64], tolerance: f64, call: impl Fn(&mut [T], &mut [T])) {
    let nan = T::of(f64::NAN);
    let run = || {
        let (mut out, mut scratch) = (vec![nan; want.len()], vec![nan; scratch]);
        call(&mut out, &mut scratch);
        out
    };
    let (first, second) = (run(), run());
    assert!(bytemuck::cast_slice::<T, u8>(&first) == bytemuck::cast_slice::<T, u8>(&second), "{what}: two runs differ");
    let e = error(&first, want);
    assert!(e <= tolerance, "{what}: relative error {e:.2e} above {tolerance:.0e}");
}

fn check_case<T: Real>(case: &Case, threads: usize, tolerance: f64) {
    let p = &case.sizes();
    let (xl, wl, yl) =
        ((p.n * p.h * p.w * p.c) as usize, (p.k * p.r * p.s * p.c) as usize, (p.n * p.oh * p.ow * p.k) as usize);
    let x = values::<T>(xl, 1);
    let w = values::<T>(wl, 2);
    let dy = values::<T>(yl, 3);
    let bias = values::<T>(p.k as usize, 4);
    let res_y = values::<T>(yl, 5);
    let res_x = values::<T>(xl, 6);
    let (mut y0, mut dx0, mut dw0) = (vec![0.0; yl], vec![0.0; xl], vec![0.0; wl]);
    each_product(p, |xi, wi, yi| {
        y0[yi] += x[xi].f64() * w[wi].f64();
        dx0[xi] += dy[yi].f64() * w[wi].f64();
        dw0[wi] += dy[yi].f64() * x[xi].f64();
    });
    let name = |what: &str| format!("{}, {threads} threads, {what}", case.name);

    let mut packed = vec![T::of(f64::NAN); cpu::packed_len::<T>(p, false)];
    cpu::pack(p, false, &w, &mut packed);
    let scratch = cpu::forward_scratch::<T>(p, false, threads);
    for (weights, form) in [(Filters::Krsc(&w[..]), "plain"), (Filters::Packed(&packed), "packed")] {
        for act in [Activation::None, Activation::Relu, Activation::LeakyRelu(0.2)] {
            for (b, r) in [(false, false), (true, false), (false, true), (true, true)] {
                let want: Vec<f64> = (0..yl)
                    .map(|i| {
                        let v = y0[i]
                            + if b { bias[i % p.k as usize].f64() } else { 0.0 }
                            + if r { res_y[i].f64() } else { 0.0 };
                        match act {
                            Activation::None => v,
                            Activation::Relu => v.max(0.0),
                            Activation::LeakyRelu(s) => {
                                if v < 0.0 {
                                    v * s as f64
                                } else {
                                    v
                                }
                            }
                        }
                    })
                    .collect();
                let slope = act.negative_slope().map(|s| T::of(s as f64));
                let e = Finish { bias: b.then_some(&bias[..]), residual: r.then_some(&res_y[..]), slope };
                check(
                    &name(&format!("forward {form} {act:?} bias {b} residual {r}")),
                    scratch,
                    &want,
                    tolerance,
                    |y, s| cpu::forward(p, false, &x, weights, e, y, s),
                );
            }
        }
    }

    let mut packed = vec![T::of(f64::NAN); cpu::bwd_input_packed_len::<T>(p)];
    cpu::pack_bwd_input(p, &w, &mut packed);
    let scratch = cpu::bwd_input_scratch::<T>(p, threads);
    let summed: Vec<f64> = dx0.iter().zip(&res_x).map(|(d, r)| d + r.f64()).collect();
    for (weights, form) in [(Filters::Krsc(&w[..]), "plain"), (Filters::Packed(&packed), "packed")] {
        check(&name(&format!("bwd_input {form}")), scratch, &dx0, tolerance, |dx, s| {
            cpu::bwd_input(p, &dy, weights, None, dx, s)
        });
        check(&name(&format!("bwd_input {form} residual")), scratch, &summed, tolerance, |dx, s| {
            cpu::bwd_input(p, &dy, weights, Some(&res_x), dx, s)
        });
    }

    let scratch = cpu::bwd_weight_scratch::<T>(p, threads);
    check(&name("bwd_weight"), scratch, &dw0, tolerance, |dw, s| cpu::bwd_weight(p, &x, &dy, dw, s));
}

#[test]
fn single_precision_follows_the_definition() {
    for threads in [1, 2, 5] {
        with_threads(threads, || {
            for case in CASES {
                check_case::<f32>(case, threads, if case.name.starts_with("winograd") { 2e-5 } else { 1e-5 });
            }
        });
    }
}

#[test]
fn double_precision_follows_the_definition() {
    for threads in [1, 2] {
        with_threads(threads, || CASES.iter().for_each(|case| check_case::<f64>(case, threads, 1e-13)));
    }
}

#[test]
fn nan_and_infinity_pass_through() {
    with_threads(2, || {
        let p = &CASES[1].sizes();
        let (c, k) = (p.c as usize, p.k as usize);
        let mut x = values::<f32>((p.n * p.h * p.w * p.c) as usize, 1);
        let w = values::<f32>((p.k * p.r * p.s * p.c) as usize, 2);
        let (i, j) = (5, 7);
        x[(i * p.w as usize + j) * c + 3] = f32::NAN;
        let mut y = vec![0.0; (p.n * p.oh * p.ow * p.k) as usize];
        let mut scratch = vec![0.0; cpu::forward_scratch::<f32>(p, false, 2)];
        let relu = Finish { slope: Some(0.0), ..Finish::NONE };
        cpu::forward(p, false, &x, Filters::Krsc(&w), relu, &mut y, &mut scratch);
        for (u, v) in [(0, 0), (1, 1), (2, 2), (0, 2)] {
            let pixel = (i + u - 1) * p.ow as usize + j + v - 1;
            assert!(y[pixel * k..][..k].iter().all(|v| v.is_nan()), "NaN must reach every output that it touches");
        }
        // ReLU(-inf) is 0, as in PyTorch; 0 * -inf would be NaN.
        let residual = vec![f32::NEG_INFINITY; y.len()];
        let e = Finish { residual: Some(&residual), ..relu };
        x.fill(1.0);
        cpu::forward(p, false, &x, Filters::Krsc(&w), e, &mut y, &mut scratch);
        assert!(y.iter().all(|&v| v == 0.0));
    });
}

/// A picture alone and the same picture in a batch where another method would be faster.
#[test]
fn a_steady_convolution_does_not_see_its_batch() {
    for side in [4, 8] {
        let outputs = |n: usize| {
            let p = Conv2d::new(Shape([n, side, side, 64]), Shape([64, 3, 3, 64]), [1, 1], [1, 1]).unwrap();
            let (x, w) = (values::<f32>(16 * side * side * 64, 1), values::<f32>(64 * 9 * 64, 2));
            let mut y = vec![0.0; n * side * side * 64];
            let mut scratch = vec![0.0; cpu::forward_scratch::<f32>(&p, true, 2)];
            let x = &x[..y.len()];
            with_threads(2, || cpu::forward(&p, true, x, Filters::Krsc(&w), Finish::NONE, &mut y, &mut scratch));
            y
        };
        let (one, sixteen) = (outputs(1), outputs(16));
        assert!(one == sixteen[..one.len()], "{side}x{side}");
    }
}
