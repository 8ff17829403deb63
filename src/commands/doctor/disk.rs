//! What is checked of the place where the data directory is, or will be.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::Finding;
use crate::{
    config::Config,
    log::{Holder, holder},
};

/// A typical record, written before each sync.
const RECORD: [u8; 256] = [b'x'; 256];
/// Syncs that are measured at most.
const SYNCS_MAX: u64 = 200;
/// How long they may take together.
const SYNCS_TIME_MAX: Duration = Duration::from_secs(1);
/// A sync that takes longer on the median is worth a warning.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// Bytes that are free before a warning: some minutes of a busy server.
const FREE_BYTES_LOW: u64 = 1024 * 1024 * 1024;

/// The data directory, or where it will be created.
pub(super) struct Site {
    /// The directory of the options.
    wanted: PathBuf,
    /// It, or the nearest directory above it that exists.
    existing: PathBuf,
    /// A file there that no name leads to any more.
    probe: File,
}

impl Site {
    /// Finds a directory that a file can be created in.
    pub(super) fn find(wanted: &Path) -> Result<Site, Finding> {
        let fault = |path: &Path, error: &io::Error| {
            Finding::Fault(format!(
                "{} is not writable: {error}; change its owner or mode, or give --data-dir another directory",
                path.display()
            ))
        };
        let absolute = std::path::absolute(wanted).map_err(|error| fault(wanted, &error))?;
        let existing = absolute.ancestors().find(|path| path.exists());
        let existing = existing.unwrap_or(Path::new("/")).to_owned();
        let probe = nameless_file(&existing).map_err(|error| fault(&existing, &error))?;
        Ok(Site {
            wanted: wanted.to_owned(),
            existing,
            probe,
        })
    }

    /// Whether it is there, and free.
    pub(super) fn access(&self) -> Finding {
        let path = self.wanted.display();
        if !self.wanted.exists() {
            return Finding::Fine(format!("{path} does not exist yet and can be created"));
        }
        match holder(&self.wanted) {
            Ok(Holder::Nobody) => Finding::Fine(format!("{path} is writable and not in use")),
            Ok(Holder::Process { id, .. }) => {
                Finding::Fine(format!("{path} is in use by the server, process {id}"))
            }
            Ok(Holder::Unknown) => Finding::Warning(
                format!("{path} is in use by a process that cannot be told from here"),
                "stop it where it was started before another server uses the directory",
            ),
            Err(error) => Finding::Fault(format!(
                "{path}: {error}; check that /proc is mounted and the file LOCK is readable"
            )),
        }
    }

    /// Its kind, and whether space can be allocated before it is written.
    pub(super) fn file_system(&self) -> Finding {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let path = self.existing.canonicalize();
        let path = path.as_ref().unwrap_or(&self.existing);
        let name = mount_kind(&mounts, path).unwrap_or("(unknown)");
        let allocated = fallocate(&self.probe, FallocateFlags::empty(), 0, 1024 * 1024);
        let judged = judge_file_system(name);
        match (judged, allocated) {
            (Finding::Fine(found), Err(errno)) => Finding::Warning(
                format!("{found}, which cannot allocate space ({errno})"),
                "segments are written with zeros instead, which makes syncs slower; use ext4 or XFS",
            ),
            (judged, _) => judged,
        }
    }

    /// Whether the log can grow.
    pub(super) fn space(&self, config: &Config) -> Finding {
        match statvfs(&self.existing) {
            Ok(stat) => judge_space(
                stat.f_bavail.saturating_mul(stat.f_frsize),
                config.segment_bytes.into(),
            ),
            Err(errno) => Finding::Fault(format!(
                "{}: {errno}; check the file system",
                self.existing.display()
            )),
        }
    }

    /// How long a small write takes to be on disk.
    pub(super) fn sync(&self) -> Finding {
        let mut took = Vec::new();
        let began = Instant::now();
        for n in 0..SYNCS_MAX {
            let sync = Instant::now();
            let written = self
                .probe
                .write_all_at(&RECORD, n * 256)
                .and_then(|()| self.probe.sync_data());
            if let Err(error) = written {
                return Finding::Fault(format!(
                    "fdatasync in {} fails: {error}; check the disk",
                    self.existing.display()
                ));
            }
            took.push(sync.elapsed());
            if began.elapsed() > SYNCS_TIME_MAX {
                break;
            }
        }
        took.sort_unstable();
        judge_syncs(&took)
    }
}

