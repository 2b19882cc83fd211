//! Grid choice and launches of the convolution (kernels/conv2d.cu).

use super::{Activation, BwdBias, BwdInput, BwdWeight, Conv2d, Forward};
use crate::Result;
use crate::engine::device::cuda::{
    Call, CudaOperation, In, Launches, Moments, NormInput, Number, Out, Target, kernels, size32,
};

/// The matrix product that one launch computes, cut into tiles and its depth into splits.
pub struct Product {
    /// Rows and columns of the result, of each phase.
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// Products of this kind in one launch.
    pub phases: usize,
    /// Elements of the result of all phases.
    pub count: usize,
    /// Rows and columns of the larger of the two tiles.
    pub tile: [usize; 2],
}

/// Rows and columns of the larger tile, for results that are tall (pixels times channels) or wide (weights).
pub const TALL: [usize; 2] = [128, 64];
const WIDE: [usize; 2] = [64, 128];
const SMALL: [usize; 2] = [32, 32];

/// How a product is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// With the kernel of 32x32 tiles.
    pub small: bool,
    /// Parts of the depth, each summed by blocks of its own.
    pub splits: usize,
    rows: usize,
    tiles: [usize; 2],
    phases: usize,
    count: usize,
}

/// Longest sum of one block: with more, rounding of f32 sums would show in the last of the five digits promised.
const LONGEST_SUM: usize = 8192;
/// Most splits worth trying.
const MOST_SPLITS: usize = 64;

/// Clock cycles of one slice of the depth on one multiprocessor, from the arithmetic and issue rates of sm_80: not measured.
struct Speed {
    /// Numbers in the depth of a slice.
    slice: usize,
    /// With the multiprocessor full of blocks, and for one block alone.
    large: [usize; 2],
    small: [usize; 2],
}

impl Speed {
    fn of(number: Number) -> Speed {
        match number {
            Number::F32 => Speed { slice: 16, large: [1024, 1200], small: [160, 350] },
            Number::Tf32 => Speed { slice: 16, large: [256, 400], small: [64, 200] },
            Number::Bf16 | Number::F16 => Speed { slice: 32, large: [256, 400], small: [64, 200] },
        }
    }
}

/// Slices' worth of time for filling the pipeline and storing the result.
const ENDS: usize = 4;
/// Cycles of one more launch.
const LAUNCH: usize = 3000;
/// Partial sums a multiprocessor writes and reads back per cycle, times 3.
const PARTIALS: usize = 3;

impl Product {
    /// The tiling that takes the fewest cycles by a simple model.
    pub fn tiling(&self, t: &Target) -> Tiling {
        let speed = Speed::of(t.number);
        let multiprocessors = t.multiprocessors.max(1) as usize;
        let slices = self.depth.div_ceil(speed.slice).max(1);
        let fewest = self.depth.div_ceil(LONGEST_SUM).clamp(1, slices);
        let most = MOST_SPLITS.min(slices / ENDS).max(fewest);
        let candidates = [false, true].into_iter().flat_map(|small| (fewest..=most).map(move |s| (small, s)));
        let cycles = |&(small, splits): &(bool, usize)| {
            let tiles: usize = self.tiles(small).iter().product();
            let per_multiprocessor = (tiles * self.phases * splits).div_ceil(multiprocessors);
            let [full, alone] = if small { speed.small } else { speed.large };
            let products = (per_multiprocessor * full).max(alone) * (slices.div_ceil(splits) + ENDS);
            let second = self.count * splits / (PARTIALS * multiprocessors) + LAUNCH;
            products + if splits > 1 { second } else { 0 }
        };
        let (small, splits) = candidates.min_by_key(cycles).unwrap_or((false, fewest));
        Tiling {
            small,
            splits,
            rows: if small { SMALL } else { self.tile }[0],
            tiles: self.tiles(small),
            phases: self.phases,
            count: self.count,
        }
    }

    fn tiles(&self, small: bool) -> [usize; 2] {
        let [rows, columns] = if small { SMALL } else { self.tile };
        [self.rows.div_ceil(rows).max(1), self.columns.div_ceil(columns).max(1)]
    }
}

