//! Ids of documents: what they are, and which core owns them.
//!
//! An id is a signed 64-bit integer or a name. Text that is the canonical
//! decimal form of such an integer *is* that integer, so `"12"` and `12` are
//! one id, while `"+7"`, `"007"` and `"12abc"` are names. Placement is a fixed
//! function of the id: every release puts an id on the same place of the ring.

use std::{fmt, hash::Hasher};

use crate::limits::NAME_BYTES_MAX;

/// The key of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A signed 64-bit integer.
    Integer(i64),
    /// 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without control characters that
    /// are not the canonical decimal form of a 64-bit integer.
    Name(Box<str>),
}

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("the id is empty; give an integer or a name of 1 to {NAME_BYTES_MAX} bytes")]
    Empty,
    /// The text is longer than a name may be.
    #[error("the id has {0} bytes; a name has at most {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("the id holds a control character; a name has none")]
    ControlCharacter,
    /// The text is an integer that 64 bits cannot hold.
    #[error("the id is an integer beyond 64 bits; use -9223372036854775808 to 9223372036854775807")]
    IntegerTooLarge,
}

impl Id {
    /// Reads an id from text, as it stands in a path, a query or a JSON string.
    ///
    /// # Errors
    /// [`IdError`] says what a name must be.
    pub fn from_text(text: &str) -> Result<Id, IdError> {
        match canonical_integer(text) {
            Canonical::Integer(integer) => Ok(Id::Integer(integer)),
            Canonical::TooLarge => Err(IdError::IntegerTooLarge),
            Canonical::No if text.is_empty() => Err(IdError::Empty),
            Canonical::No if text.len() > NAME_BYTES_MAX => Err(IdError::TooLong(text.len())),
            Canonical::No if text.chars().any(char::is_control) => Err(IdError::ControlCharacter),
            Canonical::No => Ok(Id::Name(text.into())),
        }
    }

    /// Where the id lies on the ring of all ids: uniform over 64 bits, the same for ever.
    ///
    /// FxHash is weak in its low bits (multiples of 2^32 collapse), so its
    /// result goes through the 64-bit finalizer of MurmurHash3.
    #[must_use]
    pub fn placement(&self) -> u64 {
        match self {
            Id::Integer(integer) => finalize(fxhash::hash64(integer)),
            Id::Name(name) => {
                let mut hasher = fxhash::FxHasher64::default();
                hasher.write(name.as_bytes());
                hasher.write_usize(name.len());
                finalize(hasher.finish())
            }
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Integer(integer) => integer.fmt(f),
            Id::Name(name) => name.fmt(f),
        }
    }
}

/// The index of a core, `0..cores`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The core that owns `placement` among `cores`: its high bits, by
    /// multiplication (Lemire, "A fast alternative to the modulo reduction").
    ///
    /// Hash tables inside a shard use the low bits, see [`bucket_hash`].
    #[must_use]
    pub fn owner(placement: u64, cores: u16) -> CoreId {
        let scaled = (u128::from(placement) * u128::from(cores)) >> 64;
        CoreId(u16::try_from(scaled).expect("a product of a fraction below 1 and a u16 fits a u16"))
    }

    /// The index for a slice that has one element a core.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The hash that tables inside a shard use for an id of this placement.
///
/// Hash tables take their bucket from the low bits and their tag from the high
/// ones, which within a shard are all alike; the multiplication renews those.
#[must_use]
pub fn bucket_hash(placement: u64) -> u64 {
    placement.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn finalize(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

enum Canonical {
    Integer(i64),
    TooLarge,
    No,
}

/// Tells a canonical decimal integer (`0`, `-5`, `12`) from all other text.
fn canonical_integer(text: &str) -> Canonical {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return Canonical::No;
    }
    text.parse().map_or(Canonical::TooLarge, Canonical::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_an_integer_only_in_its_canonical_form() {
        let name = |text: &str| Ok(Id::Name(text.into()));
        for (text, expected) in [
            ("12", Ok(Id::Integer(12))),
            ("0", Ok(Id::Integer(0))),
            ("-5", Ok(Id::Integer(-5))),
            ("9223372036854775807", Ok(Id::Integer(i64::MAX))),
            ("-9223372036854775808", Ok(Id::Integer(i64::MIN))),
            ("9223372036854775808", Err(IdError::IntegerTooLarge)),
            ("+7", name("+7")),
            ("007", name("007")),
            ("-0", name("-0")),
            ("-", name("-")),
            ("12abc", name("12abc")),
            ("1.5", name("1.5")),
            ("", Err(IdError::Empty)),
            ("a\nb", Err(IdError::ControlCharacter)),
        ] {
            assert_eq!(Id::from_text(text), expected, "{text:?}");
        }
        assert!(Id::from_text(&"n".repeat(255)).is_ok());
        assert_eq!(Id::from_text(&"n".repeat(256)), Err(IdError::TooLong(256)));
    }

    /// A change here moves documents between cores of existing stores and peers.
    #[test]
    fn placement_has_its_golden_values() {
        let placement = |text: &str| Id::from_text(text).expect("valid").placement();
        for (text, expected) in GOLDEN {
            assert_eq!(
                placement(text),
                *expected,
                "{text}: {:#018x}",
                placement(text)
            );
        }
    }

    const GOLDEN: &[(&str, u64)] = &[
        ("0", 0x0000_0000_0000_0000),
        ("1", 0x37e8_d294_6949_7cd2),
        ("-1", 0x92f9_6f6a_0392_ef8d),
        ("4294967296", 0xb35b_306e_4a1b_e344),
        ("user:7", 0x8e43_c99b_f4e1_58c3),
    ];

    #[test]
    fn multiples_of_two_to_the_32_spread_over_cores_and_buckets() {
        let mut owners = [0_u32; 4];
        let mut buckets = std::collections::HashSet::new();
        for n in 0..4096_i64 {
            let placement = Id::Integer(n << 32).placement();
            owners[CoreId::owner(placement, 4).index()] += 1;
            buckets.insert(bucket_hash(placement) & 0xfff);
        }
        assert!(owners.iter().all(|&count| count > 900), "{owners:?}");
        // 4096 balls in 4096 bins leave about 37 % of the bins empty.
        assert!(buckets.len() > 2400, "{} buckets", buckets.len());
    }
}
