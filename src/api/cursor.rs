//! Cursors: the last id of a page as text that needs no encoding in a URL.
//!
//! An integer is its decimal form; a name is `n` and its bytes in hexadecimal.
//! Clients are told that a cursor is opaque, so that this can change.

use crate::id::Id;

/// The text that names `id`.
pub(super) fn encode(id: &Id) -> String {
    match id {
        Id::Integer(integer) => integer.to_string(),
        Id::Name(name) => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digits = name.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
            let digits = digits.map(|digit| char::from(HEX[usize::from(digit)]));
            std::iter::once('n').chain(digits).collect()
        }
    }
}

/// The id that `text` names; `None` if [`encode`] never made it.
pub(super) fn decode(text: &str) -> Option<Id> {
    let id = match text.strip_prefix('n') {
        None => Id::from_text(text).ok()?,
        Some(digits) => {
            let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
            let pairs = digits?;
            let bytes = pairs.chunks(2).map(|pair| match pair {
                [high, low] => u8::try_from(high * 16 + low).ok(),
                _ => None,
            });
            let bytes: Option<Vec<u8>> = bytes.collect();
            Id::from_text(str::from_utf8(&bytes?).ok()?).ok()?
        }
    };
    (encode(&id) == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_its_id_and_needs_no_encoding() {
        for text in ["0", "-5", "9223372036854775807", "a", "n", "é/?&%", "007"] {
            let id = Id::from_text(text).expect("an id");
            let cursor = encode(&id);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(cursor.bytes().all(is_plain), "{cursor}");
            assert_eq!(decode(&cursor), Some(id), "{cursor}");
        }
    }

    #[test]
    fn what_is_no_cursor_names_nothing() {
        for text in [
            "", "n", "n6", "n6g", "n61 ", "nff", "n31", "n6A", "007", "a", "1.5", "+1", "n00",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
