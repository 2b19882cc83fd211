//! What kernels ask of the device: to print, to stop at a failed assertion, memory of the heap.

use crate::error::FaultKind;
use crate::lower::op::{NONE, SystemKind};
use crate::lower::windows::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::run::access::lanes;
use crate::run::exec::{Block, Outcome, Trap, trap};
use crate::run::format::format;
use crate::run::warp::Warp;

/// Longest text that is looked at.
const LONGEST: u64 = 1 << 16;

impl Block<'_> {
    pub fn system(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.systems[index as usize];
        let mut answers = [0; 32];
        for lane in lanes(m) {
            let [a, b, c, d] = op.args.map(|reg| if reg == NONE { 0 } else { warp.regs.d[reg as usize].0[lane] });
            match op.kind {
                SystemKind::Print => {
                    let text = self.text(warp, lane, a)?;
                    let (printed, count) = format(&text, b, &mut |at| self.byte(warp, lane, at), LONGEST);
                    (self.print)(&printed);
                    answers[lane] = count;
                }
                SystemKind::Assert => {
                    let text =
                        |at| Ok::<_, Box<Trap>>(String::from_utf8_lossy(&self.text(warp, lane, at)?).into_owned());
                    let (message, file, function) = (text(a)?, text(b)?, text(d)?);
                    let told = format!("`{message}` does not hold in {function}, {file}:{c}");
                    return trap(FaultKind::Assert, lane as u32, None, told);
                }
                SystemKind::Malloc => {
                    let at = self.view.heap.map_or(0, |heap| heap.take(a));
                    if at != 0 {
                        self.forget(at, a);
                    }
                    answers[lane] = at;
                }
                SystemKind::Free if a == 0 => {}
                SystemKind::Free => match self.view.heap.and_then(|heap| heap.give_back(a)) {
                    Some(bytes) => self.forget(a, bytes),
                    None => {
                        let text = "no memory that malloc gave begins here";
                        return trap(FaultKind::BadFree, lane as u32, Some(a), text);
                    }
                },
            }
        }
        if op.dst != NONE {
            warp.regs.d[op.dst as usize].put(m, &answers);
        }
        Ok(())
    }

    /// Bytes of the heap are as nobody wrote them.
    fn forget(&self, at: u64, bytes: u64) {
        if let Some(a) = self.allocation_of(at, 1, true) {
            a.poison((at - a.base) as usize, bytes as usize);
        }
    }

    /// A text that ends with a zero, at a generic address.
    fn text(&self, warp: &Warp, lane: usize, at: u64) -> Outcome<Vec<u8>> {
        let mut text = vec![];
        for at in at..at.saturating_add(LONGEST) {
            match self.byte(warp, lane, at) {
                Some(0) => break,
                Some(byte) => text.push(byte),
                None => {
                    let message = "a text that is to be printed leaves the memory that is there";
                    return trap(FaultKind::OutOfBounds, lane as u32, Some(at), message);
                }
            }
        }
        Ok(text)
    }

    /// One byte at a generic address of a lane.
    fn byte(&self, warp: &Warp, lane: usize, at: u64) -> Option<u8> {
        let cut = |word: u32, at: u64| (word >> (at % 4 * 8)) as u8;
        match at >> 32 {
            1 => {
                let at = at - SHARED_WINDOW;
                self.shared.words.get(at as usize / 4).map(|word| cut(*word, at))
            }
            2 => {
                let at = at - LOCAL_WINDOW;
                warp.local.get(at as usize / 4 * 32 + lane).map(|word| cut(*word, at))
            }
            _ => {
                let a = self.allocation_of(at, 1, false)?;
                let offset = (at - a.base) as usize;
                Some(cut(a.word(offset / 4), offset as u64))
            }
        }
    }
}
