//! What is checked of the kernel, the limits of this process, its CPUs and its port.

use std::fs;

use rustix::{
    process::{Resource, getrlimit},
    system::uname,
};

use super::Finding;
use crate::{
    commands::serve::available_cores,
    config::Config,
    limits::{FILES_BESIDE_CONNECTIONS, FILES_PER_CORE},
    log::{Holder, holder},
    server,
};

/// The first kernel whose io_uring has all that the server uses.
const KERNEL_MIN: (u32, u32) = (6, 1);

pub(super) fn kernel() -> Finding {
    let name = uname();
    let release = name.release().to_string_lossy();
    judge_kernel(&release)
}

fn judge_kernel(release: &str) -> Finding {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map_while(|digits| digits.parse::<u32>().ok());
    let (major, minor) = KERNEL_MIN;
    match (numbers.next(), numbers.next()) {
        (Some(found_major), Some(found_minor)) if (found_major, found_minor) < KERNEL_MIN => {
            Finding::Fault(format!(
                "Linux {release}; {major}.{minor} or later is needed: upgrade the kernel"
            ))
        }
        (Some(_), Some(_)) => Finding::Fine(format!("Linux {release}")),
        _ => Finding::Warning(
            format!("Linux {release:?}, a version that is not understood"),
            "6.1 or later is needed",
        ),
    }
}

/// What the server's preflight tries; and whether others than root may.
pub(super) fn io_uring() -> Finding {
    if let Err(error) = server::check_io_uring() {
        return Finding::Fault(error.to_string());
    }
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    match disabled.as_deref().map(str::trim) {
        Ok("1") => Finding::Warning(
            "allowed for this user, refused to users without privilege (kernel.io_uring_disabled = 1)".to_owned(),
            "run 'sysctl kernel.io_uring_disabled=0' as root if the server runs as a user of its own",
        ),
        _ => Finding::Fine("allowed".to_owned()),
    }
}

pub(super) fn locked_memory(cores: u16) -> Finding {
    server::raise_limits();
    match server::check_memlock() {
        Ok(limit) => judge_locked_memory(limit, cores),
        Err(error) => Finding::Fault(error.to_string()),
    }
}

fn judge_locked_memory(limit: Option<u64>, cores: u16) -> Finding {
    let wanted = u64::from(cores) * server::MEMLOCK_BYTES_PER_CORE;
    match limit {
        None => Finding::Fine("no limit".to_owned()),
        Some(bytes) if bytes >= wanted => Finding::Fine(format!("{} KiB", bytes / 1024)),
        Some(bytes) => Finding::Warning(
            format!(
                "{} KiB, of which {cores} cores take up to {} where Linux counts all of it",
                bytes / 1024,
                wanted / 1024
            ),
            "raise 'ulimit -l' (systemd: LimitMEMLOCK=, Docker: --ulimit memlock=), or give fewer --cores",
        ),
    }
}

pub(super) fn open_files(config: &Config) -> Finding {
    server::raise_limits();
    judge_open_files(
        getrlimit(Resource::Nofile).current,
        u64::try_from(config.connections_max).expect("a usize fits 64 bits"),
        config.cores.into(),
    )
}

fn judge_open_files(limit: Option<u64>, connections: u64, cores: u64) -> Finding {
    let needed = FILES_BESIDE_CONNECTIONS
        .saturating_add(FILES_PER_CORE * cores)
        .saturating_add(connections);
    match limit {
        None => Finding::Fine("no limit".to_owned()),
        Some(files) if files >= needed => {
            Finding::Fine(format!("{files}, enough for {connections} connections"))
        }
        Some(files) => Finding::Warning(
            format!("{files} are too few for {connections} connections, which need {needed}"),
            "raise 'ulimit -n' (systemd: LimitNOFILE=, Docker: --ulimit nofile), or lower --connections-max",
        ),
    }
}

pub(super) fn cpus(cores: u16) -> Finding {
    let allowed = rustix::thread::sched_getaffinity(None).map_or(0, |set| set.count());
    let usable = available_cores();
    let found = if u32::from(usable) < allowed {
        format!("{allowed}, of which a cgroup quota leaves {usable}")
    } else {
        format!("{usable}")
    };
    if cores > usable {
        Finding::Warning(
            format!("{found} for {cores} cores, which then run unpinned"),
            "lower --cores, or leave it out",
        )
    } else {
        Finding::Fine(format!("{found}, server on {cores}"))
    }
}

pub(super) fn port(config: &Config) -> Finding {
    let Err(error) = server::probe(config.listen) else {
        return Finding::Fine(format!("{} is free", config.listen));
    };
    match holder(&config.data_dir) {
        Ok(Holder::Process {
            id,
            address: Some(address),
        }) if address == config.listen.to_string() => Finding::Fine(format!(
            "{address} is in use by the server of this data directory, process {id}"
        )),
        _ => Finding::Fault(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_a_fault() {
        for (release, mark) in [
            ("6.1.0-18-amd64", "ok"),
            ("6.12", "ok"),
            ("10.0.1", "ok"),
            ("6.0.19", "FAIL"),
            ("5.15.0-91-generic", "FAIL"),
            ("unknown", "warn"),
        ] {
            assert_eq!(judge_kernel(release).mark(), mark, "{release}");
        }
    }

    #[test]
    fn files_are_counted_for_all_connections() {
        for (limit, mark) in [
            (None, "ok"),
            (Some(1000 + 64 + 32), "ok"),
            (Some(1000 + 64 + 31), "warn"),
        ] {
            assert_eq!(judge_open_files(limit, 1000, 2).mark(), mark, "{limit:?}");
        }
    }

    #[test]
    fn locked_memory_is_judged_by_what_the_cores_take() {
        for (limit, mark) in [
            (None, "ok"),
            (Some(8 << 20), "ok"),
            (Some((8 << 20) - 1), "warn"),
        ] {
            assert_eq!(judge_locked_memory(limit, 2).mark(), mark, "{limit:?}");
        }
    }
}
