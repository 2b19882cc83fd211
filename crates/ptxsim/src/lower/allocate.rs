//! Register allocation: PTX names a fresh register for almost every result; a warp's registers should stay in the
//! first-level cache. Linear scan over live intervals.
//!
//! Lanes of a warp diverge, but every write is masked: what holds for the control flow of one lane holds for all.

use crate::lower::op::{Ins, NONE, Op, P_SINK, P_TRUE, Role, Routine, SINK};
use crate::text::ty::Bank;

/// Numbers of all banks in one space.
struct Numbers {
    w: usize,
    d: usize,
    total: usize,
}

impl Numbers {
    fn of(&self, bank: Bank, reg: u16) -> usize {
        match bank {
            Bank::W => reg.into(),
            Bank::D => self.w + usize::from(reg),
            Bank::P => self.w + self.d + usize::from(reg),
        }
    }

    fn bank(&self, number: usize) -> Bank {
        if number < self.w {
            Bank::W
        } else if number < self.w + self.d {
            Bank::D
        } else {
            Bank::P
        }
    }
}

/// A set of register numbers.
#[derive(Clone, PartialEq)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 != 0
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(i, &word)| (0..64).filter(move |b| word >> b & 1 != 0).map(move |b| i * 64 + b))
    }
}

struct BasicBlock {
    start: usize,
    end: usize,
    next: Vec<usize>,
    /// Read before written, and written for certain.
    uses: Bits,
    defs: Bits,
    live_in: Bits,
}

/// Where an instruction may go on.
fn successors(routine: &Routine, at: usize, returns: &[usize]) -> Vec<usize> {
    let ins = &routine.code[at];
    let guarded = ins.guard != P_TRUE;
    let mut next: Vec<usize> = match &ins.op {
        Op::Bra(to) => vec![*to as usize],
        Op::BrxIdx { table, .. } => routine.tables[*table as usize].iter().map(|&t| t as usize).collect(),
        Op::CallAt { table, .. } => routine.calls[*table as usize].iter().map(|(_, t)| *t as usize).collect(),
        Op::Call { target, .. } => vec![*target as usize],
        Op::Ret { .. } => returns.to_vec(),
        Op::Exit | Op::Trap => vec![],
        _ => return vec![at + 1],
    };
    if guarded {
        next.push(at + 1);
    }
    next
}

/// Renumbers the registers of a routine.
pub fn allocate(routine: &mut Routine) {
    let numbers = Numbers { w: routine.w, d: routine.d, total: routine.w + routine.d + routine.p };
    // Constants and special registers keep a register of their own.
    let mut fixed = Bits::new(numbers.total);
    for (bank, reg) in [(Bank::W, SINK), (Bank::D, SINK), (Bank::P, P_TRUE), (Bank::P, P_SINK)] {
        fixed.set(numbers.of(bank, reg));
    }
    for &(reg, _) in &routine.const_w {
        fixed.set(numbers.of(Bank::W, reg));
    }
    for &(reg, _) in &routine.const_d {
        fixed.set(numbers.of(Bank::D, reg));
    }
    for &(reg, _) in &routine.specials {
        fixed.set(numbers.of(Bank::W, reg));
    }

    let mut touched: Vec<Vec<(usize, Role)>> = vec![];
    for at in 0..routine.code.len() {
        let mut list = vec![];
        routine.visit(at, &mut |bank, reg, role| {
            let number = numbers.of(bank, *reg);
            if !fixed.has(number) {
                list.push((number, role));
            }
        });
        touched.push(list);
    }
    let mut blocks = blocks(routine, &touched, numbers.total);
    liveness(&mut blocks);

    // Intervals in half steps: an instruction reads at 2i and writes at 2i + 1.
    let mut intervals = vec![(u32::MAX, 0u32); numbers.total];
    let mut extend = |number: usize, at: usize| {
        let (low, high) = &mut intervals[number];
        (*low, *high) = ((*low).min(at as u32), (*high).max(at as u32));
    };
    for block in &blocks {
        for number in block.live_in.iter() {
            extend(number, 2 * block.start);
        }
        for &next in &block.next {
            for number in blocks[next].live_in.iter() {
                extend(number, 2 * block.end - 1);
            }
        }
        for at in block.start..block.end {
            for &(number, role) in &touched[at] {
                extend(number, 2 * at + usize::from(role == Role::Def));
            }
        }
    }
    let entry = blocks.iter().find(|b| b.start == routine.start as usize);
    let unset: Vec<usize> = entry.map_or(vec![], |b| b.live_in.iter().collect());

    let map = scan(&numbers, &intervals, &fixed, &unset, routine);
    for at in 0..routine.code.len() {
        routine.visit(at, &mut |bank, reg, _| {
            *reg = map[numbers.of(bank, *reg)];
        });
    }
    for (reg, _) in &mut routine.const_w {
        *reg = map[numbers.of(Bank::W, *reg)];
    }
    for (reg, _) in &mut routine.const_d {
        *reg = map[numbers.of(Bank::D, *reg)];
    }
    for (reg, _) in &mut routine.specials {
        *reg = map[numbers.of(Bank::W, *reg)];
    }
    routine.unset = unset.iter().map(|&n| (numbers.bank(n), map[n])).collect();
}

