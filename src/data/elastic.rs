//! Elastic distortion of normal pictures, the stand-in for anomalous ones when a dataset has none: torchvision's
//! `ElasticTransform` with bilinear sampling.
//!
//! Two fields of uniform noise in [-1, 1) are smoothed by a Gaussian and moved by `alpha / 2` pixels: torchvision scales
//! by alpha / size in coordinates that span 2 over the size. A pixel that would come from outside the picture is black.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Distorts `rgb` (`size` x `size` x 3) into `out` (as long). The same `seed` gives the same distortion; mix the epoch,
/// step and picture into it. `alpha` is the strength (torchvision's usual 200), `sigma` the smoothness in pixels (5).
pub fn elastic(rgb: &[u8], size: usize, alpha: f32, sigma: f32, seed: u64, out: &mut [u8]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // 24 random bits in [0, 2^24) to [-1, 1).
    let mut noise =
        || (0..size * size).map(|_| (rng.next_u32() >> 8) as f32 * (2.0 / (1 << 24) as f32) - 1.0).collect();
    let (vertical, horizontal): (Vec<f32>, Vec<f32>) = (noise(), noise());
    distort(rgb, size, alpha, sigma, [&vertical, &horizontal], out);
}

/// [`elastic`] with the noise given: [vertical, horizontal], `size * size` values each.
fn distort(rgb: &[u8], size: usize, alpha: f32, sigma: f32, noise: [&[f32]; 2], out: &mut [u8]) {
    debug_assert!(rgb.len() == size * size * 3 && out.len() == rgb.len());
    let kernel = gaussian(sigma);
    // The widest instructions of this processor, chosen at run time.
    let [dy, dx] = noise.map(|field| pulp::Arch::new().dispatch(|| smooth(field, size, &kernel)));
    let pixels = rgb.as_chunks::<3>().0;
    let last = (size - 1) as f32;
    for (i, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let y = (i / size) as f32 + dy[i] * (alpha / 2.0);
        let x = (i % size) as f32 + dx[i] * (alpha / 2.0);
        if !(0.0..=last).contains(&y) || !(0.0..=last).contains(&x) {
            *out = [0; 3];
            continue;
        }
        let (top, left) = (y as usize, x as usize);
        let (fy, fx) = (y - top as f32, x - left as f32);
        // On the last row or column the fraction is zero, and so is the weight of the repeated pixel.
        let (row, below) = (top * size, (top + 1).min(size - 1) * size);
        let right = (left + 1).min(size - 1);
        let corners = [pixels[row + left], pixels[row + right], pixels[below + left], pixels[below + right]];
        let weights = [(1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx, fy * (1.0 - fx), fy * fx];
        *out =
            std::array::from_fn(|c| corners.iter().zip(weights).map(|(p, w)| f32::from(p[c]) * w).sum::<f32>() as u8);
    }
}

/// A normalised Gaussian of torchvision's length: 8 sigma + 1, made odd.
fn gaussian(sigma: f32) -> Vec<f32> {
    let length = (8.0 * sigma + 1.0) as usize | 1;
    let weight = |i: usize| (-0.5 * ((i as f64 - (length / 2) as f64) / f64::from(sigma)).powi(2)).exp();
    let sum: f64 = (0..length).map(weight).sum();
    (0..length).map(|i| (weight(i) / sum) as f32).collect()
}

/// Convolves `field` (`size` x `size`) with `kernel` along both axes, mirrored at the border without repeating the edge.
#[inline(always)]
fn smooth(field: &[f32], size: usize, kernel: &[f32]) -> Vec<f32> {
    let radius = kernel.len() / 2;
    let period = 2 * (size.max(2) - 1);
    let mirror = |i: usize| {
        let i = (i + period * radius - radius) % period;
        i.min(period - i).min(size - 1)
    };
    let source: Vec<usize> = (0..size + 2 * radius).map(mirror).collect();
    let mut across = vec![0f32; size * size];
    let mut padded = vec![0f32; size + 2 * radius];
    for (row, out) in field.chunks_exact(size).zip(across.chunks_exact_mut(size)) {
        for (p, &x) in padded.iter_mut().zip(&source) {
            *p = row[x];
        }
        for (k, &w) in kernel.iter().enumerate() {
            add_scaled(out, &padded[k..k + size], w);
        }
    }
    let mut both = vec![0f32; size * size];
    for (y, out) in both.chunks_exact_mut(size).enumerate() {
        for (k, &w) in kernel.iter().enumerate() {
            let from = source[y + k] * size;
            add_scaled(out, &across[from..from + size], w);
        }
    }
    both
}

#[inline(always)]
fn add_scaled(out: &mut [f32], row: &[f32], weight: f32) {
    for (o, &v) in out.iter_mut().zip(row) {
        *o += v * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The case that the expected pictures below were computed from, in f64 with scipy's `map_coordinates`.
    fn case(size: usize) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
        let mut state = 99u32;
        let mut next = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            state >> 24
        };
        let rgb = (0..size * size * 3).map(|_| next() as u8).collect();
        let mut noise = || (0..size * size).map(|_| next() as f32 / 128.0 - 1.0).collect();
        (rgb, noise(), noise())
    }

    fn compare(size: usize, alpha: f32, sigma: f32, expected: &[u8]) {
        let (rgb, dy, dx) = case(size);
        let mut out = vec![0; rgb.len()];
        distort(&rgb, size, alpha, sigma, [&dy, &dx], &mut out);
        assert_eq!(out.len(), expected.len());
        // f32 against f64 before the cut to whole numbers: one apart, and rarely.
        let apart: Vec<_> = out.iter().zip(expected).filter(|(a, b)| a != b).collect();
        assert!(apart.iter().all(|(a, b)| a.abs_diff(**b) == 1) && apart.len() * 50 <= expected.len(), "{apart:?}");
    }

    #[test]
    fn equals_scipy() {
        compare(12, 20.0, 1.5, &EXPECTED_12);
        // The kernel's 20 pixels either side reach beyond the mirrored picture and back.
        compare(8, 200.0, 5.0, &EXPECTED_8);
    }

    #[test]
    fn seeds_decide() {
        let (rgb, ..) = case(12);
        let run = |seed| {
            let mut out = vec![0; rgb.len()];
            elastic(&rgb, 12, 200.0, 5.0, seed, &mut out);
            out
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let mut one = [0; 3];
        elastic(&[1, 2, 3], 1, 0.0, 5.0, 7, &mut one);
        assert_eq!(one, [1, 2, 3]);
    }

    #[rustfmt::skip]
    const EXPECTED_12: [u8; 432] = [
        0, 0, 0, 0, 0, 0, 86, 77, 144, 126, 98, 131, 140, 214, 212, 161, 127, 183, 119, 84, 83, 0, 0, 0,
        0, 0, 0, 158, 3, 79, 75, 41, 36, 172, 132, 128, 106, 155, 211, 53, 119, 183, 159, 150, 90, 142, 170, 123,
        99, 143, 218, 105, 80, 132, 83, 49, 52, 125, 58, 62, 133, 70, 65, 101, 73, 53, 144, 114, 157, 152, 128, 185,
        201, 115, 159, 120, 228, 138, 107, 190, 159, 135, 95, 129, 66, 78, 180, 86, 84, 100, 71, 51, 42, 134, 98, 79,
        180, 140, 140, 196, 175, 233, 87, 28, 111, 126, 71, 162, 0, 0, 0, 149, 130, 49, 171, 111, 162, 102, 99, 141,
        62, 98, 165, 92, 112, 139, 78, 54, 62, 145, 111, 120, 195, 174, 231, 105, 13, 129, 106, 164, 154, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 73, 104, 96, 176, 57, 219, 133, 121, 153, 77, 125, 153, 92, 114, 144, 85, 55, 94,
        126, 89, 141, 147, 41, 105, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 178, 182, 126, 69, 181,
        42, 137, 196, 140, 135, 165, 92, 131, 161, 106, 120, 122, 124, 25, 108, 164, 65, 68, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 44, 143, 178, 45, 25, 77, 113, 60, 130, 41, 142, 159, 205, 136, 209, 16, 193, 206,
        98, 164, 108, 104, 81, 58, 0, 0, 0, 0, 0, 0, 0, 0, 0, 107, 114, 137, 97, 115, 135, 138, 159, 148,
        88, 130, 120, 52, 42, 63, 130, 94, 175, 131, 141, 166, 65, 149, 147, 41, 36, 110, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 116, 111, 136, 119, 120, 129, 116, 170, 134, 76, 194, 137, 122, 154, 219, 184, 96, 180, 129, 113, 161,
        223, 70, 112, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 156, 120, 139, 61, 161, 124,
        96, 137, 152, 170, 100, 118, 115, 137, 86, 60, 106, 79, 153, 84, 157, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 165, 66, 114, 81, 149, 129, 119, 107, 71, 122, 134, 71, 73, 111, 74, 142, 138, 192,
        118, 58, 163, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 93, 167, 86, 40, 145, 204,
        107, 47, 174, 127, 25, 149, 88, 61, 83, 218, 77, 169, 144, 116, 122, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    #[rustfmt::skip]
    const EXPECTED_8: [u8; 192] = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
}
