//! `oxdaas doctor`: whether this machine can run the server, one line a check.
//!
//! It tries what the server will do, with the server's own code where there is
//! some, and leaves nothing behind. A fault would keep the server from starting
//! or from storing; a warning is something that an operator should know.

mod certificate;
mod clients;
mod disk;
mod machine;

use std::{fmt, process::ExitCode};

use super::serve::ServeArgs;

/// Exit code when the server would not start or not store.
const FAULTY: u8 = 1;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// As it should be; what was found.
    Fine(String),
    /// The server runs; what was found, and what would be better.
    Warning(String, &'static str),
    /// The server does not start or not store; the sentence says what to do.
    Fault(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Fine(found) | Finding::Fault(found) => f.write_str(found),
            Finding::Warning(found, remedy) => write!(f, "{found}; {remedy}"),
        }
    }
}

impl Finding {
    fn mark(&self) -> &'static str {
        match self {
            Finding::Fine(_) => "ok",
            Finding::Warning(..) => "warn",
            Finding::Fault(_) => "FAIL",
        }
    }
}

/// Checks the machine for a server with these options; 0: it would run, 1: it would not.
pub fn doctor(args: &ServeArgs) -> ExitCode {
    let config = match args.to_config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("oxdaas: {error}");
            return ExitCode::from(FAULTY);
        }
    };
    let mut faults = 0;
    let mut report = |name: &str, finding: &Finding| {
        println!("{:<4} {name}: {finding}", finding.mark());
        faults += u32::from(matches!(finding, Finding::Fault(_)));
    };
    report("kernel", &machine::kernel());
    report("io_uring", &machine::io_uring());
    report("locked memory", &machine::locked_memory(config.cores));
    report("open files", &machine::open_files(&config));
    report("CPUs", &machine::cpus(config.cores));
    report("port", &machine::port(&config));
    report("clients", &clients::check(&config));
    if let Some(files) = &config.tls {
        report("certificate", &certificate::check(files));
    }
    match disk::Site::find(&config.data_dir) {
        Err(fault) => report("data directory", &fault),
        Ok(site) => {
            report("data directory", &site.access());
            report("file system", &site.file_system());
            report("disk space", &site.space(&config));
            report("disk sync", &site.sync());
        }
    }
    if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAULTY)
    }
}
