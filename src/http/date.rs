//! The Date field: formatted once a second (RFC 9110, section 6.6.1).

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// The last second that an IMF-fixdate can name: the end of the year 9999.
const UNIX_SECOND_MAX: u64 = 253_402_300_799;

/// The whole field line, `Date: Sun, 06 Nov 1994 08:49:37 GMT` and its CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateField([u8; 37]);

impl DateField {
    /// The field for a second since 1970, clamped to the year 9999.
    #[must_use]
    pub fn new(unix_second: u64) -> DateField {
        let time = UNIX_EPOCH + Duration::from_secs(unix_second.min(UNIX_SECOND_MAX));
        let mut line = [0; 37];
        write!(
            &mut line[..],
            "Date: {}\r\n",
            httpdate::HttpDate::from(time)
        )
        .expect("an IMF-fixdate has 29 bytes (RFC 9110, section 5.6.7)");
        DateField(line)
    }

    /// The field line with its CRLF.
    #[must_use]
    pub fn line(&self) -> &[u8; 37] {
        &self.0
    }
}

/// Keeps the [`DateField`] of the current second. One a core.
#[derive(Clone, Debug)]
pub struct DateClock {
    unix_second: u64,
    field: DateField,
}

impl DateClock {
    /// A clock that shows `unix_second`.
    #[must_use]
    pub fn new(unix_second: u64) -> DateClock {
        DateClock {
            unix_second,
            field: DateField::new(unix_second),
        }
    }

    /// The field for `unix_second`, formatted anew only if the second is another one.
    pub fn at(&mut self, unix_second: u64) -> &DateField {
        if unix_second != self.unix_second {
            *self = DateClock::new(unix_second);
        }
        &self.field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_second_asked_for() {
        let mut clock = DateClock::new(0);
        for (second, expected) in [
            (0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            (784_111_777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_778, "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"),
            (u64::MAX, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"),
        ] {
            assert_eq!(clock.at(second).line(), expected.as_bytes());
        }
    }
}
