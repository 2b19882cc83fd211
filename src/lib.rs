//! Visual anomaly detection with coarse-knowledge-aware adversarial learning (CKAAD, AAAI 2025).
//!
//! Imports point one way only, from the left to the right (`docs/architecture.md` has the map, `examples/` a page of each use):
//!
//! ```text
//! cli -> experiment, serve, watch -> bench, report -> train -> score, export -> detector -> program -> model, backend -> data, metrics, weights -> output -> engine
//! ```
//!
//! * [`engine`] computes: tape, plan, ops, devices. It knows nothing of anomaly detection.
//! * [`weights`] reads pretrained files, [`data`] pictures; [`metrics`] and [`report`] judge and show the outcome.
//! * [`detector`] holds the methods, each of which records [`program`]s over what [`model`] has for all of them.
//! * [`train`] and [`score`] run a detector's programs, [`bench`] measures them, [`backend`] chooses where.
//! * `serve` and `watch`, behind the default features of these names, answer over HTTP and score what comes into a folder;
//!   `cli`, behind its own, is one file per command.

pub mod backend;
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod detector;
pub mod engine;
pub mod error;
pub mod experiment;
pub mod export;
pub mod metrics;
pub mod model;
pub mod output;
pub mod pretrain;
pub mod program;
pub mod quantize;
pub mod report;
pub mod score;
#[cfg(feature = "serve")]
pub mod serve;
pub mod train;
#[cfg(feature = "watch")]
pub mod watch;
pub mod weights;

pub use error::{Error, Result};
