//! Lines: one at a time out of a growing input, strict about their ends.
//!
//! A line ends with CRLF. A line feed without a carriage return before it, a
//! carriage return without a line feed after it, and every other control
//! character but the tab are errors as soon as they arrive. The scan remembers
//! how far it looked, so an input that arrives byte by byte costs linear time,
//! and it reports the first offending byte, so the way the input was cut does
//! not show.

use memchr::memchr;

/// A scan for the next line of an input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineScan {
    start: usize,
    scanned: usize,
}

/// Why an input has no next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// A line feed without a carriage return before it.
    BareLineFeed,
    /// A carriage return without a line feed after it.
    BareCarriageReturn,
    /// A control character other than the tab.
    ControlCharacter,
    /// The line does not end before the bound.
    TooLong,
}

impl LineError {
    /// What to tell the client, except for [`LineError::TooLong`], whose bound the caller knows.
    pub(super) fn message(self) -> &'static str {
        match self {
            LineError::BareLineFeed => "a line ends with a bare LF; end every line with CRLF",
            LineError::BareCarriageReturn => "a CR without LF after it; end every line with CRLF",
            LineError::ControlCharacter => {
                "a control character where HTTP text belongs; send HTTP/1.1 in clear text"
            }
            LineError::TooLong => "a line is too long; shorten it",
        }
    }
}

impl LineScan {
    /// A scan whose next line begins at `start` of the input.
    pub(super) fn at(start: usize) -> LineScan {
        LineScan {
            start,
            scanned: start,
        }
    }

    /// Where the line under way begins.
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// The next line without its CRLF, which must lie before `end` of the input; `None` until it is whole.
    ///
    /// # Errors
    /// [`LineError`]: the first offending byte of the line, or that the line reaches `end`.
    pub(super) fn next<'b>(
        &mut self,
        input: &'b [u8],
        end: usize,
    ) -> Result<Option<&'b [u8]>, LineError> {
        let visible = &input[..input.len().min(end)];
        let fresh = visible.get(self.scanned..).unwrap_or_default();
        let Some(line_feed) = memchr(b'\n', fresh) else {
            // A CR at the end is judged with the byte that follows it.
            let text = fresh.strip_suffix(b"\r").unwrap_or(fresh);
            check_text(text)?;
            self.scanned += text.len();
            return match input.len() < end {
                true => Ok(None),
                false => Err(LineError::TooLong),
            };
        };
        let Some(text) = fresh[..line_feed].strip_suffix(b"\r") else {
            check_text(&fresh[..line_feed])?;
            return Err(LineError::BareLineFeed);
        };
        check_text(text)?;
        let line = &input[self.start..self.scanned + text.len()];
        *self = LineScan::at(self.scanned + line_feed + 1);
        Ok(Some(line))
    }
}

/// Refuses control characters other than the tab.
fn check_text(text: &[u8]) -> Result<(), LineError> {
    let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
    // The fold has no early exit, so that it becomes vector code.
    if !text.iter().fold(false, |any, &byte| any | is_control(byte)) {
        return Ok(());
    }
    match text.iter().find(|&&byte| is_control(byte)) {
        Some(b'\r') => Err(LineError::BareCarriageReturn),
        _ => Err(LineError::ControlCharacter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one line, whole and byte by byte, and expects the same of both.
    fn check(input: &[u8], expected: Result<Option<&[u8]>, LineError>) {
        assert_eq!(LineScan::default().next(input, 8), expected, "{input:?}");
        let mut scan = LineScan::default();
        let by_bytes = (0..=input.len())
            .map(|cut| scan.next(&input[..cut], 8))
            .find(|answer| *answer != Ok(None));
        assert_eq!(by_bytes.unwrap_or(Ok(None)), expected, "{input:?} in bytes");
    }

    #[test]
    fn a_line_ends_with_crlf_and_nothing_else() {
        check(b"ab\r\ncd", Ok(Some(b"ab")));
        check(b"\r\n", Ok(Some(b"")));
        check(b"a\tb\xff\r\n", Ok(Some(b"a\tb\xff")));
        check(b"", Ok(None));
        check(b"ab\r", Ok(None));
        check(b"\n", Err(LineError::BareLineFeed));
        check(b"ab\n", Err(LineError::BareLineFeed));
        check(b"a\rb", Err(LineError::BareCarriageReturn));
        check(b"a\r\r\n", Err(LineError::BareCarriageReturn));
        check(b"a\0\rb\n", Err(LineError::ControlCharacter));
        check(b"a\x7f", Err(LineError::ControlCharacter));
    }

    #[test]
    fn a_line_with_its_end_fits_the_bound_or_is_too_long() {
        check(b"123456\r\n", Ok(Some(b"123456")));
        check(b"1234567\r\n", Err(LineError::TooLong));
        check(b"12345678", Err(LineError::TooLong));
        check(b"1234567", Ok(None));
    }
}
