//! What the machine must offer, checked before the first executor exists.
//!
//! glommio ends the process by itself when io_uring is missing, with a line that
//! helps nobody; so whatever can be refused is tried here first.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ring::Ring;
use crate::{
    config::Config,
    limits::{CONNECTIONS_PER_ADDRESS_SHARE, FILES_BESIDE_CONNECTIONS, FILES_PER_CORE},
};

/// Bytes of locked memory that each glommio executor insists on.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Bytes of locked memory that a core takes where it may: 3 MiB of buffers that its executor
/// registers (VmPin of /proc/PID/status), and its rings. Without room for the buffers the
/// executor does without; without room for the rings there is no core.
pub const MEMLOCK_BYTES_PER_CORE: u64 = 4 * 1024 * 1024;

/// What the machine does not offer.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The system administrator switched io_uring off.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled = {0}); run 'sysctl kernel.io_uring_disabled=0' as root"
    )]
    Disabled(String),
    /// A security filter refuses io_uring.
    #[error(
        "io_uring is refused (EPERM), as by the default seccomp profile of Docker since engine 25; start the container with '--security-opt seccomp=scripts/docker/seccomp.json', a file of the source of OxDaaS, or with another profile that allows io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Forbidden,
    /// The kernel has no io_uring.
    #[error("this kernel has no io_uring (ENOSYS); Linux 6.1 or later is needed")]
    Missing,
    /// The kernel's io_uring is too old.
    #[error("this kernel's io_uring is too old (EINVAL); Linux 6.1 or later is needed")]
    TooOld,
    /// The limit of locked memory is too low.
    #[error(
        "the limit of locked memory is {0} bytes and {MEMLOCK_BYTES_MIN} are needed; run 'ulimit -l 512' or raise memlock in /etc/security/limits.conf (systemd: LimitMEMLOCK=, Docker: --ulimit memlock)"
    )]
    Memlock(u64),
    /// io_uring failed in another way.
    #[error("io_uring cannot be set up: {0}; check 'ulimit -l', 'ulimit -n' and free memory")]
    Other(io::Error),
}

/// Raises soft limits to what is allowed, and tries out what cores will need.
///
/// # Errors
/// [`PreflightError`] names the first thing that is missing, with its remedy.
pub fn check() -> Result<(), PreflightError> {
    raise_limits();
    check_memlock()?;
    check_io_uring()
}

/// Raises the soft limits of open files and locked memory to the hard ones.
pub fn raise_limits() {
    raise(Resource::Nofile);
    raise(Resource::Memlock);
}

/// The limit of locked memory, `None` when there is none.
///
/// # Errors
/// [`PreflightError::Memlock`] when an executor could not start under it.
pub fn check_memlock() -> Result<Option<u64>, PreflightError> {
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < MEMLOCK_BYTES_MIN => Err(PreflightError::Memlock(bytes)),
        limit => Ok(limit),
    }
}

/// What to do when a core finds too little of something.
pub fn core_remedy() -> String {
    let memlock = match getrlimit(Resource::Memlock).current {
        None => String::new(),
        Some(bytes) => format!(
            "locked memory is limited to {bytes} bytes and a core takes up to {MEMLOCK_BYTES_PER_CORE}: raise that ('ulimit -l', systemd: LimitMEMLOCK=, Docker: --ulimit memlock=) or give fewer --cores; "
        ),
    };
    memlock + "check 'ulimit -n' and free memory as well"
}

/// Sets up a ring as each core does.
///
/// # Errors
/// [`PreflightError`] says who refuses it, or what it lacks.
pub fn check_io_uring() -> Result<(), PreflightError> {
    // On a thread of its own: a ring belongs to the thread that set it up.
    let tried = std::thread::spawn(|| Ring::new().map(drop)).join();
    tried
        .expect("setting up a ring does not panic")
        .map_err(explain)
}

/// `config` with no more connections than there are descriptors for, so that they leave some to
/// the log: without one it could not begin a segment.
pub fn within_descriptors(config: &Config) -> Config {
    let mut config = config.clone();
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return config;
    };
    let kept = FILES_BESIDE_CONNECTIONS + FILES_PER_CORE * u64::from(config.cores);
    let room = usize::try_from(files.saturating_sub(kept).max(1)).unwrap_or(usize::MAX);
    if room < config.connections_max {
        tracing::warn!(
            "{files} open files are enough for {room} connections, not for the {} of \
             --connections-max: raise 'ulimit -n' (systemd: LimitNOFILE=, Docker: --ulimit nofile)",
            config.connections_max
        );
        config.connections_max = room;
        let share = room.div_ceil(CONNECTIONS_PER_ADDRESS_SHARE);
        config.connections_per_address_max = config.connections_per_address_max.min(share);
    }
    config
}

/// Best effort: the checks that follow find what is still too low.
fn raise(resource: Resource) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let _ = setrlimit(
        resource,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

fn explain(error: io::Error) -> PreflightError {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => {
            match fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .as_deref()
                .map(str::trim)
            {
                Ok("0") | Err(_) => PreflightError::Forbidden,
                Ok(value) => PreflightError::Disabled(value.to_owned()),
            }
        }
        Some(Errno::NOSYS) => PreflightError::Missing,
        Some(Errno::INVAL) => PreflightError::TooOld,
        _ => PreflightError::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_io_uring_is_told_with_its_remedy() {
        use rustix::io::Errno;
        let sentence =
            |errno: Errno| explain(io::Error::from_raw_os_error(errno.raw_os_error())).to_string();
        let refused = sentence(Errno::PERM);
        assert!(refused.contains("io_uring") && refused.contains("scripts/docker/seccomp.json"));
        assert!(sentence(Errno::NOSYS).contains("Linux 6.1"));
        assert!(sentence(Errno::INVAL).contains("too old"));
        assert!(sentence(Errno::NOMEM).contains("ulimit -l"));
    }
}
