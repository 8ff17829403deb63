//! Header fields: the ones the server knows, found by name.
//!
//! The fields of a request stay where they were received. A set of the names
//! that occur answers at once for absent fields, which is nearly every lookup
//! of a GET; only a field that is there is searched for.

use memchr::memchr;

/// A header field that the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each name is that of a field of RFC 9110 or RFC 9112"
)]
pub enum Field {
    Accept,
    AcceptEncoding,
    AccessControlRequestHeaders,
    AccessControlRequestMethod,
    Authorization,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentRange,
    ContentType,
    Durability,
    Expect,
    Host,
    IfMatch,
    IfNoneMatch,
    LastEventId,
    Origin,
    Prefer,
    TransferEncoding,
}

impl Field {
    /// The field of that name, in any case.
    pub(super) fn of(name: &[u8]) -> Option<Field> {
        use Field::*;
        // The length leaves at most four candidates, so that most fields cost one jump.
        let candidates: &[(&str, Field)] = match name.len() {
            4 => &[("host", Host)],
            6 => &[
                ("accept", Accept),
                ("expect", Expect),
                ("origin", Origin),
                ("prefer", Prefer),
            ],
            8 => &[("if-match", IfMatch)],
            10 => &[("connection", Connection), ("durability", Durability)],
            12 => &[("content-type", ContentType)],
            13 => &[
                ("if-none-match", IfNoneMatch),
                ("authorization", Authorization),
                ("content-range", ContentRange),
                ("last-event-id", LastEventId),
            ],
            14 => &[("content-length", ContentLength)],
            15 => &[("accept-encoding", AcceptEncoding)],
            16 => &[("content-encoding", ContentEncoding)],
            17 => &[("transfer-encoding", TransferEncoding)],
            29 => &[("access-control-request-method", AccessControlRequestMethod)],
            30 => &[(
                "access-control-request-headers",
                AccessControlRequestHeaders,
            )],
            _ => &[],
        };
        let same = |(known, _): &&(&str, Field)| name.eq_ignore_ascii_case(known.as_bytes());
        candidates.iter().find(same).map(|&(_, field)| field)
    }
}

/// The header fields of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'b> {
    lines: &'b [u8],
    present: u32,
}

impl<'b> Fields<'b> {
    /// The fields in `lines`, of which each ends with CRLF and has its colon right after its name.
    pub(super) fn new(lines: &'b [u8]) -> Fields<'b> {
        Fields { lines, present: 0 }
    }

    /// Notes that `field` occurs.
    pub(super) fn note(&mut self, field: Field) {
        self.present |= bit(field);
    }

    /// Whether `field` occurs.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.present & bit(field) != 0
    }

    /// The value of the first line of `field`, without white space around it.
    #[must_use]
    pub fn first(&self, field: Field) -> Option<&'b [u8]> {
        self.all(field).next()
    }

    /// The values of all lines of `field`, in order, without white space around them.
    pub fn all(&self, field: Field) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let mut rest = if self.has(field) { self.lines } else { &[] };
        std::iter::from_fn(move || {
            let end = memchr(b'\n', rest)?;
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            Some(line)
        })
        .filter_map(move |line| {
            let colon = memchr(b':', line)?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            (Field::of(name) == Some(field)).then(|| value.trim_ascii())
        })
    }
}

fn bit(field: Field) -> u32 {
    1 << u32::from(field as u8)
}

/// The elements of a comma-separated list, without white space around them, empty ones left out
/// (RFC 9110, section 5.6.1).
pub(super) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let trimmed = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    trimmed.filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &'static str) -> Fields<'static> {
        let mut fields = Fields::new(lines.as_bytes());
        for line in lines.lines() {
            let name = line.split(':').next().unwrap_or_default();
            Field::of(name.as_bytes())
                .into_iter()
                .for_each(|field| fields.note(field));
        }
        fields
    }

    #[test]
    fn fields_are_found_by_name_in_any_case_and_in_order() {
        let fields = fields(
            "HOST: h\r\nX: Prefer: no\r\nIf-Match: \"1\" \r\nif-match:\t\"2:3\"\r\nOrigin:\r\n",
        );
        assert_eq!(fields.first(Field::Host), Some(&b"h"[..]));
        let tags: Vec<_> = fields.all(Field::IfMatch).collect();
        assert_eq!(tags, [&b"\"1\""[..], b"\"2:3\""]);
        assert_eq!(fields.first(Field::Origin), Some(&b""[..]));
        assert!(fields.has(Field::Origin) && !fields.has(Field::Prefer));
        assert_eq!(fields.first(Field::Prefer), None);
    }

    #[test]
    fn a_field_is_known_by_its_whole_name() {
        assert_eq!(Field::of(b"Content-Length"), Some(Field::ContentLength));
        assert_eq!(Field::of(b"Content_Length"), None);
        assert_eq!(
            Field::of(b"TRANSFER-encoding"),
            Some(Field::TransferEncoding)
        );
        assert_eq!(Field::of(b""), None);
    }

    #[test]
    fn list_elements_are_trimmed_and_empty_ones_left_out() {
        let elements: Vec<_> = list_elements(b" a,, b\t,").collect();
        assert_eq!(elements, [b"a", b"b"]);
    }
}
