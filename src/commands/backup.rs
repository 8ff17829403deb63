//! `oxdaas backup`: the log of a running server as a data directory of its own.
//!
//! The stream is unpacked as it comes, each file is put on disk, and in the end everything is
//! read back as a start would. The first file says what all of them are (see
//! `log/backup.rs`), so that a directory which lacks anything is refused whatever ended this.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use super::{
    client::{Client, ClientArgs, Method},
    progress::Meter,
};
use crate::{
    limits::{BACKUP_MANIFEST_BYTES_MAX, CLIENT_BODY_BYTES_MAX},
    log::{
        BACKUP, DirectoryError, Lsn, Manifest, NotWhole, Reader, create_directory, scan_all, survey,
    },
};

/// The options of `backup`.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// The directory to create with the copy; it must be empty or missing
    new_dir: PathBuf,
}

/// Exit code when there is no copy, or not all of it.
const NOT_DONE: u8 = 1;
/// Bytes that are received at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Copies the log of a server; 0: the copy is whole and on disk, 1: it is not.
pub fn backup(args: &BackupArgs) -> ExitCode {
    let began = Instant::now();
    match run(args) {
        Ok(manifest) => {
            let new_dir = args.new_dir.display();
            println!(
                "{} segments, {} MiB, as of log position {}, {:.1} s; start with 'oxdaas serve --data-dir {new_dir}'",
                manifest.segments.len(),
                manifest.segment_bytes() >> 20,
                manifest.position,
                began.elapsed().as_secs_f64(),
            );
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("oxdaas: {message}");
            ExitCode::from(NOT_DONE)
        }
    }
}

fn run(args: &BackupArgs) -> Result<Manifest, String> {
    let new_dir = &args.new_dir;
    check_empty(new_dir)?;
    let client = Client::new(&args.client).map_err(|error| error.to_string())?;
    let response = client
        .send(Method::Get, "/backup", None)
        .map_err(|error| error.to_string())?;
    if !response.is_success() {
        let status = response.status();
        let body = response
            .into_bytes(CLIENT_BODY_BYTES_MAX)
            .unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        return Err(format!(
            "{} answered {status}: {}",
            client.url(),
            body.trim_end()
        ));
    }
    let mut stream = response.into_reader();
    let not_whole = |fault: Fault| {
        let new_dir = new_dir.display();
        format!(
            "the backup is not whole: {fault}; remove {new_dir}, if it is there, and begin again"
        )
    };
    let manifest = receive(&mut stream, new_dir).map_err(not_whole)?;
    verify(new_dir, &manifest).map_err(not_whole)?;
    Ok(manifest)
}

fn check_empty(new_dir: &Path) -> Result<(), String> {
    match fs::read_dir(new_dir).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", new_dir.display())),
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "{} is not empty; give a directory that is, or does not exist",
            new_dir.display()
        )),
    }
}

/// Why a copy is not whole.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the stream broke off or is no backup: {0}")]
    Stream(io::Error),
    #[error("in the stream, {0}")]
    Manifest(NotWhole),
    #[error("the stream has {found} where {expected} should be")]
    Order { found: String, expected: String },
    #[error("{path}: {source}", path = .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Copy(String),
}

/// Unpacks the stream into `new_dir`; everything is on disk then.
fn receive(stream: &mut dyn Read, new_dir: &Path) -> Result<Manifest, Fault> {
    let mut archive = tar::Archive::new(stream);
    let mut entries = archive.entries().map_err(Fault::Stream)?;
    let mut next = |expected: &dyn fmt::Display, bytes: Option<u32>| {
        let entry = entries.next().unwrap_or_else(|| {
            let message = format!("it ends before {expected}");
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
        });
        let entry = entry.map_err(Fault::Stream)?;
        let name = entry.path().map_err(Fault::Stream)?;
        let is_expected = name.as_os_str() == expected.to_string().as_str()
            && bytes.is_none_or(|bytes| entry.size() == u64::from(bytes));
        match is_expected {
            true => Ok(entry),
            false => Err(Fault::Order {
                found: format!("{} of {} bytes", name.display(), entry.size()),
                expected: match bytes {
                    Some(bytes) => format!("{expected} of {bytes} bytes"),
                    None => expected.to_string(),
                },
            }),
        }
    };
    let mut text = Vec::new();
    next(&BACKUP, None)?
        .take(BACKUP_MANIFEST_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(Fault::Stream)?;
    let manifest = Manifest::decode(&text).map_err(Fault::Manifest)?;
    create_directory(new_dir).map_err(refused)?;
    // Before any segment: whatever ends this, the directory says what it lacks.
    write(new_dir, &BACKUP, &mut text.as_slice(), &mut |_| {})?;
    sync_directory(new_dir)?;
    let meter = Meter::new(Some(manifest.segment_bytes()));
    let mut received = 0;
    for (nth, &(number, bytes)) in (1..).zip(&manifest.segments) {
        let mut entry = next(&number, Some(bytes))?;
        let of = manifest.segments.len();
        write(new_dir, &number, &mut entry, &mut |bytes| {
            received += bytes;
            let mib = received >> 20;
            meter.show(received, &format!("segment {nth} of {of}, {mib} MiB"));
        })?;
    }
    if entries.next().is_some() {
        let found = "another file".to_owned();
        let expected = "the end".to_owned();
        return Err(Fault::Order { found, expected });
    }
    // To the end of the response, which says that the server sees no more either.
    io::copy(archive.into_inner(), &mut io::sink()).map_err(Fault::Stream)?;
    sync_directory(new_dir)?;
    meter.finish();
    Ok(manifest)
}

fn refused(error: DirectoryError) -> Fault {
    match error {
        DirectoryError::NotWritable { path, source } | DirectoryError::Io { path, source } => {
            Fault::Write { path, source }
        }
        other => Fault::Copy(other.to_string()),
    }
}

/// Writes a file of the copy and puts it on disk; `received` is told of the bytes.
fn write(
    new_dir: &Path,
    name: &dyn fmt::Display,
    from: &mut dyn Read,
    received: &mut dyn FnMut(u64),
) -> Result<(), Fault> {
    let path = new_dir.join(name.to_string());
    let failed = |source| Fault::Write {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Stream(error)),
        };
        file.write_all(&piece[..count]).map_err(failed)?;
        received(u64::try_from(count).expect("a length fits 64 bits"));
    }
    file.sync_all().map_err(failed)
}

fn sync_directory(path: &Path) -> Result<(), Fault> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|source| Fault::Write {
        path: path.to_owned(),
        source,
    })
}

/// Reads everything back: the sizes, the checksum of every record, the last position.
fn verify(new_dir: &Path, manifest: &Manifest) -> Result<(), Fault> {
    let reader = Reader::open(new_dir).map_err(|error| Fault::Copy(error.to_string()))?;
    let verdict = survey(&reader).and_then(|survey| scan_all(&reader, &survey, &mut |_, _| {}));
    let verdict = verdict.map_err(|error| Fault::Copy(error.to_string()))?;
    assert_eq!(
        verdict.backup.map(|last| Lsn(last.0 - 1)),
        Some(manifest.position),
        "the directory holds the manifest that was written"
    );
    Ok(())
}
