//! Host memory that kernels use: page-locked and managed memory is lent to the card while a kernel runs, at its own addresses.

use std::ops::Range;

use crate::driver::Driver;
use crate::host::Kind;
use crate::report::found;
use crate::work::{Pitched, Place, Work};

/// Lent memory begins at multiples of this.
const ALIGN: u64 = 16;

/// Host memory that a kernel can reach: its first address, and its bytes before the kernel ran.
pub struct Lent(Vec<(u64, Vec<u8>)>);

impl Driver {
    /// What a kernel may use: all managed memory, and page-locked memory that a parameter points into.
    fn reachable(&self, params: &[u8]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = self.locked.managed().collect();
        for word in params.chunks_exact(8) {
            let at = word.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
            ranges.extend(self.locked.start_of(at));
        }
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    /// Whether work uses some of these bytes of page-locked or managed memory.
    pub fn uses_host(&self, work: &Work, bytes: &Pitched) -> bool {
        match work {
            Work::Copy { from, to, shape } => {
                matches!(from, Place::Host(at) if shape.source(*at).touches(bytes))
                    || matches!(to, Place::Host(at) if shape.target(*at).touches(bytes))
            }
            Work::Fill { at, size, width, rows, pitch, .. } => {
                Pitched::new(*at, width * u64::from(*size), *rows, *pitch).touches(bytes)
            }
            Work::Kernel(kernel) => {
                self.reachable(&kernel.params).iter().any(|(at, len)| Pitched::line(*at, *len).touches(bytes))
            }
            _ => false,
        }
    }

    /// Lends a card what a kernel may use.
    pub fn lend(&mut self, card: usize, params: &[u8]) -> Lent {
        let mut lent = vec![];
        for (start, len) in self.reachable(params) {
            // Bytes before it in the same 16 are in the same page, so they are there, too.
            let first = start / ALIGN * ALIGN;
            // SAFETY: page-locked or managed memory that the program has not given back.
            let bytes = unsafe { std::slice::from_raw_parts(first as *const u8, (start + len - first) as usize) };
            if self.cards[card].memory.map(first, bytes).is_ok() {
                lent.push((first, bytes.to_vec()));
            }
        }
        Lent(lent)
    }

    /// Takes it back, with what the kernel changed.
    pub fn take_back(&mut self, card: usize, lent: Lent) {
        for (first, before) in lent.0 {
            let Ok(after) = self.cards[card].memory.unmap(first) else { continue };
            let changed = |(old, new): (&u8, &u8)| old != new;
            let Some(start) = before.iter().zip(&after).position(changed) else { continue };
            self.host_changes(&Pitched::line(first, after.len() as u64));
            for (i, byte) in after.iter().enumerate().skip(start).filter(|(i, byte)| before[*i] != **byte) {
                // SAFETY: as in `lend`; what the kernel left alone may be changed by the program at this time.
                unsafe { ((first as usize + i) as *mut u8).write(*byte) };
            }
        }
    }

    /// Lets go of page-locked or managed memory that the program gives back. What is queued and uses it is done before, since the
    /// memory is there no longer afterwards; that the program has not waited for it is reported.
    pub fn let_go(&mut self, start: u64, bytes: u64) {
        let users = self.queue.users(|work| self.uses_host(work, &Pitched::line(start, bytes)));
        self.noting |= !self.queue.is_reached(&users);
        self.reach(&users);
        self.freed_in_use(start..start + bytes);
    }

    /// Whether work needs more of the program than what it was given by this driver: its functions, its own memory.
    pub fn uses_program(&self, work: &Work) -> bool {
        let own = |at: u64| self.locked.at(at).is_some_and(|(_, stretch)| stretch.kind == Kind::Registered);
        match work {
            Work::Call(_) => true,
            Work::Copy { from, to, .. } => [from, to].iter().any(|place| match place {
                Place::Host(at) => own(*at),
                Place::Pageable(_) => true,
                Place::Device(_) | Place::Taken(_) => false,
            }),
            Work::Fill { at, .. } => own(*at),
            Work::Kernel(kernel) => self.reachable(&kernel.params).iter().any(|(at, _)| own(*at)),
            _ => false,
        }
    }

    /// Reports work that was done on memory which is freed, if the program has not waited for it.
    pub fn freed_in_use(&mut self, bytes: Range<u64>) {
        if let Some((what, call)) = self.touched.forget(bytes.clone(), self.queue.host()) {
            let text = format!(
                "{}: {what} uses {:#x}, and nobody has waited for it; it was submitted by",
                self.name, bytes.start
            );
            found(&text, &[&call, &self.here()]);
        }
    }

    /// The host's bytes change by work that was submitted: what is copied up from there is what this leaves.
    pub fn host_changes(&mut self, bytes: &Pitched) {
        for other in self.queue.items() {
            if let Work::Copy { from: Place::Host(start), shape, .. } = &*other.work
                && shape.source(*start).touches(bytes)
            {
                other.digest = None;
            }
        }
    }
}
