//! The networks, recorded onto a tape.