/// What is added to a product before it is stored.
#[derive(Clone, Copy)]
pub struct Finish {
    pub bias: In,
    pub residual: In,
    pub slope: f32,
}

impl Finish {
    pub const NONE: Finish = Finish { bias: In::NONE, residual: In::NONE, slope: 1.0 };
}

impl Tiling {
    /// Bytes of the splits' partial sums.
    pub fn workspace(&self) -> usize {
        if self.splits > 1 { self.splits * self.count * size_of::<f32>() } else { 0 }
    }

    /// Rows of a tile.
    pub fn tile_rows(&self) -> usize {
        self.rows
    }

    /// Launches `call(small, y, partial, moments, splits)`; where the depth is split, `y` gets the sum of the partial sums,
    /// here or by the instance norm that follows.
    pub fn launch(
        &self,
        l: &mut Launches,
        y: Out,
        columns: u32,
        finish: Finish,
        call: impl Fn(bool, Out, Out, Out, u32) -> Result<Call>,
    ) -> Result<()> {
        let splits = size32("convolution splits", self.splits)?;
        let split = self.splits > 1;
        let [mut x, y_tiles] = self.tiles;
        let (mut partial, mut moments) = (if split { l.scratch() } else { Out::NONE }, Out::NONE);
        let handed_on = l.handed_on();
        match handed_on {
            Some((NormInput::Parts { .. }, to)) => partial = to,
            Some((NormInput::Moments(m), to)) => (x, moments) = (m.tiles(), to),
            None => {}
        }
        let call = call(self.small, if split { Out::NONE } else { y }, partial, moments, splits)?;
        let grid = [x, y_tiles, self.phases * self.splits];
        let mut blocks = [0; 3];
        for (to, from) in blocks.iter_mut().zip(grid) {
            *to = size32("convolution tiles", from)?;
        }
        l.launch(call, blocks, [if self.small { 64 } else { 128 }, 1, 1], 0)?;
        let here = split && handed_on.is_none();
        if here { reduce_splits(l, y, partial.read(), finish, self.count, columns, splits) } else { Ok(()) }
    }
}

/// y = act(sum of partial + bias + residual), `count` elements in rows of `columns`.
fn reduce_splits(
    l: &mut Launches,
    y: Out,
    partial: In,
    finish: Finish,
    count: usize,
    columns: u32,
    splits: u32,
) -> Result<()> {
    let Finish { bias, residual, slope } = finish;
    let count32 = size32("convolution result", count)?;
    let call = kernels::conv2d_reduce_splits(y.number(), y, partial, bias, residual, count32, columns, splits, slope)?;
    let threads = if count.is_multiple_of(4) { count / 4 } else { count };
    l.launch(call, [threads.div_ceil(256) as u32, 1, 1], [256, 1, 1], 0)
}

fn forward(p: &Conv2d) -> Product {
    let [rows, columns] = [p.output().len() / p.k as usize, p.k as usize];
    let depth = p.weights().len() / columns;
    Product { rows, columns, depth, phases: 1, count: rows * columns, tile: TALL }
}

/// The phase with most pixels and most taps stands for all of them.
fn bwd_input(p: &Conv2d) -> Product {
    let u = |v: u32| v as usize;
    let [h, w] = [p.h.div_ceil(p.stride_h), p.w.div_ceil(p.stride_w)].map(u);
    let [r, s] = [p.r.div_ceil(p.stride_h), p.s.div_ceil(p.stride_w)].map(u);
    Product {
        rows: u(p.n) * h * w,
        columns: u(p.c),
        depth: u(p.k) * r * s,
        phases: u(p.stride_h) * u(p.stride_w),
        count: p.input().len(),
        tile: TALL,
    }
}

fn bwd_weight(p: &Conv2d) -> Product {
    let (rows, count) = (p.k as usize, p.weights().len());
    let depth = p.output().len() / rows;
    Product { rows, columns: count / rows, depth, phases: 1, count, tile: WIDE }
}

