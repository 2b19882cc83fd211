//! Address patterns of a warp's accesses: bank conflicts, sectors and duplicates, computed once per pattern. A kernel
//! has few patterns, which return at ever other base addresses; they are found by their content.

/// Entries of a cache; a power of two.
const SLOTS: usize = 256;

/// What a pattern is told by: lanes, size of an access, base modulo the unit that matters, distances to lane 0.
#[derive(Clone, PartialEq, Eq)]
#[repr(align(64))]
struct Key {
    deltas: [u32; 32],
    mask: u32,
    size: u32,
    base: u32,
}

impl Key {
    const NEVER: Key = Key { deltas: [0; 32], mask: 0, size: 0, base: 0 };

    /// Most patterns are linear in the bits of the lane number: six lanes tell them apart.
    #[inline(always)]
    fn slot(&self) -> usize {
        let d = &self.deltas;
        let factors = [0x9e37_79b1, 0x85eb_ca6b, 0xc2b2_ae35, 0x27d4_eb2f, 0x1656_67b1, 0x2c1b_3c6d_u32];
        let mut hash = self.mask ^ self.size.wrapping_mul(0x3243_f6a9) ^ self.base.wrapping_mul(0x8857_3a4b);
        for (lane, factor) in [1, 2, 4, 8, 16, 31].into_iter().zip(factors) {
            hash = hash.wrapping_add(d[lane].wrapping_mul(factor));
        }
        (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d) as usize >> 20 & (SLOTS - 1)
    }

    #[inline(always)]
    fn same(&self, other: &Key) -> bool {
        let mut different = (self.mask ^ other.mask) | (self.size ^ other.size) | (self.base ^ other.base);
        for i in 0..32 {
            different |= self.deltas[i] ^ other.deltas[i];
        }
        different == 0
    }
}

/// Pattern of a shared access.
#[derive(Clone)]
pub struct SharedPattern {
    key: Key,
    /// Lanes with distinct addresses; true: other lanes have the same.
    runs: [(u8, bool); 32],
    count: usize,
    pub wavefronts: u32,
    pub conflicts: u32,
    /// All 32 lanes, one after the other.
    pub contiguous: bool,
}

impl SharedPattern {
    /// The lanes that take part.
    pub fn mask(&self) -> u32 {
        self.key.mask
    }

    pub fn runs(&self) -> &[(u8, bool)] {
        &self.runs[..self.count]
    }

    /// No two lanes have the same address.
    pub fn distinct(&self) -> bool {
        self.count == self.key.mask.count_ones() as usize
    }

    #[cold]
    fn analyse(key: Key) -> SharedPattern {
        let mut pattern =
            SharedPattern { key, runs: [(0, false); 32], count: 0, wavefronts: 0, conflicts: 0, contiguous: false };
        let Key { deltas, mask, size, base } = pattern.key;
        pattern.contiguous = mask == !0 && deltas.iter().zip(0..).all(|(&d, i)| d == i * size);
        for lane in (0..32).filter(|l| mask >> l & 1 != 0) {
            let runs = &mut pattern.runs[..pattern.count];
            match runs.iter_mut().find(|(first, _)| deltas[*first as usize] == deltas[lane]) {
                Some(run) => run.1 = true,
                None => {
                    pattern.runs[pattern.count] = (lane as u8, false);
                    pattern.count += 1;
                }
            }
        }
        // 8-byte accesses go half a warp at a time, 16-byte ones a quarter.
        let lanes = (128 / size.max(4)) as usize;
        for phase in (0..32).step_by(lanes) {
            let (mut words, mut n) = ([0; 32], 0);
            for lane in (phase..phase + lanes).filter(|l| mask >> l & 1 != 0) {
                let first = base.wrapping_add(deltas[lane]) / 4;
                for word in 0..size.div_ceil(4) {
                    words[n] = first.wrapping_add(word);
                    n += 1;
                }
            }
            let passes = passes(&mut words[..n]);
            pattern.wavefronts += passes;
            pattern.conflicts += passes.saturating_sub(1);
        }
        pattern
    }
}

