//! Weight decay of some of a network's parameters, recorded before the optimizer: in place on all gradients (L2), or on all
//! parameters (decoupled, which is AdamW's).

use super::{LrSchedule, expect_trainable};
use crate::engine::ops::activation::CHUNK;
use crate::engine::ops::{Args, Backward, Gradients, Operation};
use crate::engine::params::Parameter;
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Tape, Whole};
use crate::engine::tensor::Shape;
use crate::{Result, invalid};
use rayon::prelude::*;
use std::ops::Range;

/// What decays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// The loss has half of `decay` times the parameters' squares added: `g += decay * p`, as `weight_decay` of `torch.optim.SGD` and
    /// `Adam`.
    L2,
    /// `p -= rate * decay * p`, whatever the gradients are, as `torch.optim.AdamW`. With the optimizer's own rate.
    Decoupled { lr: f64, schedule: LrSchedule },
}

/// L2 has all parameters as its input and all gradients as its output; decoupled the optimizer's count of steps, and all parameters.
#[derive(Clone, Debug)]
pub struct WeightDecay {
    pub how: Decay,
    pub decay: f64,
    /// Where the parameters lie in their network, with the gaps behind them, which hold 0; neighbours are one range.
    pub ranges: Vec<Range<usize>>,
}

impl Tape {
    /// Decays those parameters of `net` that `which` picks; call it between `backward` and the optimizer.
    pub fn weight_decay(
        &mut self,
        net: NetId,
        decay: f64,
        how: Decay,
        which: impl Fn(&Parameter) -> bool,
    ) -> Result<()> {
        expect_trainable(self.dtype())?;
        let params = self.whole(net, Whole::Params)?;
        let all = self.parameters(net).entries();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (i, e) in all.iter().enumerate().filter(|(_, e)| which(e)) {
            let (start, end) = (e.range.start, all.get(i + 1).map_or(self.parameters(net).len(), |e| e.range.start));
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        if ranges.is_empty() {
            let network = &self.parameters(net).network;
            invalid!("weight decay of network {network}: none of its {} parameters was picked", all.len());
        }
        let (input, output) = match how {
            Decay::L2 => (params, self.whole(net, Whole::Grads)?),
            Decay::Decoupled { schedule, .. } => {
                schedule.check()?;
                (self.state(net, "steps", Shape::SCALAR, self.dtype().exact())?, params)
            }
        };
        self.record_into(WeightDecay { how, decay, ranges }, vec![input], vec![output]);
        Ok(())
    }
}

impl Operation for WeightDecay {
    const NAME: &'static str = "weight_decay";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// The gradients, or the parameters.
    fn updates(&self) -> Range<usize> {
        0..1
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([from, ..], [to, ..]) = (a.inputs, a.outputs);
        for range in self.ranges.clone() {
            match self.how {
                Decay::L2 => {
                    let decay = T::of(self.decay);
                    let params = from[range.clone()].par_chunks(CHUNK);
                    to[range].par_chunks_mut(CHUNK).zip(params).for_each(|(g, p)| {
                        g.iter_mut().zip(p).for_each(|(g, p)| *g += decay * *p);
                    });
                }
                Decay::Decoupled { lr, schedule } => {
                    // Subtracted, since 1 less so small a share has few digits of it left.
                    let share = T::of(lr * schedule.factor(from[0].f64()) * self.decay);
                    to[range].par_chunks_mut(CHUNK).for_each(|p| p.iter_mut().for_each(|p| *p -= share * *p));
                }
            }
        }
    }
}
