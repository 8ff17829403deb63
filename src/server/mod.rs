//! The running server: cores, their sockets, the log task, start and end.

mod connection;
mod core;
mod desk;
mod exchange;
mod gather;
mod log_core;
mod preflight;
mod ring;
mod rounds;
mod share;
#[cfg(test)]
mod simulator;
mod start;

pub use preflight::PreflightError;
pub use start::{Running, StartError, start};
