//! `oxdaas status`: whether a server uses a data directory.

use std::process::ExitCode;

use super::serve::ServeArgs;
use crate::log::{Holder, holder};

/// Exit code when no server runs (LSB: "program is not running").
const NOT_RUNNING: u8 = 3;
/// Exit code when that cannot be told (LSB: "status is unknown").
const UNKNOWN: u8 = 4;

/// Says what runs; 0: a server runs, 3: none, 4: that cannot be told.
pub fn status(args: &ServeArgs) -> ExitCode {
    let path = args.data_dir().display();
    match holder(args.data_dir()) {
        Ok(Holder::Process {
            id,
            address: Some(address),
        }) => {
            println!("running: process {id} listens on {address}, data in {path}");
            ExitCode::SUCCESS
        }
        Ok(Holder::Process { id, address: None }) => {
            println!("starting: process {id} uses {path} and does not answer yet");
            ExitCode::SUCCESS
        }
        Ok(Holder::Nobody) => {
            println!("not running: no process uses {path}");
            ExitCode::from(NOT_RUNNING)
        }
        Ok(Holder::Unknown) => {
            println!(
                "unknown: {path} is in use by a process that cannot be told from here, as one in a container"
            );
            ExitCode::from(UNKNOWN)
        }
        Err(error) => {
            eprintln!("oxdaas: {path}: {error}");
            ExitCode::from(UNKNOWN)
        }
    }
}
