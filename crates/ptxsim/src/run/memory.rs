//! Device memory at made-up addresses: words that block threads share, and one bit per byte that says whether anyone
//! has written it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytemuck::allocation::try_zeroed_vec;

use crate::error::MemoryError;
use crate::run::heap::Heap;

/// Where allocations begin. Far from 0 and from the windows of shared and local memory.
const FIRST: u64 = 0x10_0000_0000;
/// Unmapped bytes between two allocations, at least.
const GUARD: u64 = 1 << 16;
/// As `cudaMalloc`.
const ALIGN: u64 = 256;
/// What memory that nobody wrote reads as (a NaN in f32, f16 and bf16).
const POISON: u8 = 0xff;

/// Device memory: allocations with unmapped gaps between them, at 64-bit addresses that are never 0.
///
/// Fresh memory is *unwritten*: a kernel that reads it is stopped (see [`Options`](crate::Options)), and it holds the
/// pattern `0xff`. Host reads are not checked; [`Memory::unwritten`] tells what is left to write.
///
/// ```
/// let mut memory = ptxsim::Memory::new(1 << 20);
/// let at = memory.alloc(8)?;
/// assert_eq!(memory.unwritten(at..at + 8), Some(at));
/// memory.write(at, &[1, 2, 3, 4])?;
/// let mut bytes = [0; 4];
/// memory.read(at, &mut bytes)?;
/// assert_eq!((bytes, memory.unwritten(at..at + 8)), ([1, 2, 3, 4], Some(at + 4)));
/// memory.free(at)?;
/// assert!(memory.read(at, &mut bytes).is_err());
/// # Ok::<(), ptxsim::MemoryError>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
    used: u64,
    capacity: u64,
    pub(crate) heap: Option<Heap>,
}

/// One allocation. All accesses are relaxed atomics: blocks of a launch run on several threads.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub size: u64,
    /// As [`get`] reads them.
    words: Vec<AtomicU32>,
    /// One bit per byte: 32 bytes per element.
    written: Vec<AtomicU32>,
}

impl Memory {
    /// Memory of `capacity` bytes in all, none of it allocated.
    pub fn new(capacity: u64) -> Memory {
        Memory::starting_at(FIRST, capacity)
    }

    /// The same at addresses from `first` on (at least 2^36, a multiple of 256), for programs with several of them. Addresses are never used
    /// twice, so a long run walks through far more of them than `capacity`.
    pub fn starting_at(first: u64, capacity: u64) -> Memory {
        Memory { allocations: BTreeMap::new(), next: first, used: 0, capacity, heap: None }
    }

    /// Allocates `bytes` (0 gives a valid, empty allocation), aligned to 256, unwritten. It takes the machine's memory as it is touched.
    pub fn alloc(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        let left = self.capacity - self.used;
        if bytes > left {
            return Err(MemoryError::Full { asked: bytes, left, capacity: self.capacity });
        }
        let base = self.next;
        let allocation = Allocation::new(base, bytes)?;
        self.next = (base + bytes + GUARD).next_multiple_of(ALIGN);
        self.used += bytes;
        self.allocations.insert(base, allocation);
        Ok(base)
    }

