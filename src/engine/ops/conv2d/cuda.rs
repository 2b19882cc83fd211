//! Grid choice and launches of the convolution (kernels/conv2d.cu, kernels/conv2d_bwd.cu).

use super::{Activation, BwdBias, BwdInput, BwdWeight, Conv2d, Forward};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::tiling::{Pass, Product, Tiling, Variant};
use crate::engine::toolkit::cuda::{
    Call, CudaOperation, Cut, In, Launches, Moments, Number, Out, Schedule, SideOutput, Target, size32,
};

/// What is added to a product before it is stored.
#[derive(Clone, Copy)]
pub struct Extras {
    pub bias: In,
    pub residual: In,
    pub slope: f32,
}

impl Extras {
    pub const NONE: Extras = Extras { bias: In::NONE, residual: In::NONE, slope: 1.0 };
}

impl Tiling {
    /// Launches `call(variant, y, partial, moments, splits)`; where the depth is split, `y` gets the sum of the partial sums,
    /// here or by the instance norm that follows.
    pub fn launch(
        &self,
        l: &mut Launches,
        y: Out,
        columns: u32,
        extras: Extras,
        call: impl Fn(Variant, Out, Out, Out, u32) -> Result<Call>,
    ) -> Result<()> {
        let splits = size32("convolution splits", self.splits)?;
        let split = self.splits > 1;
        let [mut x, y_tiles] = self.tiles;
        let (mut partial, mut moments) = (if split { l.scratch() } else { Out::NONE }, Out::NONE);
        let leaves = l.leaves();
        match leaves {
            Some((SideOutput::Parts { .. }, to)) => partial = to,
            Some((SideOutput::Moments(m), to)) => (x, moments) = (m.tiles(), to),
            None => {}
        }
        let call = call(self.variant, if split { Out::NONE } else { y }, partial, moments, splits)?;
        let grid = [x, y_tiles, self.phases * self.splits];
        let mut blocks = [0; 3];
        for (to, from) in blocks.iter_mut().zip(grid) {
            *to = size32("convolution tiles", from)?;
        }
        l.launch(call, blocks, [self.threads as u32, 1, 1], self.shared as u32)?;
        let here = split && leaves.is_none();
        if here { reduce_splits(l, y, partial.read(), extras, self.count, columns, splits) } else { Ok(()) }
    }
}

/// y = act(sum of partial + bias + residual), `count` elements in rows of `columns`.
fn reduce_splits(
    l: &mut Launches,
    y: Out,
    partial: In,
    extras: Extras,
    count: usize,
    columns: u32,
    splits: u32,
) -> Result<()> {
    let Extras { bias, residual, slope } = extras;
    let count32 = size32("convolution result", count)?;
    let call = kernels::conv2d_reduce_splits(y.number(), y, partial, bias, residual, count32, columns, splits, slope)?;
    let threads = if count.is_multiple_of(4) { count / 4 } else { count };
    l.launch(call, [threads.div_ceil(256) as u32, 1, 1], [256, 1, 1], 0)
}

/// The product of a convolution.
pub fn forward(p: &Conv2d) -> Product {
    let [rows, columns] = [p.output().len() / p.k as usize, p.k as usize];
    let depth = p.weights().len() / columns;
    Product { pass: Pass::Forward, rows, columns, depth, phases: 1, count: rows * columns }
}

/// That of its input gradient; the phase with most pixels and most taps stands for all of them.
pub fn bwd_input(p: &Conv2d) -> Product {
    let u = |v: u32| v as usize;
    let [h, w] = [p.h.div_ceil(p.stride_h), p.w.div_ceil(p.stride_w)].map(u);
    let [r, s] = [p.r.div_ceil(p.stride_h), p.s.div_ceil(p.stride_w)].map(u);
    Product {
        pass: Pass::InputGradient,
        rows: u(p.n) * h * w,
        columns: u(p.c),
        depth: u(p.k) * r * s,
        phases: u(p.stride_h) * u(p.stride_w),
        count: p.input().len(),
    }
}

/// That of its weight gradient.
pub fn bwd_weight(p: &Conv2d) -> Product {
    let (rows, count) = (p.k as usize, p.weights().len());
    let depth = p.output().len() / rows;
    Product { pass: Pass::WeightGradient, rows, columns: count / rows, depth, phases: 1, count }
}

/// Refuses tensors whose elements 31 bits do not count.
pub fn check(p: &Conv2d) -> Result<()> {
    for shape in [p.input(), p.weights(), p.output()] {
        size32("convolution", shape.len())?;
    }
    Ok(())
}

impl Forward {
    /// Whether it adds nothing to the product.
    fn is_plain(&self) -> bool {
        !self.bias && !self.residual && self.act == Activation::None
    }

    /// The groups of positions whose moments it can leave.
    fn moments(&self, tiling: &Tiling) -> Moments {
        let p = &self.sizes;
        Moments::new(tiling, [p.n, p.oh * p.ow, 1, p.k])
    }
}

