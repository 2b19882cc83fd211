//! Pixels to network input: u8 RGB, already resized, to `(v / 255 - mean) / std`.

pub mod cases;

use super::{Args, Operation, no_gradient};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Record, Tape, Var};
use crate::engine::tensor::DType;
use rayon::prelude::*;

/// Per-channel mean and standard deviation, in units of 1 = white.
#[derive(Clone, Debug)]
pub struct Normalize {
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

impl Tape {
    /// Normalises a (n, h, w, 3) picture of bytes.
    pub fn normalize(&mut self, pixels: Var, mean: [f64; 3], std: [f64; 3]) -> Result<Var> {
        let info = self.info(pixels).clone();
        if info.dtype != DType::U8 || info.shape.c() != 3 {
            let what = format!("expected u8 pixels with 3 channels, found {} {}", info.dtype, info.shape);
            return Err(self.shape_error(Normalize::NAME, what));
        }
        self.record1(Normalize { mean, std }, vec![pixels], info.shape)
    }
}

impl Operation for Normalize {
    const NAME: &'static str = "normalize";

    fn gradient(&self, _: &mut Tape, _: &Record, _: &[Option<Var>], _: &[bool]) -> Result<Vec<Option<Var>>> {
        no_gradient(Self::NAME)
    }

    /// The input holds bytes; it comes as a slice of `T` whose memory the bytes fill from its start.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let x: &[u8] = &bytemuck::cast_slice(x)[..y.len()];
        // One entry per channel and byte value, computed in f64 as numpy does.
        let table: [[T; 256]; 3] =
            std::array::from_fn(|c| std::array::from_fn(|v| T::of((v as f64 / 255.0 - self.mean[c]) / self.std[c])));
        let line = 3 * 4096;
        y.par_chunks_mut(line).zip(x.par_chunks(line)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(3).zip(x.chunks_exact(3)) {
                for c in 0..3 {
                    y[c] = table[c][x[c] as usize];
                }
            }
        });
    }
}
