//! Content codings (RFC 9110, section 8.4): what a client can read, what it sent.
//!
//! The server knows gzip and none. It writes gzip at its fastest, because a
//! request must not keep a core from all others.

use std::io::{Read, Write};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};

use super::{Fault, Field, Fields, fields::list_elements};

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// The coding of a response that the client would rather have (RFC 9110, section 12.5.3).
    #[must_use]
    pub fn accepted(fields: &Fields<'_>) -> Coding {
        if !fields.has(Field::AcceptEncoding) {
            return Coding::Identity;
        }
        let (mut gzip, mut identity, mut any) = (None, None, None);
        for element in fields.all(Field::AcceptEncoding).flat_map(list_elements) {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(WEIGHT_MAX);
            if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
                gzip = Some(weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = Some(weight);
            } else if name == b"*" {
                any = Some(weight);
            }
        }
        let gzip = gzip.or(any).unwrap_or(0);
        match gzip > 0 && gzip >= identity.unwrap_or(0) {
            true => Coding::Gzip,
            false => Coding::Identity,
        }
    }

    /// The coding of the body of a request; `None`: one that the server does not know.
    #[must_use]
    pub fn of_body(fields: &Fields<'_>) -> Option<Coding> {
        let mut coding = Coding::Identity;
        for name in fields.all(Field::ContentEncoding).flat_map(list_elements) {
            if name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let is_gzip =
                name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip");
            if !is_gzip || coding == Coding::Gzip {
                return None;
            }
            coding = Coding::Gzip;
        }
        Some(coding)
    }
}

/// The weight of what a client wants most, in thousandths.
const WEIGHT_MAX: u32 = 1000;

/// The weight that a parameter gives, in thousandths; one that is malformed forbids.
fn weight(parameter: &[u8]) -> Option<u32> {
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let weight = match value {
        b"1" => WEIGHT_MAX,
        [b'1', b'.', zeros @ ..] if zeros.iter().all(|&digit| digit == b'0') => WEIGHT_MAX,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let scales = [100, 10, 1].into_iter();
            let digits = digits.iter().zip(scales);
            digits
                .map(|(digit, scale)| u32::from(digit - b'0') * scale)
                .sum()
        }
        _ => 0,
    };
    Some(weight)
}

/// `parts` in a row, in gzip.
#[must_use]
pub fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 2), Compression::fast());
    for part in parts {
        encoder.write_all(part).expect("a vector takes every byte");
    }
    encoder.finish().expect("a vector takes every byte")
}

/// What `body` holds in gzip, of at most `bytes_max` bytes.
///
/// # Errors
/// 400 if it is not whole gzip to its end, 413 if it holds more.
pub fn gunzip(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let bound = u64::try_from(bytes_max).expect("usize has 64 bits at most");
    let mut decoded = Vec::new();
    let read = MultiGzDecoder::new(body)
        .take(bound + 1)
        .read_to_end(&mut decoded);
    if decoded.len() > bytes_max {
        return Err(Fault::body_too_large(bytes_max));
    }
    match read {
        Ok(_) => Ok(decoded),
        Err(_) => Err(Fault::bad_request(
            "the body is not whole gzip; send it as Content-Encoding says, or as it is without that header",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of `lines`, each of which is a header line.
    fn with_fields<T>(lines: &[&str], check: impl FnOnce(&Fields<'_>) -> T) -> T {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut fields = Fields::new(text.as_bytes());
        for line in lines {
            let name = line.split(':').next().unwrap_or_default();
            fields.note(Field::of(name.as_bytes()).expect(line));
        }
        check(&fields)
    }

    #[test]
    fn a_client_gets_gzip_if_it_says_that_it_takes_it() {
        for accepted in [
            "gzip",
            "GZIP",
            "x-gzip",
            "*",
            "br, gzip;q=0.001",
            "deflate,gzip ; q=1.000",
            "gzip;q=0.5, identity;q=0.5",
            "*;q=0, gzip",
            "identity;q=0, *",
        ] {
            let line = format!("Accept-Encoding: {accepted}");
            assert_eq!(
                with_fields(&[&line], Coding::accepted),
                Coding::Gzip,
                "{accepted}"
            );
        }
        for refused in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip; q=0.0, *",
            "*;q=0",
            "gzip;q=0.5, identity",
            "gzip;q=1.5",
            "gzip;q=x",
            "gzip;q=",
            "xgzip",
        ] {
            let line = format!("Accept-Encoding: {refused}");
            assert_eq!(
                with_fields(&[&line], Coding::accepted),
                Coding::Identity,
                "{refused}"
            );
        }
        assert_eq!(with_fields(&[], Coding::accepted), Coding::Identity);
        let lines = ["Accept-Encoding: br", "Accept-Encoding: gzip"];
        assert_eq!(with_fields(&lines, Coding::accepted), Coding::Gzip);
    }

    #[test]
    fn a_body_is_coded_once_at_most() {
        for (lines, expected) in [
            (&[][..], Some(Coding::Identity)),
            (&["Content-Encoding:"], Some(Coding::Identity)),
            (&["Content-Encoding: identity"], Some(Coding::Identity)),
            (&["Content-Encoding: GZip"], Some(Coding::Gzip)),
            (&["Content-Encoding: x-gzip, identity"], Some(Coding::Gzip)),
            (&["Content-Encoding: br"], None),
            (&["Content-Encoding: gzip, br"], None),
            (&["Content-Encoding: gzip, gzip"], None),
            (&["Content-Encoding: gzip", "Content-Encoding: gzip"], None),
        ] {
            assert_eq!(with_fields(lines, Coding::of_body), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_was_coded_comes_back_and_only_whole() {
        let text = "{\"a\":[1,2.50,\"é\"]}".repeat(20);
        let (first, second) = text.as_bytes().split_at(50);
        let coded = gzip(&[first, second]);
        assert!(coded.len() < text.len());
        assert_eq!(gunzip(&coded, text.len()).as_deref(), Ok(text.as_bytes()));
        // Two members in a row are one body (RFC 1952, section 2.2).
        let twice = [gzip(&[first]), gzip(&[second])].concat();
        assert_eq!(gunzip(&twice, text.len()).as_deref(), Ok(text.as_bytes()));
        assert_eq!(gunzip(&gzip(&[]), 0).as_deref(), Ok(&b""[..]));
        let status = |body: &[u8]| gunzip(body, text.len()).map_err(|fault| fault.status.code());
        for end in 0..coded.len() {
            assert_eq!(status(&coded[..end]), Err(400), "cut at {end}");
        }
        for at in coded.len() - 8..coded.len() {
            let mut flipped = coded.clone();
            flipped[at] ^= 1;
            assert_eq!(status(&flipped), Err(400), "flipped at {at}");
        }
        assert_eq!(status(&[&coded[..], b"{}"].concat()), Err(400));
        assert_eq!(status(b"{}"), Err(400));
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound() {
        let bomb = gzip(&[&vec![b' '; 8 << 20]]);
        let refused = gunzip(&bomb, 1 << 16).expect_err("8 MiB are more");
        assert_eq!(refused.status.code(), 413);
        let fits = gzip(&[&[b' '; 1000]]);
        assert!(gunzip(&fits, 1000).is_ok());
        assert_eq!(
            gunzip(&fits, 999).map_err(|fault| fault.status.code()),
            Err(413)
        );
    }
}
