//! The program as a user meets it: the built binary, on small pictures, with a seeded random backbone.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod bench;
mod data;
mod detector;
mod device;
mod doctor;
mod eval;
mod experiment;
mod experiment_notes;
mod experiment_shards;
mod export;
mod framing;
mod habits;
mod known;
mod names;
mod pretrain;
mod quantize;
mod resume;
mod score;
mod stand_in;
mod support;
mod threshold;
mod train;
mod truth;
mod tune;
mod watch;
