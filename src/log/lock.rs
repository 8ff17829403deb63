//! The lock of a data directory: that one process alone uses it, and the proof which one.
//!
//! The file `LOCK` is locked (flock(2)) as long as a process uses the directory.
//! Its first line is the id of that process; a server that answers adds its
//! address as the second. The text alone proves nothing, since it outlives its
//! process: [`holder`] believes it only when the kernel says the same.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::directory::{DirectoryError, refusal};

pub(super) const LOCK: &str = "LOCK";
/// Bytes of the lock file that are read: more than an id and an address need.
const TEXT_BYTES_MAX: u64 = 128;

/// The locked file of a directory in use; unlocked when it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks the directory at `path`, which exists, for this process.
    pub(super) fn acquire(path: &Path) -> Result<Lock, DirectoryError> {
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|source| refusal(path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::Locked {
                    path: path.to_owned(),
                    holder: named_holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(refusal(&lock_path, source)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        match written {
            // The lock holds without its text, and a full disk must still be readable.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(Lock(file)),
            Err(source) => Err(refusal(&lock_path, source)),
            Ok(()) => Ok(Lock(file)),
        }
    }

    /// Adds where this process answers.
    pub(super) fn note(&self, address: &str) -> io::Result<()> {
        writeln!(&self.0, "{address}")
    }
}

/// The process that the lock file names, for a message.
pub(super) fn named_holder(lock: &File) -> String {
    match read_text(lock) {
        Ok(text) if !text.trim().is_empty() => text.lines().next().unwrap_or_default().to_owned(),
        _ => "(unknown)".to_owned(),
    }
}

/// Who uses a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// No process.
    Nobody,
    /// This one: the lock file names it, and the kernel says that it holds the lock.
    Process {
        /// Its id.
        id: u32,
        /// Where it answers; `None` as long as it does not.
        address: Option<String>,
    },
    /// Some process that cannot be told from here, as one in another container.
    Unknown,
}

/// Who uses the data directory at `path`.
///
/// # Errors
/// The lock file or `/proc/locks` cannot be read.
pub fn holder(path: &Path) -> io::Result<Holder> {
    let file = match File::open(path.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        other => other?,
    };
    let text = read_text(&file)?;
    let mut lines = text.lines();
    let named = lines.next().and_then(|line| line.trim().parse().ok());
    let locks = fs::read_to_string("/proc/locks")?;
    if let Some(id) = named
        && holds(&locks, id, file.metadata()?.ino())
    {
        let address = lines.next().map(str::to_owned);
        return Ok(Holder::Process { id, address });
    }
    // Unlocked again when the file is closed, at the end of this function.
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Unknown),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_text(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    io::Seek::rewind(&mut file)?;
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether `/proc/locks` says that the process holds the lock of this inode.
///
/// The device is not compared: some file systems (btrfs, overlayfs) show another
/// one there than stat(2) does. The id and the inode together are proof enough.
fn holds(locks: &str, id: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        // "1: FLOCK  ADVISORY  WRITE 4711 fe:00:753938 0 EOF"; one that waits has "->".
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, device_and_inode, ..] = words[..] else {
            return false;
        };
        let of_inode = device_and_inode.rsplit(':').next();
        process.parse() == Ok(id) && of_inode.and_then(|text| text.parse().ok()) == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_the_kernel_names_holds_a_lock() {
        let locks = "\
            1: FLOCK  ADVISORY  WRITE 100 fe:00:7 0 EOF\n\
            1: -> FLOCK  ADVISORY  WRITE 101 fe:00:7 0 EOF\n\
            2: POSIX  ADVISORY  WRITE 102 fe:00:7 0 EOF\n\
            3: FLOCK  ADVISORY  READ  103 fe:00:7 0 EOF\n";
        assert!(holds(locks, 100, 7));
        for (id, inode) in [(100, 8), (100, 70), (10, 7), (101, 7), (102, 7), (103, 7)] {
            assert!(!holds(locks, id, inode), "{id} {inode}");
        }
    }

    #[test]
    fn this_process_is_found_by_the_lock_that_it_holds() {
        let scratch = crate::log::testing::Scratch::new("lock");
        let path = scratch.path();
        assert_eq!(holder(path).expect("readable"), Holder::Nobody);
        let lock = Lock::acquire(path).expect("free");
        let expected = |address: Option<&str>| Holder::Process {
            id: std::process::id(),
            address: address.map(str::to_owned),
        };
        assert_eq!(holder(path).expect("readable"), expected(None));
        lock.note("127.0.0.1:4000").expect("writable");
        assert_eq!(
            holder(path).expect("readable"),
            expected(Some("127.0.0.1:4000"))
        );
        assert!(matches!(
            Lock::acquire(path),
            Err(DirectoryError::Locked { holder, .. }) if holder == std::process::id().to_string()
        ));
        // Held, but not by the process that the text names.
        fs::write(path.join(LOCK), "1\n").expect("writable");
        assert_eq!(holder(path).expect("readable"), Holder::Unknown);
        drop(lock);
        // The text outlives its process.
        assert_eq!(holder(path).expect("readable"), Holder::Nobody);
    }
}
