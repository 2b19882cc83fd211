//! The place that the driver is in while no call has it. A call takes it out and puts it back: at its end, and for as long as it
//! waits for a function of the program, so that others may call meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::Driver;

enum Place {
    Unmade,
    Here(Box<Driver>),
    Taken,
}

static PLACE: Mutex<Place> = Mutex::new(Place::Unmade);
static BACK: Condvar = Condvar::new();

thread_local! {
    /// Whether this thread has the driver.
    static MINE: Cell<bool> = const { Cell::new(false) };
}

fn place() -> MutexGuard<'static, Place> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the driver out; nothing if that is not possible until `end`.
fn take(end: Option<Instant>) -> Option<Box<Driver>> {
    let mut now = place();
    loop {
        match std::mem::replace(&mut *now, Place::Taken) {
            Place::Here(driver) => {
                MINE.set(true);
                return Some(driver);
            }
            Place::Unmade => {
                drop(now);
                MINE.set(true);
                return Some(Box::new(Driver::new()));
            }
            Place::Taken => {}
        }
        now = match end {
            None => BACK.wait(now).unwrap_or_else(PoisonError::into_inner),
            Some(end) => {
                let left = end.checked_duration_since(Instant::now())?;
                BACK.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn give(driver: Box<Driver>) {
    MINE.set(false);
    *place() = Place::Here(driver);
    BACK.notify_one();
}

/// Does something with the driver; nothing if that panics.
fn with<T>(mut driver: Box<Driver>, f: impl FnOnce(&mut Driver) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| f(&mut driver)));
    give(driver);
    done.ok()
}

/// Does something with the driver as soon as no other thread has it; nothing if that panics.
pub fn locked<T>(f: impl FnOnce(&mut Driver) -> T) -> Option<T> {
    take(None).and_then(|driver| with(driver, f))
}

/// The same, if this thread does not have it and others give it back soon.
pub fn locked_soon<T>(soon: Duration, f: impl FnOnce(&mut Driver) -> T) -> Option<T> {
    if MINE.get() {
        return None;
    }
    take(Some(Instant::now() + soon)).and_then(|driver| with(driver, f))
}

/// Ends the process if what the driver was taken out for panics.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Driver {
    /// Lets others call while `f` runs. What was looked up before may be gone afterwards.
    pub fn unlocked<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let (name, abort) = (self.name, Abort);
        // SAFETY: moved out here and in again below. Until then nothing looks at what is left behind, and nothing unwinds past `abort`.
        give(Box::new(unsafe { std::ptr::read(self) }));
        let done = f();
        // Without an end it is there.
        if let Some(driver) = take(None) {
            // SAFETY: as above; what is overwritten was moved out.
            unsafe { std::ptr::write(self, *driver) };
            std::mem::forget(abort);
        }
        self.name = name;
        done
    }
}

/// Opens once; threads wait for that.
#[derive(Default)]
pub struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Waits, no longer than this where a time is given; whether it is open then.
    pub fn wait(&self, most: Option<Duration>) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match most {
            None => *self.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner),
            Some(most) => {
                let waited = self.opened.wait_timeout_while(open, most, |open| !*open);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
