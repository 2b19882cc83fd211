//! How an op runs on a device: settled once, when its program is planned, for its launches and its neighbours' to read.

use super::SideOutput;
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

/// How an op runs, whatever stands beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    pub cut: Cut,
    /// Bytes of scratch memory its launches need.
    pub scratch: usize,
    /// What it can leave for the record right behind it.
    pub offers: Option<SideOutput>,
}

impl Schedule {
    /// Offers nothing.
    pub fn new(cut: Cut, scratch: usize) -> Self {
        Schedule { cut, scratch, offers: None }
    }

    /// A product, with room for the partial sums of its splits.
    pub fn product(tiling: Tiling) -> Self {
        Schedule::new(Cut::Product(tiling), tiling.workspace())
    }

    /// As sizes alone say, with so many bytes.
    pub fn scratch(scratch: usize) -> Self {
        Schedule::new(Cut::Plain, scratch)
    }
}
