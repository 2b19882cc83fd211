//! The host's side of addresses: page-locked memory, and the range that device addresses are taken from, which the host
//! cannot touch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::report::Call;

/// Addresses reserved for all cards: as many as the system gives of these. Never used twice, so it is a long program's.
const RESERVED: [u64; 2] = [1 << 46, 1 << 43];
const PAGE: usize = 4096;

/// A range of addresses in which every access of the host faults.
pub fn reserve() -> Option<Range<u64>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    RESERVED.into_iter().find_map(|bytes| {
        // SAFETY: a new mapping at an address of the system's choice touches nothing that is there.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes as usize, libc::PROT_NONE, flags, -1, 0) };
        (at != libc::MAP_FAILED).then(|| at as u64..at as u64 + bytes)
    })
}

/// Page-locked and managed memory by its first address.
#[derive(Default)]
pub struct Locked(BTreeMap<u64, Stretch>);

/// Whose memory it is, and which call gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemHostAlloc` and its kin.
    Locked,
    /// The program's own, registered.
    Registered,
    /// `cuMemAllocManaged`: kernels use it, too.
    Managed,
}

pub struct Stretch {
    pub bytes: usize,
    pub kind: Kind,
    /// As the program asked for it.
    pub flags: u32,
    call: Arc<Call>,
}

impl Locked {
    /// New memory, of whole pages of its own: what is freed faults when it is touched.
    pub fn allocate(&mut self, bytes: usize, kind: Kind, flags: u32, call: Arc<Call>) -> Option<*mut u8> {
        let pages = bytes.checked_next_multiple_of(PAGE)?;
        let (protection, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: as in `reserve`.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), pages, protection, how, -1, 0) };
        if at == libc::MAP_FAILED {
            return None;
        }
        self.0.insert(at as u64, Stretch { bytes, kind, flags, call });
        Some(at.cast())
    }

    /// Locks memory of the program's own. False: some of it is locked.
    pub fn register(&mut self, at: u64, bytes: usize, flags: u32, call: Arc<Call>) -> bool {
        let clash = self.touches(at, bytes as u64);
        if !clash {
            self.0.insert(at, Stretch { bytes, kind: Kind::Registered, flags, call });
        }
        !clash
    }

    /// Whether any of these bytes is page-locked.
    pub fn touches(&self, at: u64, bytes: u64) -> bool {
        let last = self.0.range(..at.saturating_add(bytes)).next_back();
        last.is_some_and(|(start, stretch)| start + stretch.bytes as u64 > at)
    }

    /// Frees what begins here and was made (or registered) so. False: there is no such memory.
    pub fn free(&mut self, at: u64, kind: Kind) -> bool {
        match self.0.get(&at) {
            Some(range) if range.kind == kind => {
                if kind != Kind::Registered {
                    // SAFETY: mapped by `allocate` with this length; the program gave it back.
                    unsafe { libc::munmap(at as *mut libc::c_void, range.bytes.next_multiple_of(PAGE)) };
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
        self.at(at).map(|(start, stretch)| (start, stretch.bytes as u64))
    }

    /// The memory that an address lies in, and where it begins.
    pub fn at(&self, at: u64) -> Option<(u64, &Stretch)> {
        let (&start, stretch) = self.0.range(..=at).next_back()?;
        (at < start + stretch.bytes as u64).then_some((start, stretch))
    }

    /// First addresses and lengths of all managed memory.
    pub fn managed(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().filter(|(_, s)| s.kind == Kind::Managed).map(|(at, s)| (*at, s.bytes as u64))
    }

    /// What was made and never freed.
    pub fn left(&self) -> impl Iterator<Item = (u64, &Stretch, &Call)> {
        self.0.iter().map(|(at, s)| (*at, s, &*s.call))
    }
}
