//! Numbers of JSON by their value: one form for all ways to write the same one.

/// Appends a form of `number`, as JSON writes it, that numbers of the same value share and
/// others do not; its bytes are digits, `e`, `.`, `E`, `+` and `-`.
///
/// Exact for any number of digits. An exponent of more than 18 digits has no other form than
/// its own text.
pub(super) fn write_value(number: &[u8], out: &mut Vec<u8>) {
    match Parts::of(number) {
        Some(parts) => parts.write(out),
        None => out.extend_from_slice(number),
    }
}

/// `-0.digits * 10^exponent`, the digits without zeros at either end.
struct Parts<'n> {
    is_negative: bool,
    integer: &'n [u8],
    fraction: &'n [u8],
    exponent: i64,
}

impl Parts<'_> {
    fn of(number: &[u8]) -> Option<Parts<'_>> {
        let (is_negative, number) = match number.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let end = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (digits, exponent) = match end {
            Some(at) => (&number[..at], exponent(&number[at + 1..])?),
            None => (number, 0),
        };
        let (integer, fraction) = match digits.iter().position(|&byte| byte == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &[][..]),
        };
        Some(Parts {
            is_negative,
            integer,
            fraction,
            exponent,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let digits = || self.integer.iter().chain(self.fraction);
        let Some(leading) = digits().position(|&digit| digit != b'0') else {
            // All zeros are one, whatever their sign and exponent.
            return out.push(b'0');
        };
        let trailing = digits().rev().take_while(|&&digit| digit == b'0').count();
        let count = self.integer.len() + self.fraction.len();
        let places = |digits: usize| i64::try_from(digits).expect("a text fits memory");
        let exponent = self.exponent + places(self.integer.len()) - places(leading);
        if self.is_negative {
            out.push(b'-');
        }
        out.extend(digits().skip(leading).take(count - leading - trailing));
        out.push(b'e');
        out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
    }
}

/// An exponent with its sign; `None` if it has too many digits.
fn exponent(text: &[u8]) -> Option<i64> {
    /// Digits that fit `i64` with room for the length of any text.
    const DIGITS_MAX: usize = 18;
    let digits = text.trim_ascii_start();
    let (is_negative, digits) = match digits.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, digits),
    };
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[zeros..];
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let value = digits
        .iter()
        .fold(0, |value, digit| 10 * value + i64::from(digit - b'0'));
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(number.as_bytes(), &mut out);
        out
    }

    #[test]
    fn all_ways_to_write_a_number_have_one_form() {
        for same in [
            &[
                "0",
                "-0",
                "0.0",
                "-0e9",
                "0E+999999999999999999",
                "0.000e-1",
            ][..],
            &[
                "1",
                "1.0",
                "1e0",
                "10e-1",
                "0.1e1",
                "0.01E+2",
                "1e00000000000000000000",
            ],
            &["-120", "-1.2e2", "-1200e-1", "-120.00"],
            &["0.001", "1e-3", "0.1e-2"],
            &["12345678901234567890123", "1.2345678901234567890123e22"],
        ] {
            for other in same {
                assert_eq!(value(other), value(same[0]), "{other}");
            }
        }
    }

    #[test]
    fn numbers_of_different_value_have_different_forms() {
        let numbers = [
            "0",
            "1",
            "-1",
            "10",
            "0.1",
            "11",
            "1.1",
            "1e400",
            "1e401",
            "100000000000000000001",
            "100000000000000000002",
            "1e9999999999999999999",
            "1e99999999999999999999",
            "1e-9999999999999999999",
        ];
        for (n, a) in numbers.iter().enumerate() {
            for b in &numbers[..n] {
                assert_ne!(value(a), value(b), "{a} {b}");
            }
        }
    }
}
