//! `oxdaas dump`: the records of a data directory as NDJSON, in log order.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::{
    api::id_json,
    log::{Kind, Reader, Record, scan_all, survey},
    op::Expiry,
};

/// The options of `dump`.
#[derive(Clone, Debug, clap::Args)]
pub struct DumpArgs {
    /// The data directory; no server may be using it
    dir: PathBuf,
}

/// Prints every record; 0: all of them, 1: the directory is damaged or could not be read.
pub fn dump(args: &DumpArgs) -> ExitCode {
    let reader = match Reader::open(&args.dir) {
        Ok(reader) => reader,
        Err(error) => return fail(&error),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let scanned = survey(&reader).and_then(|survey| {
        scan_all(&reader, &survey, &mut |record, _| {
            if written.is_ok() {
                written = print(&mut out, record);
            }
        })
    });
    match written.and_then(|()| out.flush()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(error) => return fail(&format!("standard output: {error}")),
        Ok(()) => {}
    }
    match scanned {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn print(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    if record.kind == Kind::Mark {
        return Ok(());
    }
    write!(
        out,
        "{{\"lsn\":{},\"version\":{},\"id\":",
        record.lsn.0, record.version.0
    )?;
    out.write_all(&id_json(&record.id.to_id()))?;
    match record.kind {
        Kind::Put => {
            out.write_all(b",\"data\":")?;
            out.write_all(record.document)?;
            if let Some(expiry) = Expiry::of_record(record.expires_at_ms) {
                write!(out, ",\"expires_at\":{expiry}")?;
            }
            out.write_all(b"}\n")
        }
        _ => out.write_all(b",\"deleted\":true}\n"),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::FAILURE
}
