//! Launches of the optimizers, of weight decay and the gradient-norm clip (kernels/optimizer.cu). All work in f32, as all optimizer
//! state is; in bf16 programs the optimizers also write the rounded parameters.

use super::{Adam, ClipGradNorm, Decay, LrSchedule, Sgd, WeightDecay};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Number, Out, Schedule, Target, size32};

const THREADS: u32 = 256;
/// Elements a block takes: 16 bytes a thread. Whole networks are whole cache lines.
const BLOCK: u32 = THREADS * 4;
/// Most partial sums of squares.
const MAX_PARTIALS: u32 = 1024;

/// A learning rate and its schedule; 0 steps: constant.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Rate {
    lr: f32,
    warmup: f32,
    steps: f32,
}

impl Rate {
    fn new(lr: f64, schedule: LrSchedule) -> Rate {
        let (warmup, steps) = match schedule {
            LrSchedule::Constant => (0, 0),
            LrSchedule::Cosine { warmup, steps } => (warmup, steps),
        };
        Rate { lr: lr as f32, warmup: warmup as f32, steps: steps as f32 }
    }
}

/// Rates of one step, with what the host computes of them in f64.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AdamRates {
    rate: Rate,
    b1: f32,
    /// 1 - b1
    c1: f32,
    ln_b1: f32,
    b2: f32,
    c2: f32,
    ln_b2: f32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SgdRates {
    rate: Rate,
    momentum: f32,
    nesterov: u32,
}

impl CudaOperation for Adam {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (b1, b2) = self.betas;
        let [b1, c1, ln_b1, b2, c2, ln_b2, eps] =
            [b1, 1.0 - b1, b1.ln(), b2, 1.0 - b2, b2.ln(), self.eps].map(|v| v as f32);
        let rate = Rate::new(self.lr, self.schedule);
        let rates = AdamRates { rate, b1, c1, ln_b1, b2, c2, ln_b2, eps };
        let (params, m, v, steps, grads) = (l.update(0), l.update(1), l.update(2), l.update(3), l.input(0));
        let len = params.elements();
        let call = match l.number() {
            Number::Bf16 => {
                kernels::adam_step_masters_bf16(params, l.output(4), m, v, grads, steps.read(), len, rates)?
            }
            _ => kernels::adam_step_f32(params, m, v, grads, steps.read(), len, rates)?,
        };
        l.launch(call, [len.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)?;
        count(l, steps)
    }
}

/// Adds one to the count of steps, behind the update that has read it.
fn count(l: &mut Launches, steps: Out) -> Result<()> {
    l.launch(kernels::count_step_f32(steps)?, [1, 1, 1], [32, 1, 1], 0)
}

impl CudaOperation for Sgd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let rate = Rate::new(self.lr, self.schedule);
        let rates = SgdRates { rate, momentum: self.momentum as f32, nesterov: self.nesterov.into() };
        let (params, momentum, steps, grads) = (l.update(0), l.update(1), l.update(2), l.input(0));
        let len = params.elements();
        let call = match l.number() {
            Number::Bf16 => {
                kernels::sgd_step_masters_bf16(params, l.output(3), momentum, grads, steps.read(), len, rates)?
            }
            _ => kernels::sgd_step_f32(params, momentum, grads, steps.read(), len, rates)?,
        };
        l.launch(call, [len.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)?;
        count(l, steps)
    }
}

impl CudaOperation for WeightDecay {
    /// One launch a range: networks that declare what decays side by side have one.
    fn launch(&self, l: &mut Launches) -> Result<()> {
        for range in &self.ranges {
            let bytes = range.start * size_of::<f32>()..range.end * size_of::<f32>();
            let to = l.update(0).slice(bytes.clone());
            let (len, decay) = (to.elements(), self.decay as f32);
            let call = match self.how {
                Decay::L2 => kernels::weight_decay_gradients_f32(to, l.input(0).slice(bytes), len, decay)?,
                Decay::Decoupled { lr, schedule } => {
                    kernels::weight_decay_parameters_f32(to, l.input(0), len, decay, Rate::new(lr, schedule))?
                }
            };
            l.launch(call, [len.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)?;
        }
        Ok(())
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
