//! The host's side of addresses: page-locked memory, and the range that device addresses are taken from, which the host
//! cannot touch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::report::Call;

/// Addresses reserved for all cards. Never used twice, so it is a long program's.
const RESERVED: u64 = 1 << 43;
const PAGE: usize = 4096;

/// A range of addresses in which every access of the host faults.
pub fn reserve() -> Option<Range<u64>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the system's choice touches nothing that is there.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), RESERVED as usize, libc::PROT_NONE, flags, -1, 0) };
    (at != libc::MAP_FAILED).then(|| at as u64..at as u64 + RESERVED)
}

/// Page-locked memory by its first address.
#[derive(Default)]
pub struct Locked(BTreeMap<u64, Stretch>);

struct Stretch {
    bytes: usize,
    /// Ours to unmap; else the program's own, registered.
    mapped: bool,
    call: Arc<Call>,
}

impl Locked {
    /// New memory, of whole pages of its own: what is freed faults when it is touched.
    pub fn allocate(&mut self, bytes: usize, call: Arc<Call>) -> Option<*mut u8> {
        let bytes = bytes.next_multiple_of(PAGE);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: as in `reserve`.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return None;
        }
        self.0.insert(at as u64, Stretch { bytes, mapped: true, call });
        Some(at.cast())
    }

    /// Locks memory of the program's own. False: some of it is locked.
    pub fn register(&mut self, at: u64, bytes: usize, call: Arc<Call>) -> bool {
        let clash = self
            .0
            .range(..at.saturating_add(bytes as u64))
            .next_back()
            .is_some_and(|(&start, r)| start + r.bytes as u64 > at);
        if !clash {
            self.0.insert(at, Stretch { bytes, mapped: false, call });
        }
        !clash
    }

    /// Frees what begins here and was made (or registered) so. False: there is no such memory.
    pub fn free(&mut self, at: u64, mapped: bool) -> bool {
        match self.0.get(&at) {
            Some(range) if range.mapped == mapped => {
                if mapped {
                    // SAFETY: mapped by `allocate` with this length; the program gave it back.
                    unsafe { libc::munmap(at as *mut libc::c_void, range.bytes) };
                }
                self.0.remove(&at);
                true
            }
            _ => false,
        }
    }

    /// Whether all of these bytes are page-locked.
    pub fn holds(&self, at: u64, bytes: u64) -> bool {
        self.start_of(at).is_some_and(|(start, len)| bytes <= start + len - at)
    }

    /// First address and length of the memory that an address lies in.
    pub fn start_of(&self, at: u64) -> Option<(u64, u64)> {
        let (&start, range) = self.0.range(..=at).next_back()?;
        let len = range.bytes as u64;
        (at < start + len).then_some((start, len))
    }

    /// What was made and never freed.
    pub fn left(&self) -> impl Iterator<Item = (u64, usize, &Call)> {
        self.0.iter().map(|(at, r)| (*at, r.bytes, &*r.call))
    }
}
