//! Which convolutions leave something for the instance norm right behind them.

use super::Op;
use crate::engine::toolkit::cuda::{Cut, NormInput, Number};

/// What an op, cut so, leaves for the next, which reads its result and is cut so.
pub fn of((op, cut): (&Op, &Cut), (next, of_next): (&Op, &Cut), number: Number) -> Option<NormInput> {
    let (Op::InstanceNorm(norm), Cut::Product(tiling), Cut::Spread(spread)) = (next, cut, of_next) else { return None };
    let (moments, count) = match op {
        Op::Conv2d(conv) if conv.is_plain() => (Some(conv.moments(tiling)), conv.sizes.output().len()),
        Op::ConvTranspose2d(conv) => (conv.moments(tiling), conv.sizes.input().len()),
        _ => return None,
    };
    if tiling.splits > 1 {
        // A larger map is split over blocks that each would have to add and write first.
        return (spread.splits == 1).then_some(NormInput::Parts { splits: tiling.splits, count });
    }
    moments.filter(|m| norm.gains_from(m, spread, number)).map(NormInput::Moments)
}
