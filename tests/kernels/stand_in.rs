//! The driver for GPUs on the stand-in for libcuda: what runs on the emulator by itself runs through cudarc, too, and what has work on
//! several streams does so in whatever order that allows.

use crate::common::stand_in::{again, all, orders};

/// All but what the other test runs and what takes no driver; gradients, which differ from what `parity` takes in no call of the driver,
/// only where there is time for everything.
#[test]
fn everything_else() {
    let gradients = all().map_or(Some("gradients::"), |_| None);
    let left_out = ["lanes::", "kept::", "budgets::", "stand_in::"].into_iter().chain(gradients);
    let flags: Vec<&str> = left_out.flat_map(|name| ["--skip", name]).collect();
    orders(1).for_each(|seed| again(&flags, seed));
}

#[test]
fn streams_in_any_order() {
    orders(20).for_each(|seed| again(&["lanes::"], seed));
    // Trainings, which take their time.
    orders(3).for_each(|seed| again(&["kept::"], seed));
}
