//! Tiling and launches of the instance norm (kernels/instance_norm.cu, kernels/instance_norm_bwd.cu).

use super::{InstanceNorm, InstanceNormBwd};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{
    CudaOperation, Cut, In, Launches, Moments, Number, Out, Schedule, SideOutput, Spread, Target, size32,
};

const THREADS: u32 = 256;
/// 16-byte packs, or single values, that a thread of the kernels keeps in registers.
const KEEP: u32 = 8;
/// Most splits, so that merging them stays cheap beside reading the rows.
const SPLITS: u32 = 32;
/// What DRAM is read in, in bytes.
const SECTOR: u32 = 32;

/// How the norm is spread on such a device.
fn spread(op: &InstanceNorm, t: &Target) -> Spread {
    // Whole tensors have less than 2^31 elements.
    let [n, rows, c] = [op.n, op.rows, op.c].map(|x| x as u32);
    let width = t.number.pack(c);
    let packs = c / width;
    let widest = packs.next_power_of_two().min(if width == 1 { 32 } else { 8 });
    let narrowest = widest.min(SECTOR / (width * t.number.storage().size() as u32));
    let held = |lanes: u32| KEEP * (THREADS / lanes);
    let slabs = |lanes: u32| n * packs.div_ceil(lanes);
    let mut lanes = widest;
    while lanes > narrowest && (rows > held(lanes) || slabs(lanes) < t.multiprocessors) {
        lanes /= 2;
    }
    if rows <= held(lanes) {
        return Spread { lanes, slabs: slabs(lanes), splits: 1, split_rows: rows };
    }
    let lanes = widest;
    let split_rows = held(lanes) * rows.div_ceil(held(lanes)).div_ceil(SPLITS);
    Spread { lanes, slabs: slabs(lanes), splits: rows.div_ceil(split_rows), split_rows }
}

fn grid(spread: &Spread) -> [u32; 3] {
    [spread.slabs, spread.splits, 1]
}

/// Bytes of two f32 per image, split and channel.
fn partial_sums(op: &InstanceNorm, spread: &Spread) -> usize {
    op.n * spread.splits as usize * 2 * op.c * size_of::<f32>()
}

impl InstanceNorm {
    /// Whether taking statistics from a convolution moves fewer bytes. A map in one launch is read once anyway; of a larger
    /// one, every split reads all groups' moments, which must be less than the rows that need not be read for them.
    fn gains_from(&self, m: &Moments, spread: &Spread, number: Number) -> bool {
        let moments = 2 * spread.splits as usize * m.groups * size_of::<f32>();
        spread.splits > 1 && moments <= self.rows * number.storage().size()
    }
}

impl CudaOperation for InstanceNorm {
    fn schedule(&self, t: &Target) -> Schedule {
        let spread = spread(self, t);
        let scratch = if spread.splits > 1 { partial_sums(self, &spread) } else { 0 };
        Schedule::new(Cut::Spread(spread), scratch)
    }

    fn takes(&self, offer: &SideOutput, cut: &Cut, number: Number) -> bool {
        let Cut::Spread(spread) = cut else { return false };
        match offer {
            // A larger map is split over blocks that each would have to add and write first.
            SideOutput::Parts { .. } => spread.splits == 1,
            SideOutput::Moments(moments) => self.gains_from(moments, spread, number),
        }
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let spread = l.spread()?;
        let (number, grid, block) = (l.number(), grid(&spread), [THREADS, 1, 1]);
        let Spread { lanes, splits, split_rows, .. } = spread;
        let (rows, c) = (self.rows as u32, self.c as u32);
        let (eps, slope) = (self.eps as f32, self.act.negative_slope().unwrap_or(1.0));
        let (x, taken) = (l.input(0), l.takes());
        let (gamma, beta) = if self.affine { (l.input(1), l.input(2)) } else { (In::NONE, In::NONE) };
        let residual = if self.residual { l.input(1 + 2 * self.affine as usize) } else { In::NONE };
        let (y, mean, rstd) = (l.output(0), l.output(1), l.output(2));
        if splits == 1 {
            let (sum, x, parts, count) = match taken {
                Some((SideOutput::Parts { splits, count }, parts)) => {
                    (l.left_to_write(), In::NONE, parts, [splits, count])
                }
                _ => (Out::NONE, x, In::NONE, [0, 0]),
            };
            let [parts_of, count] = [size32("convolution splits", count[0])?, size32("instance norm", count[1])?];
            let call = kernels::instance_norm_fwd(
                number, y, mean, rstd, sum, x, gamma, beta, residual, parts, parts_of, count, rows, c, lanes, eps,
                slope,
            )?;
            return l.launch(call, grid, block, 0);
        }
        let (partial, [groups, group_rows, map]) = match taken {
            Some((SideOutput::Moments(m), partial)) => (partial, [m.groups, m.rows, m.map].map(|v| v as u32)),
            _ => {
                let partial = l.scratch();
                let call = kernels::instance_norm_stats(number, partial, x, rows, c, lanes, split_rows)?;
                l.launch(call, grid, block, 0)?;
                (partial.read(), [splits, split_rows, rows])
            }
        };
        let call = kernels::instance_norm_apply(
            number, y, mean, rstd, partial, x, gamma, beta, residual, groups, group_rows, map, rows, c, lanes,
            split_rows, eps, slope,
        )?;
        l.launch(call, grid, block, 0)
    }
}

impl CudaOperation for InstanceNormBwd {
    fn schedule(&self, t: &Target) -> Schedule {
        let spread = spread(&self.forward, t);
        let needed = spread.splits > 1 || self.forward.affine;
        Schedule::new(Cut::Spread(spread), if needed { partial_sums(&self.forward, &spread) } else { 0 })
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let op = &self.forward;
        let spread = l.spread()?;
        let (number, grid, block) = (l.number(), grid(&spread), [THREADS, 1, 1]);
        let Spread { lanes, splits, split_rows, .. } = spread;
        let (rows, c, slope) = (op.rows as u32, op.c as u32, op.act.negative_slope().unwrap_or(1.0));
        let [dy, x, y, mean, rstd] = [0, 1, 2, 3, 4].map(|i| l.input(i));
        let gamma = if op.affine { l.input(5) } else { In::NONE };
        let dx = l.output(0);
        let sums = if splits > 1 || op.affine { l.scratch() } else { Out::NONE };
        if splits == 1 {
            let call =
                kernels::instance_norm_bwd(number, dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope)?;
            l.launch(call, grid, block, 0)?;
        } else {
            let call =
                kernels::instance_norm_bwd_sums(number, sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope)?;
            l.launch(call, grid, block, 0)?;
            let call = kernels::instance_norm_bwd_apply(
                number,
                dx,
                sums.read(),
                dy,
                x,
                y,
                mean,
                rstd,
                gamma,
                rows,
                c,
                lanes,
                split_rows,
                slope,
            )?;
            l.launch(call, grid, block, 0)?;
        }
        if op.affine {
            let (dgamma, dbeta) = (l.output(1), l.output(2));
            let call = kernels::instance_norm_bwd_params_f32(dgamma, dbeta, sums.read(), op.n as u32 * splits, c)?;
            l.launch(call, [c.div_ceil(32), 1, 1], block, 0)?;
        }
        Ok(())
    }
}
