//! Visual anomaly detection with coarse-knowledge-aware adversarial learning (CKAAD, AAAI 2025).
//!
//! The house has three layers, and imports point one way only:
//!
//! ```text
//! cli  ->  bench  ->  train / score / data / metrics / report / model / weights  ->  engine
//! ```
//!
//! * [`engine`] computes: tape, plan, ops, devices. It knows nothing of anomaly detection.
//! * [`model`] records the networks, [`weights`] reads pretrained files, [`data`] reads pictures,
//!   [`train`] and [`score`] drive the engine, [`metrics`] and [`report`] judge and show the outcome.
//! * [`bench`] measures all of them. [`cli`] is one file per command.

pub mod bench;
pub mod cli;
pub mod data;
pub mod detector;
pub mod engine;
pub mod error;
pub mod metrics;
pub mod model;
pub mod program;
pub mod report;
pub mod score;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
