//! One warp: registers, lanes that run together, lanes that wait elsewhere, asynchronous copies under way.

use crate::lower::op::{D, Regs, Routine, W};
use crate::text::ty::Bank;

/// Lanes at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub pc: u32,
    pub mask: u32,
    /// Waits at a warp-synchronous instruction for the warp's other lanes.
    pub parked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    /// At the barrier of this instruction.
    Waiting {
        pc: u32,
    },
    /// At the barrier of the grid, its pc behind it.
    AtGrid,
    Done,
}

/// One `cp.async` of a warp that has not landed.
pub struct Copy {
    pub mask: u32,
    pub group: u32,
    pub bytes: u32,
    pub addrs: [u32; 32],
    pub data: [[u32; 32]; 4],
}

pub struct Warp {
    pub id: u32,
    pub regs: Regs,
    pub pc: u32,
    /// Lanes that run now.
    pub active: u32,
    pub others: Vec<Group>,
    /// Lanes that have not exited.
    pub live: u32,
    pub state: State,
    /// Local memory: word by word, the 32 lanes of a word side by side, and which bytes are written.
    pub local: Vec<u32>,
    pub local_written: Vec<u8>,
    pub copies: Vec<Copy>,
    /// Groups committed, per lane.
    pub commits: [u32; 32],
    /// Instructions executed.
    pub clock: u64,
}

impl Warp {
    pub fn new(id: u32, routine: &Routine) -> Warp {
        let mut regs =
            Regs { w: vec![W([0; 32]); routine.w], d: vec![D([0; 32]); routine.d], p: vec![0; routine.p.max(2)] };
        regs.p[0] = !0;
        for &(reg, value) in &routine.const_w {
            regs.w[reg as usize] = W([value; 32]);
        }
        for &(reg, value) in &routine.const_d {
            regs.d[reg as usize] = D([value; 32]);
        }
        let words = routine.local.div_ceil(4) as usize * 32;
        Warp {
            id,
            regs,
            pc: 0,
            active: 0,
            others: vec![],
            live: 0,
            state: State::Done,
            local: vec![0xffff_ffff; words],
            local_written: vec![0; words],
            copies: vec![],
            commits: [0; 32],
            clock: 0,
        }
    }

    /// Ready for another block: lanes `mask` start.
    pub fn restart(&mut self, routine: &Routine, mask: u32) {
        self.pc = routine.start;
        self.active = mask;
        self.live = mask;
        self.state = State::Ready;
        self.others.clear();
        self.copies.clear();
        self.commits = [0; 32];
        self.clock = 0;
        self.local_written.fill(0);
        for &(bank, reg) in &routine.unset {
            match bank {
                Bank::W => self.regs.w[reg as usize] = W([0; 32]),
                Bank::D => self.regs.d[reg as usize] = D([0; 32]),
                Bank::P => self.regs.p[reg as usize] = 0,
            }
        }
    }

    /// Joins lanes that wait exactly here.
    #[inline]
    pub fn merge(&mut self) {
        let (pc, mut active) = (self.pc, self.active);
        self.others.retain(|g| {
            if g.pc == pc {
                active |= g.mask;
            }
            g.pc != pc
        });
        self.active = active;
    }

    /// Puts the running lanes aside and goes on with those furthest behind. False if nobody can run.
    pub fn switch(&mut self, parked: bool) -> bool {
        if self.active != 0 {
            self.others.push(Group { pc: self.pc, mask: self.active, parked });
            self.active = 0;
        }
        let Some(pc) = self.others.iter().filter(|g| !g.parked).map(|g| g.pc).min() else { return false };
        self.pc = pc;
        self.merge();
        true
    }

    /// Some lanes are gone: whoever waited for them may look again.
    pub fn unpark(&mut self) {
        for group in &mut self.others {
            group.parked = false;
        }
    }
}
