//! Which convolutions leave something for the instance norm right behind them.

use super::Op;
use crate::engine::toolkit::cuda::{NormInput, Target};

/// What `op` leaves for `next`, which reads its result.
pub fn of(op: &Op, next: &Op, t: &Target) -> Option<NormInput> {
    let Op::InstanceNorm(norm) = next else { return None };
    let (tiling, moments, count) = match op {
        Op::Conv2d(conv) => (conv.plain_tiling(t)?, Some(conv.moments(t)), conv.sizes.output().len()),
        Op::ConvTranspose2d(conv) => (conv.tiling(t), conv.moments(t), conv.sizes.input().len()),
        _ => return None,
    };
    if tiling.splits > 1 {
        // A larger map is split over blocks that each would have to add and write first.
        return norm.in_one_launch(t).then_some(NormInput::Parts { splits: tiling.splits, count });
    }
    moments.filter(|m| norm.gains_from(m, t)).map(NormInput::Moments)
}