    /// Frees an allocation by its first address.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let gone = self.allocations.remove(&address).ok_or(MemoryError::NotAllocated { address, len: 0 })?;
        self.used -= gone.size;
        Ok(())
    }

    /// Gives kernels' `malloc` so many bytes to take from, if it has none yet. Without them it gives them null.
    pub fn reserve_heap(&mut self, bytes: u64) -> Result<(), MemoryError> {
        if self.heap.is_none() {
            let at = self.alloc(bytes)?;
            self.heap = Some(Heap::new(at..at + bytes));
        }
        Ok(())
    }

    /// Makes memory at an address of the caller's choice, none of these allocations' and not counted among them: it stands for memory
    /// that a kernel can reach beside the device's own.
    pub fn map(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let len = bytes.len() as u64;
        let before = self.allocations.range(..address.saturating_add(len)).next_back();
        if before.is_some_and(|(start, a)| start + a.size > address) {
            return Err(MemoryError::Taken { address, len });
        }
        let allocation = Allocation::new(address, len)?;
        allocation.write(0, bytes);
        self.allocations.insert(address, allocation);
        Ok(())
    }

    /// Ends what [`Memory::map`] made; its bytes as they are now.
    pub fn unmap(&mut self, address: u64) -> Result<Vec<u8>, MemoryError> {
        let gone = self.allocations.remove(&address).ok_or(MemoryError::NotAllocated { address, len: 0 })?;
        let mut bytes = vec![0; gone.size as usize];
        gone.read(0, &mut bytes);
        Ok(bytes)
    }

    /// Bytes there are in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes allocated now.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// All allocations, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.allocations.values().map(|a| a.base..a.base + a.size)
    }

    pub(crate) fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.values()
    }

    fn find(&self, address: u64, len: u64) -> Result<(&Allocation, usize), MemoryError> {
        let outside = MemoryError::NotAllocated { address, len };
        let Some((_, a)) = self.allocations.range(..=address).next_back() else { return Err(outside) };
        let offset = address - a.base;
        if offset > a.size || len > a.size - offset {
            return Err(outside);
        }
        Ok((a, offset as usize))
    }

    /// Copies from the host.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let (a, offset) = self.find(address, bytes.len() as u64)?;
        a.write(offset, bytes);
        Ok(())
    }

    /// Copies to the host, whether written or not.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let (a, offset) = self.find(address, bytes.len() as u64)?;
        a.read(offset, bytes);
        Ok(())
    }

    /// Copies `len` bytes on the device; what is unwritten in the source becomes unwritten in the target.
    pub fn copy(&self, from: u64, to: u64, len: u64) -> Result<(), MemoryError> {
        let (source, at) = self.find(from, len)?;
        let (target, to) = self.find(to, len)?;
        let mut bytes = vec![0; len as usize];
        source.read(at, &mut bytes);
        let written: Vec<bool> = (0..len as usize).map(|i| source.is_written(at + i, 1)).collect();
        target.write(to, &bytes);
        let mut i = 0;
        while i < written.len() {
            let run = written[i..].iter().take_while(|&&w| w == written[i]).count();
            if !written[i] {
                target.poison(to + i, run);
            }
            i += run;
        }
        Ok(())
    }

    /// Makes a range unwritten again, as after [`Memory::alloc`].
    pub fn poison(&self, range: Range<u64>) -> Result<(), MemoryError> {
        let len = range.end.saturating_sub(range.start);
        let (a, offset) = self.find(range.start, len)?;
        a.poison(offset, len as usize);
        Ok(())
    }

    /// Fills a range with zeros.
    pub fn zero(&self, range: Range<u64>) -> Result<(), MemoryError> {
        let len = range.end.saturating_sub(range.start);
        let (a, offset) = self.find(range.start, len)?;
        a.write(offset, &vec![0; len as usize]);
        Ok(())
    }

    /// The first address in the range that nobody has written (or that is not allocated).
    pub fn unwritten(&self, range: Range<u64>) -> Option<u64> {
        let start = range.start;
        self.first_unwritten(range).unwrap_or(Some(start))
    }

    /// The first address in the range that nobody has written.
    pub(crate) fn first_unwritten(&self, range: Range<u64>) -> Result<Option<u64>, MemoryError> {
        let len = range.end.saturating_sub(range.start);
        let (a, offset) = self.find(range.start, len)?;
        Ok(a.first_unwritten(offset, len as usize).map(|at| a.base + at as u64))
    }
}

/// Zeros, which take no memory of the machine before they are touched.
fn zeroed(len: usize) -> Option<Vec<AtomicU32>> {
    try_zeroed_vec(len).ok()
}

/// A word of memory. Cells hold complements: what the system zeroes reads as nobody wrote it.
#[inline(always)]
pub(crate) fn get(cell: &AtomicU32) -> u32 {
    !cell.load(Relaxed)
}

