//! What is decided of an op when its program is planned: once, for its launches and its neighbours' to read.

use super::tiling::Tiling;

/// How an op's work is cut into blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cut {
    /// As its sizes alone say.
    #[default]
    Plain,
    /// A matrix product.
    Product(Tiling),
    /// The rows and channels of an instance norm.
    Spread(Spread),
    /// A reduction in so many parts.
    Parts(usize),
}

/// How one image's rows and channels are spread over blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Packs of channels side by side in a block.
    pub lanes: u32,
    /// Blocks that all channels of all images take.
    pub slabs: u32,
    /// Blocks that share the rows; one if a block holds all of them at once.
    pub splits: u32,
    pub split_rows: u32,
}

/// An op's cut, and bytes of scratch memory its launches need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decided {
    pub cut: Cut,
    pub scratch: usize,
}

impl Decided {
    /// A product, with room for the partial sums of its splits.
    pub fn product(tiling: Tiling) -> Self {
        Decided { cut: Cut::Product(tiling), scratch: tiling.workspace() }
    }

    /// As sizes alone say, with so many bytes.
    pub fn scratch(scratch: usize) -> Self {
        Decided { cut: Cut::Plain, scratch }
    }
}
