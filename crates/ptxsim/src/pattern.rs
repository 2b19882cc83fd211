//! Address patterns of a warp's accesses: bank conflicts, sectors and duplicates, computed once per pattern. The same
//! instruction mostly repeats its pattern at another base address.

/// Pattern of a shared access.
pub struct SharedPattern {
    mask: u32,
    size: u32,
    base: u32,
    deltas: [u32; 32],
    /// Lanes with distinct addresses; true: other lanes have the same.
    runs: [(u8, bool); 32],
    count: usize,
    pub wavefronts: u32,
    pub conflicts: u32,
}

impl Default for SharedPattern {
    fn default() -> Self {
        SharedPattern {
            mask: 0,
            size: 0,
            base: 0,
            deltas: [0; 32],
            runs: [(0, false); 32],
            count: 0,
            wavefronts: 0,
            conflicts: 0,
        }
    }
}

impl SharedPattern {
    /// `addrs` of lanes outside `mask` equal that of some lane inside.
    #[inline]
    pub fn update(&mut self, addrs: &[u32; 32], mask: u32, size: u32) {
        let mut different = (self.mask ^ mask) | (self.size ^ size) | (self.base ^ addrs[0] & 127);
        for i in 0..32 {
            different |= addrs[i].wrapping_sub(addrs[0]) ^ self.deltas[i];
        }
        if different != 0 {
            self.analyse(addrs, mask, size);
        }
    }

    pub fn runs(&self) -> &[(u8, bool)] {
        &self.runs[..self.count]
    }

    #[cold]
    fn analyse(&mut self, addrs: &[u32; 32], mask: u32, size: u32) {
        (self.mask, self.size, self.base) = (mask, size, addrs[0] & 127);
        self.deltas = addrs.map(|a| a.wrapping_sub(addrs[0]));
        self.count = 0;
        for lane in (0..32).filter(|l| mask >> l & 1 != 0) {
            let runs = &mut self.runs[..self.count];
            match runs.iter_mut().find(|(first, _)| addrs[*first as usize] == addrs[lane]) {
                Some(run) => run.1 = true,
                None => {
                    self.runs[self.count] = (lane as u8, false);
                    self.count += 1;
                }
            }
        }
        // 8-byte accesses go half a warp at a time, 16-byte ones a quarter.
        let lanes = (128 / size.max(4)) as usize;
        (self.wavefronts, self.conflicts) = (0, 0);
        for phase in (0..32).step_by(lanes) {
            let members = (phase..phase + lanes).filter(|l| mask >> l & 1 != 0);
            let words = members.flat_map(|l| (addrs[l] / 4..addrs[l] / 4 + size.div_ceil(4)).collect::<Vec<_>>());
            let passes = passes(words);
            self.wavefronts += passes;
            self.conflicts += passes.saturating_sub(1);
        }
    }
}

/// The most distinct words that fall into one of the 32 banks.
fn passes(words: impl Iterator<Item = u32>) -> u32 {
    let mut words: Vec<u32> = words.collect();
    words.sort_unstable();
    words.dedup();
    let mut banks = [0; 32];
    for word in words {
        banks[word as usize % 32] += 1;
    }
    banks.into_iter().max().unwrap_or(0)
}

/// Passes over the banks for one 8x8 matrix of `ldmatrix`: eight rows of 16 bytes.
pub fn matrix_passes(rows: &[u32]) -> u32 {
    passes(rows.iter().flat_map(|r| r / 4..r / 4 + 4))
}

/// Pattern of a global access.
pub struct GlobalPattern {
    mask: u32,
    size: u32,
    base: u32,
    deltas: [u32; 32],
    pub sectors: u32,
    pub ideal: u32,
}

impl Default for GlobalPattern {
    fn default() -> Self {
        GlobalPattern { mask: 0, size: 0, base: 0, deltas: [0; 32], sectors: 0, ideal: 0 }
    }
}

impl GlobalPattern {
    #[inline]
    pub fn update(&mut self, addrs: &[u64; 32], mask: u32, size: u32) {
        let base = addrs[0] as u32 & 31;
        let mut different = (self.mask ^ mask) | (self.size ^ size) | (self.base ^ base);
        let mut far = 0;
        for i in 0..32 {
            let delta = addrs[i].wrapping_sub(addrs[0]);
            different |= delta as u32 ^ self.deltas[i];
            // Deltas beyond 32 bits (either sign) are not told apart by their low half.
            far |= (delta as i64 >> 31) as u32 ^ ((delta as i32) >> 31) as u32;
        }
        if different | far != 0 {
            (self.mask, self.size, self.base) = (mask, size, base);
            self.deltas = addrs.map(|a| a.wrapping_sub(addrs[0]) as u32);
            (self.sectors, self.ideal) = sectors(addrs, mask, size);
        }
    }
}

/// Distinct 32-byte sectors, and the least number that could hold the distinct bytes.
fn sectors(addrs: &[u64; 32], mask: u32, size: u32) -> (u32, u32) {
    let mut list: Vec<u64> = (0..32).filter(|l| mask >> l & 1 != 0).map(|l| addrs[l]).collect();
    list.sort_unstable();
    list.dedup();
    let bytes = list.len() as u32 * size;
    // Accesses are aligned to their size, at most 16 bytes: one sector each.
    let mut sectors: Vec<u64> = list.into_iter().map(|a| a / 32).collect();
    sectors.dedup();
    (sectors.len() as u32, bytes.div_ceil(32))
}
