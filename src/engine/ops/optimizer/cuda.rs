//! Launches of Adam and the gradient-norm clip (kernels/adam.cu). Both work in f32, as all optimizer state is; in bf16
//! programs Adam also writes the rounded parameters.

use super::{Adam, ClipGradNorm};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Number, Schedule, Target, size32};

const THREADS: u32 = 256;
/// Elements a block takes: 16 bytes a thread. Whole networks are whole cache lines.
const BLOCK: u32 = THREADS * 4;
/// Most partial sums of squares.
const MAX_PARTIALS: u32 = 1024;

/// Rates of one step, with what the host computes of them in f64.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AdamRates {
    lr: f32,
    b1: f32,
    /// 1 - b1
    c1: f32,
    ln_b1: f32,
    b2: f32,
    c2: f32,
    ln_b2: f32,
    eps: f32,
}

impl CudaOperation for Adam {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (b1, b2) = self.betas;
        let [lr, b1, c1, ln_b1, b2, c2, ln_b2, eps] =
            [self.lr, b1, 1.0 - b1, b1.ln(), b2, 1.0 - b2, b2.ln(), self.eps].map(|v| v as f32);
        let rates = AdamRates { lr, b1, c1, ln_b1, b2, c2, ln_b2, eps };
        let (params, m, v, steps, grads) = (l.update(0), l.update(1), l.update(2), l.update(3), l.input(0));
        let len = params.elements();
        let call = match l.number() {
            Number::Bf16 => {
                kernels::adam_step_masters_bf16(params, l.output(4), m, v, grads, steps.read(), len, rates)?
            }
            _ => kernels::adam_step_f32(params, m, v, grads, steps.read(), len, rates)?,
        };
        l.launch(call, [len.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)?;
        l.launch(kernels::adam_count_f32(steps)?, [1, 1, 1], [32, 1, 1], 0)
    }
}

impl ClipGradNorm {
    fn partials(&self) -> u32 {
        self.len.div_ceil(BLOCK as usize).min(MAX_PARTIALS as usize) as u32
    }
}

impl CudaOperation for ClipGradNorm {
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::scratch(self.partials() as usize * size_of::<f32>())
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (norm, grads, partial, partials) = (l.output(0), l.update(1), l.scratch(), self.partials());
        let len = size32("parameters", self.len)?;
        let call = kernels::clip_grad_norm_partial_f32(partial, grads.read(), len)?;
        l.launch(call, [partials, 1, 1], [THREADS, 1, 1], 0)?;
        let call = kernels::clip_grad_norm_total_f32(norm, partial.read(), partials)?;
        l.launch(call, [1, 1, 1], [1024, 1, 1], 0)?;
        let call = kernels::clip_grad_norm_scale_f32(grads, norm.read(), len, self.max as f32)?;
        l.launch(call, [len.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)
    }
}
