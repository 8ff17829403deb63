//! The binary: reads the command line and hands over to a command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use oxdaas::commands::{
    self, BackupArgs, CheckArgs, ConsoleArgs, DumpArgs, ExportArgs, GenerateArgs, ImportArgs,
    RepairArgs, ServeArgs,
};

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
    /// Start the server as a daemon; returns when it answers, or says why it does not
    Start(ServeArgs),
    /// End the server of the data directory, and wait until it has
    Stop(ServeArgs),
    /// Say whether a server uses the data directory; exit 0 yes, 3 no, 4 that cannot be told
    Status(ServeArgs),
    /// Ask the server of the data directory whether it is well, as a container engine does; exit 0
    /// it answers, 1 it does not
    Healthcheck(ServeArgs),
    /// Check whether this machine can run the server, one line a check; exit 0 yes, 1 no
    Doctor(ServeArgs),
    /// Type commands for a running server, or read them from a pipe; exit 0 all went well, 1 some
    /// did not, 2 no answer
    Console(ConsoleArgs),
    /// Store the documents of a file, one a line, in a running server; exit 0 all, 1 some were
    /// rejected, 2 could not run to the end
    Import(ImportArgs),
    /// Copy the data of a running server, as of one moment, into a new data directory; exit 0 it is
    /// whole and on disk, 1 it is not
    Backup(BackupArgs),
    /// Read a data directory and report what it holds; exit 0 clean, 1 damaged, 2 could not run
    Check(CheckArgs),
    /// Bring what is whole in a damaged data directory into a new one
    Repair(RepairArgs),
    /// Print the records of a data directory as NDJSON
    Dump(DumpArgs),
    /// Print the documents of a data directory, one a line, as import takes them
    Export(ExportArgs),
    /// Write shell completions and man pages into a directory
    #[command(hide = true)]
    Generate(GenerateArgs),
}

fn main() -> ExitCode {
    let command = Command::parse();
    // A server sets up its own.
    if !matches!(command, Command::Serve(_)) {
        commands::say_events();
    }
    match command {
        Command::Serve(args) => commands::serve(&args),
        Command::Start(args) => commands::start(&args),
        Command::Stop(args) => commands::stop(&args),
        Command::Status(args) => commands::status(&args),
        Command::Healthcheck(args) => commands::healthcheck(&args),
        Command::Doctor(args) => commands::doctor(&args),
        Command::Console(args) => commands::console(&args),
        Command::Import(args) => commands::import(&args),
        Command::Backup(args) => commands::backup(&args),
        Command::Check(args) => commands::check(&args),
        Command::Repair(args) => commands::repair(&args),
        Command::Dump(args) => commands::dump(&args),
        Command::Export(args) => commands::export(&args),
        Command::Generate(args) => commands::generate(&args, Command::command()),
    }
}
