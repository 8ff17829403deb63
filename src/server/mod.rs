//! The running server: cores, their sockets, the log task, start and end.

mod addresses;
mod atomic;
mod backup;
mod calls;
mod compactor;
mod connection;
mod coordinator;
mod core;
mod desk;
mod exchange;
mod feed;
mod gate;
mod gather;
mod lanes;
mod log_core;
mod maker;
mod preflight;
mod process;
mod records;
mod reporter;
mod rest;
mod ring;
mod rounds;
mod run;
mod share;
#[cfg(test)]
mod simulator;
mod slicer;
mod start;
mod streams;
mod suspects;
mod tally;
mod witness;

pub use preflight::{
    MEMLOCK_BYTES_PER_CORE, PreflightError, check_io_uring, check_memlock, raise_limits,
};
pub use start::{Running, StartError, probe, start};