impl CudaOperation for Forward {
    fn schedule(&self, t: &Target) -> Schedule {
        let tiling = forward(&self.sizes).tiling(t);
        // What is added to the product comes after its sums, and before the result that moments would be of.
        let offers = if self.is_plain() { tiling.side_output(Some(self.moments(&tiling))) } else { None };
        Schedule { offers, ..Schedule::product(tiling) }
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (p, number) = (self.sizes, l.precision());
        check(&p)?;
        let (x, w) = (l.input(0), l.input(1));
        let bias = if self.bias { l.input(2) } else { In::NONE };
        let residual = if self.residual { l.input(2 + self.bias as usize) } else { In::NONE };
        let slope = self.act.negative_slope().unwrap_or(1.0);
        let extras = Extras { bias, residual, slope };
        l.tiling()?.launch(l, l.output(0), p.k, extras, |variant, y, partial, moments, splits| {
            let kernel = match variant {
                Variant::Small => kernels::conv2d_fwd_small,
                Variant::Medium => kernels::conv2d_fwd_medium,
                Variant::Long => kernels::conv2d_fwd,
                Variant::Large => kernels::conv2d_fwd_large,
            };
            kernel(number, y, partial, moments, x, w, bias, residual, p, splits, slope)
        })
    }
}

/// dx of the convolution `p` whose output has gradient `dy`.
pub fn launch_bwd_input(p: Conv2d, l: &mut Launches) -> Result<()> {
    check(&p)?;
    let (dy, w, number) = (l.input(0), l.input(1), l.precision());
    l.tiling()?.launch(l, l.output(0), p.c, Extras::NONE, |variant, dx, partial, _, splits| {
        let kernel = match variant {
            Variant::Small => kernels::conv2d_bwd_input_small,
            Variant::Medium => kernels::conv2d_bwd_input_medium,
            Variant::Long => kernels::conv2d_bwd_input,
            Variant::Large => kernels::conv2d_bwd_input_large,
        };
        kernel(number, dx, partial, dy, w, p, splits)
    })
}

impl CudaOperation for BwdInput {
    fn schedule(&self, t: &Target) -> Schedule {
        Schedule::product(bwd_input(&self.sizes).tiling(t))
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        launch_bwd_input(self.sizes, l)
    }
}

impl CudaOperation for BwdWeight {
    fn schedule(&self, t: &Target) -> Schedule {
        Schedule::product(bwd_weight(&self.sizes).tiling(t))
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (p, number) = (self.sizes, l.precision());
        check(&p)?;
        let (x, dy) = (l.input(0), l.input(1));
        l.tiling()?.launch(l, l.output(0), p.c, Extras::NONE, |variant, dw, partial, _, splits| {
            let kernel = match variant {
                Variant::Small => kernels::conv2d_bwd_weight_small,
                Variant::Medium => kernels::conv2d_bwd_weight_medium,
                Variant::Long => kernels::conv2d_bwd_weight,
                Variant::Large => kernels::conv2d_bwd_weight_large,
            };
            kernel(number, dw, partial, x, dy, p, splits)
        })
    }
}

impl BwdBias {
    /// Columns that one thread sums: 16 bytes of them, if rows are aligned to that.
    fn width(&self, number: Number) -> usize {
        let lanes = 16 / number.storage().size();
        if self.k.is_multiple_of(lanes) { lanes } else { 1 }
    }

    /// Threads side by side along the channels, and blocks of them.
    fn across(&self, number: Number) -> [usize; 2] {
        let wanted = self.k.div_ceil(self.width(number));
        let lanes = wanted.next_power_of_two().min(32);
        [lanes, wanted.div_ceil(lanes)]
    }

    /// Blocks along the positions: two per multiprocessor, if each of their threads gets a few positions.
    fn blocks(&self, t: &Target) -> usize {
        const POSITIONS: usize = 8;
        let [lanes, blocks] = self.across(t.number);
        let most = (2 * t.multiprocessors as usize).div_ceil(blocks);
        self.positions.div_ceil(POSITIONS * BIAS_THREADS / lanes).clamp(1, most.max(1))
    }
}

/// Threads of a block of `conv2d_bwd_bias`.
const BIAS_THREADS: usize = 256;

impl CudaOperation for BwdBias {
    fn schedule(&self, t: &Target) -> Schedule {
        let blocks = self.blocks(t);
        Schedule::new(Cut::Parts(blocks), blocks * self.k * size_of::<f32>())
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, partial, blocks) = (l.input(0), l.scratch(), l.parts()?);
        let [lanes, across] = self.across(l.number());
        let [k, positions] = [size32("channels", self.k)?, size32("positions", self.positions)?];
        let each = positions.div_ceil(blocks as u32);
        let call = kernels::conv2d_bwd_bias(l.number(), partial, dy, positions, k, each, lanes as u32)?;
        l.launch(call, [blocks as u32, across as u32, 1], [BIAS_THREADS as u32, 1, 1], 0)?;
        reduce_splits(l, l.output(0), partial.read(), Extras::NONE, self.k, k, blocks as u32)
    }
}