/// The most distinct words that fall into one of the 32 banks.
fn passes(words: &mut [u32]) -> u32 {
    words.sort_unstable();
    let mut banks = [0; 32];
    for (i, &word) in words.iter().enumerate() {
        banks[word as usize % 32] += u32::from(i == 0 || words[i - 1] != word);
    }
    banks.into_iter().max().unwrap_or(0)
}

pub struct SharedPatterns(Vec<SharedPattern>);

impl SharedPatterns {
    pub fn new() -> SharedPatterns {
        SharedPatterns(vec![SharedPattern::analyse(Key::NEVER); SLOTS])
    }

    /// `addrs` of lanes outside `mask` equal that of some lane inside.
    #[inline]
    pub fn find(&mut self, addrs: &[u32; 32], mask: u32, size: u32) -> &SharedPattern {
        // Only the base modulo all banks matters; keeping it below 128 bytes makes sums wrap alike.
        let mut key = Key { deltas: *addrs, mask, size, base: addrs[0] & 127 };
        for delta in &mut key.deltas {
            *delta = delta.wrapping_sub(addrs[0]);
        }
        let pattern = &mut self.0[key.slot()];
        if !pattern.key.same(&key) {
            *pattern = SharedPattern::analyse(key);
        }
        pattern
    }
}

/// Pattern of a global access.
#[derive(Clone, Copy)]
pub struct GlobalPattern {
    pub sectors: u32,
    pub ideal: u32,
    /// All 32 lanes, one after the other.
    pub contiguous: bool,
}

pub struct GlobalPatterns(Vec<(Key, GlobalPattern)>);

impl GlobalPatterns {
    pub fn new() -> GlobalPatterns {
        GlobalPatterns(vec![(Key::NEVER, GlobalPattern { sectors: 0, ideal: 0, contiguous: false }); SLOTS])
    }

    #[inline]
    pub fn find(&mut self, addrs: &[u64; 32], mask: u32, size: u32) -> GlobalPattern {
        let first = addrs[0];
        let mut far = 0;
        let mut deltas = [0; 32];
        for i in 0..32 {
            let delta = addrs[i].wrapping_sub(first);
            deltas[i] = delta as u32;
            // Distances that 32 bits cannot hold are not told apart by their low half.
            far |= delta ^ delta as i32 as u64;
        }
        let key = Key { deltas, mask, size, base: first as u32 & 31 };
        let (known, pattern) = &mut self.0[key.slot()];
        if !known.same(&key) || far != 0 {
            let (sectors, ideal) = sectors(addrs, mask, size);
            let contiguous = mask == !0 && (0..32).all(|i| addrs[i] == first.wrapping_add(i as u64 * u64::from(size)));
            *known = if far != 0 { Key::NEVER } else { key };
            *pattern = GlobalPattern { sectors, ideal, contiguous };
        }
        *pattern
    }
}

/// Distinct 32-byte sectors, and the least number that could hold the distinct bytes.
#[cold]
fn sectors(addrs: &[u64; 32], mask: u32, size: u32) -> (u32, u32) {
    let mut list = *addrs;
    let mut n = 0;
    for lane in (0..32).filter(|l| mask >> l & 1 != 0) {
        list[n] = addrs[lane];
        n += 1;
    }
    let list = &mut list[..n];
    list.sort_unstable();
    let (mut places, mut sectors) = (0, 0);
    for (i, a) in list.iter().enumerate() {
        places += u32::from(i == 0 || list[i - 1] != *a);
        // Accesses are aligned to their size, at most 16 bytes: one sector each.
        sectors += u32::from(i == 0 || list[i - 1] / 32 != a / 32);
    }
    (sectors, (places * size).div_ceil(32))
}