/// A file that is removed at once, so that nothing is left behind however this ends.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!("oxdaas-doctor-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// The kind of the file system that holds `path`, from proc(5)'s mountinfo.
fn mount_kind<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (mount, kind) = line.split_once(" - ")?;
        // Spaces in mount points are written as \040.
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let kind = kind.split(' ').next()?;
        let depth = Path::new(&point).components().count();
        // Of two mounts at one point, the later one is seen.
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

fn judge_file_system(kind: &str) -> Finding {
    let found = kind.to_owned();
    match kind {
        "tmpfs" | "ramfs" | "devtmpfs" => Finding::Warning(
            format!("{found} is memory"),
            "its documents are gone after a restart of the machine; use a directory on a disk",
        ),
        "overlay" | "fuse.fuse-overlayfs" | "aufs" => Finding::Warning(
            format!("{found} is the layer of a container"),
            "its documents go with the container; mount a volume at the data directory",
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" => Finding::Warning(
            format!("{found} is a network file system"),
            "what a sync promises depends on its server; use a local disk",
        ),
        _ if kind.starts_with("fuse") => Finding::Warning(
            format!("{found} is a file system in user space"),
            "what a sync promises depends on its program; use a local disk",
        ),
        _ => Finding::Fine(found),
    }
}

fn judge_space(free: u64, segment: u64) -> Finding {
    let found = format!("{} MiB free", free / (1024 * 1024));
    // The segment in use and its successor.
    if free < 2 * segment {
        Finding::Fault(format!(
            "{found}, less than two segments of {segment} bytes; make room, or lower --segment-bytes"
        ))
    } else if free < FREE_BYTES_LOW {
        Finding::Warning(found, "the log grows with every change; make room in time")
    } else {
        Finding::Fine(found)
    }
}

/// `took`: ascending and not empty.
fn judge_syncs(took: &[Duration]) -> Finding {
    let median = took[took.len() / 2];
    let longest = took[took.len() - 1];
    let found = format!(
        "fdatasync of 256 bytes takes {:.3} ms, at worst {:.3} ms ({} measured)",
        median.as_secs_f64() * 1000.0,
        longest.as_secs_f64() * 1000.0,
        took.len()
    );
    if median > SYNC_SLOW {
        Finding::Warning(
            found,
            "every write waits for one, shared with all others that wait: use a disk with power-loss protection, or read in the README what --fsync everysec can lose",
        )
    } else {
        Finding::Fine(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        23 22 0:5 / /dev rw shared:2 - devtmpfs none rw\n\
        24 22 8:1 / /srv/my\\040data rw - xfs /dev/sda1 rw\n\
        25 24 0:9 / /srv/my\\040data/fast rw - tmpfs none rw\n\
        26 22 0:9 / /mnt rw - btrfs none rw\n\
        27 22 0:9 / /mnt rw - nfs4 none rw\n";

    #[test]
    fn the_deepest_and_latest_mount_holds_a_path() {
        for (path, kind) in [
            ("/", "ext4"),
            ("/home/x", "ext4"),
            ("/development", "ext4"),
            ("/srv/my data/oxdaas", "xfs"),
            ("/srv/my data/fast/a", "tmpfs"),
            ("/mnt/a", "nfs4"),
        ] {
            assert_eq!(mount_kind(MOUNTS, Path::new(path)), Some(kind), "{path}");
        }
        assert_eq!(mount_kind("", Path::new("/")), None);
    }

    #[test]
    fn places_that_forget_are_warned_of() {
        for (kind, mark) in [
            ("ext4", "ok"),
            ("xfs", "ok"),
            ("tmpfs", "warn"),
            ("overlay", "warn"),
            ("nfs4", "warn"),
            ("fuse.sshfs", "warn"),
        ] {
            assert_eq!(judge_file_system(kind).mark(), mark, "{kind}");
        }
    }

    #[test]
    fn space_is_measured_in_segments() {
        let segment = 64 * 1024 * 1024;
        assert_eq!(judge_space(2 * segment - 1, segment).mark(), "FAIL");
        assert_eq!(judge_space(2 * segment, segment).mark(), "warn");
        assert_eq!(judge_space(FREE_BYTES_LOW, segment).mark(), "ok");
    }

    #[test]
    fn slow_syncs_are_judged_by_their_median() {
        let millis =
            |all: &[u64]| -> Vec<_> { all.iter().map(|&ms| Duration::from_millis(ms)).collect() };
        assert_eq!(judge_syncs(&millis(&[1, 1, 900])).mark(), "ok");
        assert_eq!(judge_syncs(&millis(&[1, 21, 21])).mark(), "warn");
        let shown = judge_syncs(&millis(&[1, 2, 3])).to_string();
        assert!(
            shown.contains("2.000 ms") && shown.contains("3.000 ms"),
            "{shown}"
        );
    }
}
