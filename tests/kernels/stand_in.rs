//! The driver for GPUs on the stand-in for libcuda: what runs on the emulator by itself runs through cudarc, too, and what has work on
//! several streams does so in whatever order that allows.

use crate::common::stand_in::again;

/// But for gradients, which differ from what `parity` takes in no call of the driver.
#[test]
fn everything_else() {
    again(&["errors::", "leaves::", "parity::", "tuning::", "values::"], 0);
}

#[test]
fn streams_in_any_order() {
    (0..20).for_each(|seed| again(&["lanes::"], seed));
    // Trainings, which take their time.
    (0..3).for_each(|seed| again(&["kept::"], seed));
}