/// Refuses tensors whose elements 31 bits do not count.
fn check(p: &Conv2d) -> Result<()> {
    for shape in [p.input(), p.weights(), p.output()] {
        size32("convolution", shape.len())?;
    }
    Ok(())
}

impl Forward {
    /// The tiling of a convolution that adds nothing to the product.
    pub fn plain_tiling(&self, t: &Target) -> Option<Tiling> {
        let plain = !self.bias && !self.residual && self.act == Activation::None;
        plain.then(|| forward(&self.sizes).tiling(t))
    }

    /// The groups of positions whose moments it can leave.
    pub fn moments(&self, t: &Target) -> Moments {
        let p = &self.sizes;
        Moments::new(&forward(p).tiling(t), [p.n, p.oh * p.ow, 1, p.k])
    }
}

impl CudaOperation for Forward {
    fn workspace(&self, t: &Target) -> usize {
        forward(&self.sizes).tiling(t).workspace()
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (p, number) = (self.sizes, l.precision());
        check(&p)?;
        let (x, w) = (l.input(0), l.input(1));
        let bias = if self.bias { l.input(2) } else { In::NONE };
        let residual = if self.residual { l.input(2 + self.bias as usize) } else { In::NONE };
        let slope = self.act.negative_slope().unwrap_or(1.0);
        let finish = Finish { bias, residual, slope };
        let tiling = forward(&p).tiling(l.target());
        tiling.launch(l, l.output(0), p.k, finish, |small, y, partial, moments, splits| {
            let kernel = if small { kernels::conv2d_fwd_small } else { kernels::conv2d_fwd };
            kernel(number, y, partial, moments, x, w, bias, residual, p, splits, slope)
        })
    }
}

/// dx of the convolution `p` whose output has gradient `dy`.
pub fn launch_bwd_input(p: Conv2d, l: &mut Launches) -> Result<()> {
    check(&p)?;
    let (dy, w, number) = (l.input(0), l.input(1), l.precision());
    let tiling = bwd_input(&p).tiling(l.target());
    tiling.launch(l, l.output(0), p.c, Finish::NONE, |small, dx, partial, _, splits| {
        let kernel = if small { kernels::conv2d_bwd_input_small } else { kernels::conv2d_bwd_input };
        kernel(number, dx, partial, dy, w, p, splits)
    })
}

/// The tiling of [`launch_bwd_input`].
pub fn bwd_input_tiling(p: &Conv2d, t: &Target) -> Tiling {
    bwd_input(p).tiling(t)
}

impl CudaOperation for BwdInput {
    fn workspace(&self, t: &Target) -> usize {
        bwd_input_tiling(&self.sizes, t).workspace()
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        launch_bwd_input(self.sizes, l)
    }
}

impl CudaOperation for BwdWeight {
    fn workspace(&self, t: &Target) -> usize {
        bwd_weight(&self.sizes).tiling(t).workspace()
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (p, number) = (self.sizes, l.precision());
        check(&p)?;
        let (x, dy) = (l.input(0), l.input(1));
        let tiling = bwd_weight(&p).tiling(l.target());
        tiling.launch(l, l.output(0), p.c, Finish::NONE, |small, dw, partial, _, splits| {
            let kernel = if small { kernels::conv2d_bwd_weight_small } else { kernels::conv2d_bwd_weight };
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
    fn workspace(&self, t: &Target) -> usize {
        self.blocks(t) * self.k * size_of::<f32>()
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, partial, blocks) = (l.input(0), l.scratch(), self.blocks(l.target()));
        let [lanes, across] = self.across(l.number());
        let [k, positions] = [size32("channels", self.k)?, size32("positions", self.positions)?];
        let each = positions.div_ceil(blocks as u32);
        let call = kernels::conv2d_bwd_bias(l.number(), partial, dy, positions, k, each, lanes as u32)?;
        l.launch(call, [blocks as u32, across as u32, 1], [BIAS_THREADS as u32, 1, 1], 0)?;
        reduce_splits(l, l.output(0), partial.read(), Finish::NONE, self.k, k, blocks as u32)
    }
}
