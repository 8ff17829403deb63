//! Grammars: the tokens and hosts of RFC 9110, byte by byte.

use memchr::memchr;

/// The bytes of a registered name (RFC 3986, section 3.2.2).
const HOST_BYTES: [bool; 256] = alphanumeric_and(b"-._~%!$&'()*+,;=");
/// The bytes of a token (RFC 9110, section 5.6.2).
const TOKEN_BYTES: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// Whether `byte` may stand in a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// Whether `bytes` are a token: at least one byte, all of them token bytes.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// Whether `value` is what a Host field may hold: `uri-host [":" port]` (RFC 9110, section 7.2).
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, after) = match value.first() {
        Some(b'[') => match memchr(b']', value) {
            Some(end) => (&value[1..end], &value[end + 1..]),
            None => return false,
        },
        _ => value.split_at(memchr(b':', value).unwrap_or(value.len())),
    };
    let is_literal = value.first() == Some(&b'[');
    let host_byte = |&byte: &u8| HOST_BYTES[usize::from(byte)] || (is_literal && byte == b':');
    let port = after.strip_prefix(b":").unwrap_or(after);
    host.iter().all(host_byte)
        && port.iter().all(u8::is_ascii_digit)
        && (after.is_empty() || after[0] == b':')
}

/// A set of bytes as a table, for one load a byte instead of a search.
const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        set[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        set[others[index] as usize] = true;
        index += 1;
    }
    set
}
