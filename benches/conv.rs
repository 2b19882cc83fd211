//! Speed of the CPU convolution kernels on the shapes of the networks: `cargo bench --bench conv [-- FILTER]`.
//! GFLOP/s count the multiplications and additions of the definition; the fastest of several repetitions.

use ckaad::engine::ops::Activation;
use ckaad::engine::ops::conv2d::Conv2d;
use ckaad::engine::ops::conv2d::cpu::{self, Epilogue, Weights};
use std::time::Instant;

/// name, input height = width, input channels, output channels, kernel, stride, padding
const SHAPES: &[(&str, u32, u32, u32, u32, u32, u32)] = &[
    ("stem 7x7/2", 256, 3, 64, 7, 2, 3),
    ("layer1 3x3", 64, 64, 64, 3, 1, 1),
    ("layer2 3x3/2", 64, 64, 128, 3, 2, 1),
    ("layer2 1x1/2", 64, 64, 128, 1, 2, 0),
    ("layer2 3x3", 32, 128, 128, 3, 1, 1),
    ("layer3 3x3/2", 32, 128, 256, 3, 2, 1),
    ("layer3 3x3", 16, 256, 256, 3, 1, 1),
    ("ae fuse 3x3", 8, 512, 512, 3, 1, 1),
    ("ae wide 3x3", 8, 3072, 512, 3, 1, 1),
    ("ae up 2x2/2", 16, 256, 512, 2, 2, 0),
    ("ae up 2x2/2", 32, 128, 256, 2, 2, 0),
    ("wide 1x1", 64, 256, 128, 1, 1, 0),
    ("wide 1x1", 32, 512, 256, 1, 1, 0),
    ("wide 1x1", 16, 512, 1024, 1, 1, 0),
    ("wide 1x1", 8, 1024, 2048, 1, 1, 0),
    ("wide 3x3", 16, 512, 512, 3, 1, 1),
];

fn best_seconds(mut f: impl FnMut()) -> f64 {
    f();
    let begin = Instant::now();
    let (mut best, mut count) = (f64::MAX, 0);
    while count < 3 || (begin.elapsed().as_secs_f64() < 0.25 && count < 50) {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
        count += 1;
    }
    best
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let threads = rayon::current_num_threads();
    println!("{threads} threads; GFLOP/s (ms)");
    println!(
        "{:<14}{:>5}{:>6}{:>6}{:>4}  {:>16}{:>16}{:>16}{:>16}{:>16}",
        "shape", "hw", "c", "k", "n", "fwd packed", "fwd", "dx packed", "dx", "dw"
    );
    for &(name, hw, c, k, kernel, stride, pad) in SHAPES {
        for n in [1, 8, 16] {
            let o = (hw + 2 * pad - kernel) / stride + 1;
            let p = Conv2d {
                n,
                h: hw,
                w: hw,
                c,
                k,
                r: kernel,
                s: kernel,
                stride_h: stride,
                stride_w: stride,
                pad_h: pad,
                pad_w: pad,
                oh: o,
                ow: o,
            };
            let label = format!("{name:<14}{hw:>5}{c:>6}{k:>6}{n:>4}");
            if !filter.iter().all(|f| label.contains(f.as_str())) {
                continue;
            }
            let flops = 2.0 * (n * o * o) as f64 * (k * c * kernel * kernel) as f64;
            let fill = |len: usize| (0..len).map(|i| (i * 7 % 13) as f32 * 0.1 - 0.6).collect::<Vec<f32>>();
            let x = fill((n * hw * hw * c) as usize);
            let w = fill((k * kernel * kernel * c) as usize);
            let dy = fill((n * o * o * k) as usize);
            let bias = fill(k as usize);
            let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
            let scratch = cpu::forward_scratch::<f32>(&p, threads)
                .max(cpu::bwd_input_scratch::<f32>(&p, threads))
                .max(cpu::bwd_weight_scratch::<f32>(&p, threads));
            let mut scratch = vec![0.0; scratch];
            let mut packed = vec![0.0; cpu::packed_len::<f32>(&p)];
            cpu::pack(&p, &w, &mut packed);
            let mut packed_dx = vec![0.0; cpu::bwd_input_packed_len::<f32>(&p)];
            cpu::pack_bwd_input(&p, &w, &mut packed_dx);
            let e = Epilogue { bias: Some(&bias), residual: None, act: Activation::Relu };
            print!("{label}  ");
            let show = |seconds: f64| print!("{:>8.0} {:>7.3}", flops / seconds / 1e9, seconds * 1e3);
            show(best_seconds(|| cpu::forward(&p, &x, Weights::Packed(&packed), e, &mut y, &mut scratch)));
            show(best_seconds(|| cpu::forward(&p, &x, Weights::Krsc(&w), e, &mut y, &mut scratch)));
            show(best_seconds(|| cpu::bwd_input(&p, &dy, Weights::Packed(&packed_dx), None, &mut dx, &mut scratch)));
            show(best_seconds(|| cpu::bwd_input(&p, &dy, Weights::Krsc(&w), None, &mut dx, &mut scratch)));
            show(best_seconds(|| cpu::bwd_weight(&p, &x, &dy, &mut dw, &mut scratch)));
            println!();
        }
    }
}
