//! Grid choice and launches of the transposed convolution (kernels/conv_transpose2d.cu).

use super::ConvTranspose2d;
use crate::Result;
use crate::engine::ops::conv2d::cuda::{Extras, bwd_input, launch_bwd_input};
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::tiling::{Pass, Product, Tiling, Variant};
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Moments, Schedule, Target};

impl ConvTranspose2d {
    /// One product of all input pixels with the channels of all taps, if taps do not overlap and leave no pixel out.
    fn whole(&self) -> Option<Product> {
        let p = &self.sizes;
        let covers = [p.r, p.s] == [p.stride_h, p.stride_w]
            && [p.h, p.w] == [p.oh * p.r, p.ow * p.s]
            && [p.pad_h, p.pad_w] == [0, 0];
        let rows = (p.n * p.oh * p.ow) as usize;
        let columns = (p.r * p.s * p.c) as usize;
        let (pass, depth, count) = (Pass::Transposed, p.k as usize, rows * columns);
        covers.then_some(Product { pass, rows, columns, depth, phases: 1, count })
    }

    pub fn product(&self) -> Product {
        self.whole().unwrap_or_else(|| bwd_input(&self.sizes))
    }

    /// The groups of positions whose moments it can leave.
    fn moments(&self, tiling: &Tiling) -> Option<Moments> {
        let p = &self.sizes;
        self.whole().map(|_| Moments::new(tiling, [p.n, p.oh * p.ow, p.r * p.s, p.c]))
    }
}

impl CudaOperation for ConvTranspose2d {
    fn schedule(&self, t: &Target) -> Schedule {
        let tiling = self.product().tiling(t);
        Schedule { offers: tiling.side_output(self.moments(&tiling)), ..Schedule::product(tiling) }
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let p = self.sizes;
        if self.whole().is_none() {
            return launch_bwd_input(p, l);
        }
        let (x, w, number) = (l.input(0), l.input(1), l.precision());
        l.tiling()?.launch(l, l.output(0), p.c, Extras::NONE, |variant, y, partial, moments, splits| {
            let kernel = match variant {
                Variant::Small => kernels::conv_transpose2d_fwd_small,
                Variant::Medium => kernels::conv_transpose2d_fwd_medium,
                Variant::Long => kernels::conv_transpose2d_fwd,
                Variant::Large => kernels::conv_transpose2d_fwd_large,
            };
            kernel(number, y, partial, moments, x, w, p, splits)
        })
    }
}
