//! The binary: reads the command line and hands over to a command.

use std::process::ExitCode;

use clap::Parser;
use oxdaas::commands::{self, ServeArgs};

/// Documents are allocated on one core and often freed on another; measured
/// faster than the system's allocator for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A document database behind HTTP: every acknowledged write is on disk.
#[derive(Parser)]
#[command(version, about, long_about = None)]
enum Command {
    /// Run the server in the foreground until SIGTERM or SIGINT
    Serve(ServeArgs),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match Command::parse() {
        Command::Serve(args) => commands::serve(&args),
    }
}
