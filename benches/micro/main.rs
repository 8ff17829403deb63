//! What the parts of a request cost, each by itself.
//!
//! `cargo bench` runs all of them, `cargo bench -- shard` those whose name
//! contains `shard`; each file answers the one question in its header. Figures
//! are nanoseconds an operation: the median of the samples, and how far the
//! middle half of them lies apart. They compare changes on one machine; what a
//! whole server does is measured by `scripts/bench-peers.sh`.

mod http_parse;
mod http_respond;
mod log_append;
mod log_codec;
mod log_recovery;
mod mesh_hop;
mod meter;
mod shard_cold;
mod shard_warm;

use meter::Meter;

fn main() {
    let meter = Meter::from_arguments(std::env::args().skip(1));
    http_parse::run(&meter);
    http_respond::run(&meter);
    shard_cold::run(&meter);
    shard_warm::run(&meter);
    log_codec::run(&meter);
    log_append::run(&meter);
    log_recovery::run(&meter);
    mesh_hop::run(&meter);
}
