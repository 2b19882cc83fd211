//! Page-locked memory that single copies go through, one for all sessions on a card: half of it for each direction.

use super::api::{self, Answer, got};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of each half, and so of the largest piece that is copied at once.
const HALF: usize = 8 << 20;

pub(super) struct Staging {
    memory: *mut u8,
    to: Mutex<Staged>,
    from: Mutex<()>,
}

/// What copies in flight may read of the first half.
#[derive(Default)]
struct Staged {
    bytes: usize,
    /// Behind those copies: one of each session.
    copied: Vec<Event>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Event(api::CUevent);

// SAFETY: the memory is page-locked for every context and thread; each half is touched under its lock alone.
unsafe impl Send for Staging {}
// SAFETY: as above.
unsafe impl Sync for Staging {}
// SAFETY: a handle of the driver's, valid in every thread.
unsafe impl Send for Event {}

impl Staging {
    /// In the context that is current. It must be so again when this is dropped.
    pub fn new() -> Answer<Self> {
        // SAFETY: freed when this is dropped.
        let memory = unsafe { got(std::ptr::null_mut(), |p| api::cuMemHostAlloc(p, 2 * HALF, 0)) }?;
        Ok(Staging { memory: memory.cast(), to: Mutex::default(), from: Mutex::default() })
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies to the device, ordered behind the work of `stream`; `bytes` may be reused at once. `copied` is the session's own
    /// event, of which [`Staging::forget`] is told before it is destroyed.
    ///
    /// # Safety
    /// The bytes from `at` on belong to an allocation; stream and event are of the current context, which is this memory's.
    pub unsafe fn write(&self, mut at: u64, bytes: &[u8], stream: api::CUstream, copied: api::CUevent) -> Answer {
        for chunk in bytes.chunks(HALF) {
            let mut staged = self.staged();
            if staged.bytes + chunk.len() > HALF {
                for event in &staged.copied {
                    // SAFETY: an event is forgotten before it is destroyed.
                    unsafe { api::cuEventSynchronize(event.0) }?;
                }
                *staged = Staged::default();
            }
            // SAFETY: the part lies in the first half, behind what copies in flight read; the rest is as the caller says.
            unsafe {
                let part = self.memory.add(staged.bytes);
                part.copy_from_nonoverlapping(chunk.as_ptr(), chunk.len());
                api::cuMemcpyHtoDAsync_v2(at, part.cast(), chunk.len(), stream)?;
            }
            // From here on the part is in use, even if the event cannot be recorded: nothing but a failed device explains that.
            staged.bytes += chunk.len();
            if !staged.copied.contains(&Event(copied)) {
                staged.copied.push(Event(copied));
            }
            // SAFETY: as the caller says.
            unsafe { api::cuEventRecord(copied, stream) }?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Copies from the device, after all work of `stream`.
    ///
    /// # Safety
    /// The bytes from `at` on belong to an allocation; the stream is of the current context, which is this memory's.
    pub unsafe fn read(&self, mut at: u64, bytes: &mut [u8], stream: api::CUstream) -> Answer {
        // The work is waited for before the lock is taken: other sessions need not wait for it, too.
        // SAFETY: as the caller says.
        unsafe { api::cuStreamSynchronize(stream) }?;
        for chunk in bytes.chunks_mut(HALF) {
            let _alone = self.from.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the second half is touched under this lock alone, and the copy is waited for.
            unsafe {
                let part = self.memory.add(HALF);
                api::cuMemcpyDtoHAsync_v2(part.cast(), at, chunk.len(), stream)?;
                api::cuStreamSynchronize(stream)?;
                chunk.as_mut_ptr().copy_from_nonoverlapping(part, chunk.len());
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Says that the copies in front of this event are done, or will never be.
    pub fn forget(&self, copied: api::CUevent) {
        let mut staged = self.staged();
        staged.copied.retain(|e| e.0 != copied);
        if staged.copied.is_empty() {
            staged.bytes = 0;
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no session is left that copies.
        let _ = unsafe { api::cuMemFreeHost(self.memory.cast()) };
    }
}
