//! Pixels to network input: u8 RGB, resized as Pillow does it, then `(v / 255 - mean) / std`.

pub mod cases;
pub(crate) mod cuda;
pub mod resize;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::onnx::Composer;
use crate::invalid;
use rayon::prelude::*;
use resize::Resize;

/// Input: (n, h, w, 3) of bytes. Output: (n, size, size, 3).
#[derive(Clone, Debug)]
pub struct Preprocess {
    pub n: usize,
    /// (width, height) of the pictures.
    pub from: (usize, usize),
    pub size: usize,
    /// Per-channel mean and standard deviation, in units of 1 = white.
    pub mean: [f64; 3],
    pub std: [f64; 3],
    resize: Resize,
}

impl Tape {
    /// Resizes (n, h, w, 3) pictures of bytes to `size` x `size` and normalises them.
    pub fn preprocess(&mut self, pixels: Var, size: usize, mean: [f64; 3], std: [f64; 3]) -> Result<Var> {
        let info = self.info(pixels).clone();
        let s = info.shape;
        if info.dtype != DType::U8 || s.c() != 3 {
            let what = format!("expected u8 pixels with 3 channels, found {} {s}", info.dtype);
            return Err(self.shape_error(Preprocess::NAME, what));
        }
        let output = Shape([s.n(), size, size, 3]).check()?;
        // The larger of the two pictures that may lie between the axes.
        Shape([s.n(), s.h().max(size), s.w().max(size), 3]).check()?;
        let from = (s.w(), s.h());
        let resize = Resize::new(from, (size, size));
        self.record1(Preprocess { n: s.n(), from, size, mean, std, resize }, vec![pixels], output)
    }
}

impl Preprocess {
    /// Whether pictures have another size than what is made of them.
    pub fn resizes(&self) -> bool {
        self.from != (self.size, self.size)
    }

    /// Bytes per image of the picture between the axes, and of the resized one; 0 for the latter if nothing is resized.
    fn buffers(&self) -> (usize, usize) {
        (3 * self.resize.between(), if self.resizes() { 3 * self.size * self.size } else { 0 })
    }
}

impl Operation for Preprocess {
    const NAME: &'static str = "preprocess";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, _: usize) -> usize {
        let (between, resized) = self.buffers();
        (self.n * (between + resized)).div_ceil(size_of::<T>())
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        if self.resizes() {
            let ((width, height), size) = (self.from, self.size);
            invalid!("resizes from {width} x {height} to {size} x {size} as Pillow does, which ONNX's Resize does not");
        }
        let scale = c.floats(&[1, 3, 1, 1], self.std.map(|std| 1.0 / (255.0 * std)));
        let shift = c.floats(&[1, 3, 1, 1], std::array::from_fn::<f64, 3, _>(|i| -self.mean[i] / self.std[i]));
        let x = c.input(0);
        let x = c.node("Mul", &[&x, &scale], &[]);
        let y = c.node("Add", &[&x, &shift], &[]);
        c.output(0, y);
        Ok(())
    }

    /// The input holds bytes; it comes as a slice of `T` whose memory the bytes fill from its start.
    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let (each, (between, resized)) = (3 * self.from.0 * self.from.1, self.buffers());
        let mut x: &[u8] = &bytemuck::cast_slice(x)[..self.n * each];
        if resized > 0 {
            let (betweens, out) = bytemuck::cast_slice_mut::<T, u8>(a.scratch).split_at_mut(self.n * between);
            let out = &mut out[..self.n * resized];
            if between > 0 {
                out.par_chunks_mut(resized)
                    .zip(betweens.par_chunks_mut(between))
                    .zip(x.par_chunks(each))
                    .for_each(|((out, between), x)| self.resize.run::<3>(x, between, out));
            } else {
                out.par_chunks_mut(resized)
                    .zip(x.par_chunks(each))
                    .for_each(|(out, x)| self.resize.run::<3>(x, &mut [], out));
            }
            x = out;
        }
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