fn blocks(routine: &Routine, touched: &[Vec<(usize, Role)>], total: usize) -> Vec<BasicBlock> {
    let n = routine.code.len();
    let call = |(i, ins): (usize, &Ins)| matches!(ins.op, Op::Call { .. }).then_some(i + 1);
    let returns: Vec<usize> = routine.code.iter().enumerate().filter_map(call).collect();
    let next: Vec<Vec<usize>> = (0..n).map(|at| successors(routine, at, &returns)).collect();
    let mut leader = vec![false; n + 1];
    leader[routine.start as usize] = true;
    leader[0] = true;
    for (at, list) in next.iter().enumerate() {
        if list.len() != 1 || list[0] != at + 1 {
            leader[at + 1] = true;
            list.iter().for_each(|&to| leader[to] = true);
        }
    }
    let starts: Vec<usize> = (0..n).filter(|&at| leader[at]).collect();
    let mut index = vec![0; n];
    for (i, &start) in starts.iter().enumerate() {
        index[start] = i;
    }
    starts
        .iter()
        .enumerate()
        .map(|(i, &start)| {
            let end = starts.get(i + 1).copied().unwrap_or(n);
            let mut block = BasicBlock {
                start,
                end,
                next: next[end - 1].iter().filter(|&&to| to < n).map(|&to| index[to]).collect(),
                uses: Bits::new(total),
                defs: Bits::new(total),
                live_in: Bits::new(total),
            };
            for at in start..end {
                let certain = routine.code[at].guard == P_TRUE;
                for &(number, role) in &touched[at] {
                    if role == Role::Use && !block.defs.has(number) {
                        block.uses.set(number);
                    }
                }
                for &(number, role) in &touched[at] {
                    if role == Role::Def && certain && !block.uses.has(number) {
                        block.defs.set(number);
                    }
                }
            }
            block
        })
        .collect()
}

/// Registers live at the start of each block, to a fixed point.
fn liveness(blocks: &mut [BasicBlock]) {
    let mut changed = true;
    while changed {
        changed = false;
        for i in (0..blocks.len()).rev() {
            let mut live = blocks[i].uses.clone();
            for &next in &blocks[i].next {
                let words = live.0.iter_mut().zip(&blocks[next].live_in.0).zip(&blocks[i].defs.0);
                for ((live, &after), &defs) in words {
                    *live |= after & !defs;
                }
            }
            if live != blocks[i].live_in {
                blocks[i].live_in = live;
                changed = true;
            }
        }
    }
}

/// New numbers. Registers read before any write start at 0 (they are zeroed when a block starts).
fn scan(numbers: &Numbers, intervals: &[(u32, u32)], fixed: &Bits, unset: &[usize], routine: &mut Routine) -> Vec<u16> {
    let mut map = vec![NONE; numbers.total];
    for bank in [Bank::W, Bank::D, Bank::P] {
        let mut order: Vec<(u32, u32, usize)> = (0..numbers.total)
            .filter(|&n| numbers.bank(n) == bank && !fixed.has(n) && intervals[n].0 != u32::MAX)
            .map(|n| (if unset.contains(&n) { 0 } else { intervals[n].0 }, intervals[n].1, n))
            .collect();
        order.sort_unstable();
        // The sinks and the true predicate keep their numbers.
        let first = if bank == Bank::P { 2 } else { 1 };
        let mut count = first;
        let mut free: Vec<u16> = vec![];
        let mut active: std::collections::BinaryHeap<std::cmp::Reverse<(u32, u16)>> = Default::default();
        for (start, end, number) in order {
            while let Some(&std::cmp::Reverse((over, reg))) = active.peek() {
                if over >= start {
                    break;
                }
                active.pop();
                free.push(reg);
            }
            let reg = free.pop().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            map[number] = reg;
            active.push(std::cmp::Reverse((end, reg)));
        }
        let base = match bank {
            Bank::W => 0,
            Bank::D => numbers.w,
            Bank::P => numbers.w + numbers.d,
        };
        let len = match bank {
            Bank::W => numbers.w,
            Bank::D => numbers.d,
            Bank::P => numbers.total - numbers.w - numbers.d,
        };
        for i in 0..len {
            if fixed.has(base + i) {
                map[base + i] = if i < first.into() { i as u16 } else { count };
                count += u16::from(i >= first.into());
            }
        }
        match bank {
            Bank::W => routine.w = count.into(),
            Bank::D => routine.d = count.into(),
            Bank::P => routine.p = count.into(),
        }
    }
    map
}
