//! When a document ends by itself: moments and spans in milliseconds, shown in seconds.

use std::{fmt, num::NonZero};

use crate::limits::{EXPIRES_AT_MS_MAX, TTL_MS_MAX};

/// How long a document has to live, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(NonZero<u64>);

/// The moment from which on there is no such document, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(NonZero<u64>);

/// When a document that is stored is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expires {
    /// Never by itself.
    #[default]
    Never,
    /// So long after its owner takes the write.
    In(Ttl),
    /// At that moment, which may have passed.
    At(Expiry),
}

impl Ttl {
    /// The span of `ms`, which a client may ask for: 1 to `TTL_MS_MAX`.
    #[must_use]
    pub fn asked(ms: u64) -> Option<Ttl> {
        NonZero::new(ms).filter(|_| ms <= TTL_MS_MAX).map(Ttl)
    }
}

impl Expiry {
    /// The moment `unix_ms`, which a client may ask for: 1 to `EXPIRES_AT_MS_MAX`.
    #[must_use]
    pub fn asked(unix_ms: u64) -> Option<Expiry> {
        let moment = NonZero::new(unix_ms).filter(|_| unix_ms <= EXPIRES_AT_MS_MAX);
        moment.map(Expiry)
    }

    /// The moment as a record holds it; 0: never.
    #[must_use]
    pub fn of_record(expires_at_ms: u64) -> Option<Expiry> {
        NonZero::new(expires_at_ms).map(Expiry)
    }

    /// As a record holds it; 0: never.
    #[must_use]
    pub fn in_record(expiry: Option<Expiry>) -> u64 {
        expiry.map_or(0, |Expiry(moment)| moment.get())
    }

    /// What is left at `unix_ms`; `None`: the moment has come.
    #[must_use]
    pub fn left_at(self, unix_ms: u64) -> Option<Ttl> {
        let left = self.0.get().checked_sub(unix_ms)?;
        NonZero::new(left).map(Ttl)
    }

    /// Whether the moment has come at `unix_ms`.
    #[must_use]
    pub fn has_come_at(self, unix_ms: u64) -> bool {
        self.0.get() <= unix_ms
    }
}

impl Expires {
    /// The moment, for a write that is taken at `unix_ms`; `None`: never.
    #[must_use]
    pub fn from(self, unix_ms: u64) -> Option<Expiry> {
        match self {
            Expires::Never => None,
            Expires::In(Ttl(ms)) => Some(Expiry(ms.saturating_add(unix_ms))),
            Expires::At(expiry) => Some(expiry),
        }
    }
}

/// In seconds with three decimals, which is a JSON number.
impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(self.0, f)
    }
}

/// In seconds since 1970 with three decimals, which is a JSON number.
impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(self.0, f)
    }
}

fn write_seconds(ms: NonZero<u64>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}.{:03}", ms.get() / 1000, ms.get() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_come_to_the_millisecond() {
        let expiry = Expires::In(Ttl::asked(1_500).expect("in bounds")).from(10_000);
        let expiry = expiry.expect("it ends");
        assert_eq!(Expiry::in_record(Some(expiry)), 11_500);
        let left = |now| expiry.left_at(now).map(|ttl| ttl.to_string());
        assert_eq!(left(10_000).as_deref(), Some("1.500"));
        assert_eq!(left(11_499).as_deref(), Some("0.001"));
        assert_eq!((left(11_500), left(u64::MAX)), (None, None));
        // A clock that was set back gives it longer.
        assert_eq!(left(0).as_deref(), Some("11.500"));
        for now in [0, 11_499, 11_500, u64::MAX] {
            assert_eq!(expiry.has_come_at(now), left(now).is_none());
        }
    }

    #[test]
    fn spans_and_moments_have_bounds() {
        assert_eq!((Ttl::asked(0), Ttl::asked(TTL_MS_MAX + 1)), (None, None));
        assert!(Ttl::asked(1).is_some() && Ttl::asked(TTL_MS_MAX).is_some());
        let beyond = Expiry::asked(EXPIRES_AT_MS_MAX + 1);
        assert_eq!((Expiry::asked(0), beyond), (None, None));
        assert_eq!(Expiry::of_record(0), None);
        assert_eq!(Expiry::in_record(None), 0);
        assert_eq!(Expires::Never.from(5), None);
    }
}
