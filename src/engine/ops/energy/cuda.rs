//! Launches of the energy terms (kernels/energy.cu).

use super::{Energy, EnergyBwd, Term};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, size32};

impl Energy {
    /// First and last element, the term's number in the kernel, and its margin.
    fn sizes(&self) -> Result<(u32, u32, u32, f32)> {
        let (begin, end) = (size32("energies", self.range.start)?, size32("energies", self.range.end)?);
        Ok(match self.term {
            Term::Low => (begin, end, 0, 0.0),
            Term::High { margin } => (begin, end, 1, margin as f32),
            Term::Real => (begin, end, 2, 0.0),
            Term::Generated => (begin, end, 3, 0.0),
        })
    }
}

impl CudaOperation for Energy {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (begin, end, term, margin) = self.sizes()?;
        let call = kernels::energy_fwd(l.number(), l.output(0), l.input(0), begin, end, term, margin)?;
        l.launch(call, [1, 1, 1], [1024, 1, 1], 0)
    }
}

impl CudaOperation for EnergyBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (begin, end, term, margin) = self.forward.sizes()?;
        let (dy, e, de) = (l.input(0), l.input(1), l.output(0));
        let len = de.elements();
        let lanes = 16 / l.number().storage().size() as u32;
        // A thread for every 16 bytes, and one for every element behind them.
        let threads = len / lanes + len % lanes;
        let call = kernels::energy_bwd(l.number(), de, dy, e, len, begin, end, term, margin)?;
        l.launch(call, [threads.div_ceil(256), 1, 1], [256, 1, 1], 0)
    }
}
