//! What is checked of the server's certificate and its key.

use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use super::Finding;
use crate::{
    config::TlsFiles,
    tls::{Identity, Validity},
};

/// How long before its end a certificate is warned of.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The mode bit that lets everybody read a file.
const READABLE_BY_ALL: u32 = 0o004;

/// Whether both files can be read, belong together, and are valid.
pub(super) fn check(files: &TlsFiles) -> Finding {
    let identity = match Identity::load(files) {
        Ok(identity) => identity,
        Err(error) => return Finding::Fault(error.to_string()),
    };
    let finding = judge(&identity.validity(), SystemTime::now());
    let mode = std::fs::metadata(&files.key).map_or(0, |metadata| metadata.mode());
    match finding {
        Finding::Fine(found) if mode & READABLE_BY_ALL != 0 => Finding::Warning(
            format!("{found}, and everybody may read {}", files.key.display()),
            "take that away with 'chmod o-r'",
        ),
        finding => finding,
    }
}

fn judge(validity: &Validity, now: SystemTime) -> Finding {
    let (begins, ends) = (&validity.begins_text, &validity.ends_text);
    match validity.remaining(now) {
        Some(left) if left >= NOTICE => Finding::Fine(format!("with its key, valid until {ends}")),
        Some(_) => Finding::Warning(
            format!("valid until {ends}, which is soon"),
            "renew it and send the server SIGHUP",
        ),
        None => Finding::Warning(
            format!("valid from {begins} until {ends} and not now: clients refuse it"),
            "renew it and send the server SIGHUP",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_before_it_ends_and_when_it_is_not_valid() {
        let day = |count: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(count * 24 * 60 * 60);
        let validity = Validity {
            begins: day(100),
            ends: day(200),
            begins_text: "day 100".to_owned(),
            ends_text: "day 200".to_owned(),
        };
        for (now, mark) in [
            (99, "warn"),
            (100, "ok"),
            (186, "ok"),
            (187, "warn"),
            (201, "warn"),
        ] {
            assert_eq!(judge(&validity, day(now)).mark(), mark, "day {now}");
        }
    }
}