#[inline(always)]
pub(crate) fn set(cell: &AtomicU32, value: u32) {
    cell.store(!value, Relaxed);
}

/// The bits of bytes `from..to` in one element.
pub(crate) fn bits(from: usize, to: usize) -> u32 {
    (((1u64 << (to - from)) - 1) << from) as u32
}

impl Allocation {
    pub fn new(base: u64, size: u64) -> Result<Allocation, MemoryError> {
        let count = size.div_ceil(4) as usize;
        let (words, written) =
            zeroed(count).zip(zeroed(count.div_ceil(8))).ok_or(MemoryError::Refused { asked: size })?;
        Ok(Allocation { base, size, words, written })
    }

    /// The word at byte offset `4 * index`.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u32 {
        get(&self.words[index])
    }

    #[inline(always)]
    pub fn store(&self, index: usize, value: u32) {
        set(&self.words[index], value);
    }

    /// Cells from that word on.
    #[inline(always)]
    pub fn words(&self, index: usize, n: usize) -> &[AtomicU32] {
        &self.words[index..index + n]
    }

    /// Whether `len` (at most 16, aligned to itself) bytes are written.
    #[inline(always)]
    pub fn is_written(&self, offset: usize, len: usize) -> bool {
        let want = (((1u64 << len) - 1) as u32) << (offset % 32);
        self.written[offset / 32].load(Relaxed) & want == want
    }

    pub fn first_unwritten(&self, offset: usize, len: usize) -> Option<usize> {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let stop = end.min((at / 32 + 1) * 32);
            let missing = !self.written[at / 32].load(Relaxed) & bits(at % 32, stop - at / 32 * 32);
            if missing != 0 {
                return Some(at / 32 * 32 + missing.trailing_zeros() as usize);
            }
            at = stop;
        }
        None
    }

    /// Marks `len` bytes from `offset` as written.
    #[inline]
    pub fn mark(&self, offset: usize, len: usize) {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let stop = end.min((at / 32 + 1) * 32);
            let mask = bits(at % 32, stop - at / 32 * 32);
            let cell = &self.written[at / 32];
            // The plain load spares a locked instruction where nothing changes.
            if cell.load(Relaxed) & mask != mask {
                cell.fetch_or(mask, Relaxed);
            }
            at = stop;
        }
    }

    pub fn poison(&self, offset: usize, len: usize) {
        self.write(offset, &vec![POISON; len]);
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let stop = end.min((at / 32 + 1) * 32);
            self.written[at / 32].fetch_and(!bits(at % 32, stop - at / 32 * 32), Relaxed);
            at = stop;
        }
    }

    /// Stores 1 or 2 bytes (in the low bits of `value`) inside a word.
    pub fn store_part(&self, offset: usize, len: usize, value: u32) {
        let shift = offset % 4 * 8;
        let mask = (((1u64 << (len * 8)) - 1) as u32) << shift;
        self.update(offset / 4, |old| old & !mask | (value << shift) & mask);
    }

    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at;
            if place.is_multiple_of(4) && bytes.len() - at >= 4 {
                let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
                self.store(place / 4, u32::from_le_bytes(word));
                at += 4;
            } else {
                self.store_part(place, 1, bytes[at].into());
                at += 1;
            }
        }
        self.mark(offset, bytes.len());
    }

    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at;
            if place.is_multiple_of(4) && bytes.len() - at >= 4 {
                bytes[at..at + 4].copy_from_slice(&self.word(place / 4).to_le_bytes());
                at += 4;
            } else {
                bytes[at] = (self.word(place / 4) >> (place % 4 * 8)) as u8;
                at += 1;
            }
        }
    }

    /// Applies `f` to the word at byte offset `4 * index` in one step; returns the old value.
    pub fn update(&self, index: usize, mut f: impl FnMut(u32) -> u32) -> u32 {
        let cell = &self.words[index];
        let mut old = cell.load(Relaxed);
        loop {
            match cell.compare_exchange_weak(old, !f(!old), Relaxed, Relaxed) {
                Ok(_) => return !old,
                Err(now) => old = now,
            }
        }
    }
}
