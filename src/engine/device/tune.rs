//! Measures how a program's convolutions are best cut on a device.
//!
//! Each is measured by itself, with the addition of its splits, reading the same memory again and again: what it reads
//! may lie in the L2 cache, which is less often so within a whole program.

use super::{Backend, Cost};
use crate::engine::ops::conv2d::cuda as conv2d;
use crate::engine::ops::{Op, case};
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape, Tensor};
use crate::engine::toolkit::cuda::tiling::{Choice, Product, Variant};
use crate::engine::toolkit::cuda::{Choices, Number, Target, Tuned};
use crate::{Result, invalid};
use std::collections::BTreeMap;

/// A product of some program's convolutions, and a program of it alone.
pub struct Work {
    /// What it multiplies.
    pub number: Number,
    pub product: Product,
    /// How many times the programs compute it.
    pub uses: usize,
    tape: Tape,
    inputs: Vec<Var>,
}

/// What measuring came to.
pub struct Outcome {
    /// What was in use before, and its cost: seconds, on the emulator warp instructions.
    pub old: Tuned,
    pub best: Tuned,
    pub measured: usize,
}

/// A choice must be faster than the one in use by more than what two measurements of the same differ by, and by no less than this.
const NOISE: f64 = 0.02;
/// Numbers of splits that differ enough to be worth measuring.
const SPLITS: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/// The product of an op in a program that is computed in `number`, and what it multiplies.
fn product(op: &Op, number: Number) -> Option<(Number, Product)> {
    let product = match op {
        Op::Conv2d(o) => conv2d::forward(&o.sizes),
        Op::Conv2dBwdInput(o) => conv2d::bwd_input(&o.sizes),
        Op::Conv2dBwdWeight(o) => conv2d::bwd_weight(&o.sizes),
        Op::ConvTranspose2d(o) => o.product(),
        Op::Conv2dInt8(o) => return Some((Number::Int8, o.product())),
        _ => return None,
    };
    Some((number.real(), product))
}

/// The distinct products of these programs, which are computed in `number`.
pub fn products(tapes: &[Tape], number: Number) -> Result<Vec<Work>> {
    let mut all: BTreeMap<(Number, Product), Work> = BTreeMap::new();
    for tape in tapes {
        for record in tape.records() {
            let Some((number, product)) = product(&record.op, number) else { continue };
            if let Some(known) = all.get_mut(&(number, product)) {
                known.uses += 1;
                continue;
            }
            let (alone, inputs) = tape.alone(record)?;
            all.insert((number, product), Work { number, product, uses: 1, tape: alone, inputs });
        }
    }
    Ok(all.into_values().collect())
}

impl Work {
    /// What is measured: the choice in use, the best of every variant by the model, then the model's next, `most` in all.
    fn candidates(&self, t: &Target, most: usize) -> Vec<Choice> {
        let used = self.product.tiling(t);
        let mut chosen = vec![Choice { variant: used.variant, splits: used.splits }];
        let by_model: Vec<Choice> = self.product.candidates(t).into_iter().map(|(c, _)| c).collect();
        let best = |v: Variant| by_model.iter().position(|c| c.variant == v);
        let mut firsts: Vec<usize> = Variant::ALL.into_iter().filter_map(best).collect();
        firsts.sort();
        let others = by_model.iter().filter(|c| SPLITS.contains(&c.splits)).copied();
        for c in firsts.into_iter().map(|i| by_model[i]).chain(others) {
            if chosen.len() < most.max(1) && !chosen.contains(&c) {
                chosen.push(c);
            }
        }
        chosen
    }

    /// Measures up to `candidates` choices, each `repetitions` times.
    pub fn measure(&self, backend: &Backend, candidates: usize, repetitions: usize) -> Result<Outcome> {
        let Some(target) = backend.target()? else { invalid!("{backend} has no kernels to choose from") };
        let candidates = self.candidates(&Target { number: self.number, ..target }, candidates);
        let values: Vec<Vec<u8>> = self.inputs.iter().map(|v| self.values(*v)).collect();
        let cost_of = |choice: &Choice| {
            let mut session =
                Backend { choices: Choices::Forced(*choice), ..backend.clone() }.open(self.tape.clone())?;
            for (v, bytes) in self.inputs.iter().zip(&values) {
                session.write_bytes(*v, bytes)?;
            }
            let costs = session.profile(repetitions)?.into_iter().map(|p| amount(p.cost));
            Ok(Tuned { choice: *choice, cost: costs.sum() })
        };
        let tuned: Vec<Tuned> = candidates.iter().map(cost_of).collect::<Result<_>>()?;
        // What is in use is measured first and last: a card whose clock moved in between is no reason for a change.
        let [first, last] = [tuned[0], cost_of(&candidates[0])?];
        let old = if last.cost < first.cost { last } else { first };
        let fastest = tuned.iter().copied().min_by(|a, b| a.cost.total_cmp(&b.cost)).unwrap_or(old);
        let noise = NOISE.max((first.cost / last.cost - 1.0).abs());
        let best = if fastest.cost < old.cost * (1.0 - noise) { fastest } else { old };
        Ok(Outcome { old, best, measured: tuned.len() })
    }

    /// Something to multiply: zeros would spare the card power, and so raise its clock.
    fn values(&self, v: Var) -> Vec<u8> {
        const PERIOD: usize = 1 << 16;
        let (info, mut numbers) = (self.tape.info(v), case::uniform("tune", PERIOD));
        match info.dtype {
            DType::U8 => numbers.iter_mut().for_each(|x| *x = (*x + 1.0) * 128.0),
            DType::I8 => numbers.iter_mut().for_each(|x| *x *= 128.0),
            _ => {}
        }
        let some = Tensor::rounded(Shape::vector(PERIOD), info.dtype, numbers);
        some.bytes().iter().copied().cycle().take(info.shape.len() * info.dtype.size()).collect()
    }
}

/// Median seconds, or warp instructions.
fn amount(cost: Cost) -> f64 {
    match cost {
        Cost::Seconds(mut s) => {
            s.sort_by(f64::total_cmp);
            s.get(s.len() / 2).copied().unwrap_or(f64::INFINITY)
        }
        Cost::Counters(c) => c.total() as f64,
    }
}
