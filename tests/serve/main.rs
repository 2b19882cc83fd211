//! `ckaad serve` as its clients meet it: the built program on a free port, spoken to over sockets.

// What the tests of the other commands have made already: pictures, a model, the program with its output in hand.
#[allow(dead_code)]
#[path = "../cli/support.rs"]
mod support;

mod hostile;
mod kserve;
mod limits;
mod models;
mod scores;
mod security;
mod server;
mod stop;
