//! What a core tells of the requests that it answered: the access log, and those that were slow.
//!
//! Lines are gathered and handed over in batches, so that a request costs the core no system
//! call. A line has the path without its query, and no header field: no token gets there.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use memchr::memmem;

use super::{connection::Answered, tally::micros};
use crate::{
    api::{Label, write_string},
    config::{Config, LogFormat},
    http::{DateClock, Request, Version},
    id::CoreId,
    journal::Journal,
    limits::{ACCESS_LOG_BATCH_BYTES, ACCESS_LOG_PATH_BYTES_MAX, SLOW_REQUESTS_SAID_MAX},
};

/// What the access log says of a request beside how it was answered.
#[derive(Clone, Debug)]
pub struct Note {
    peer: SocketAddr,
    /// What was asked for; `None`: it was no request.
    target: Option<(String, Version)>,
}

impl Note {
    /// That of a request.
    pub fn of(request: &Request<'_>, peer: SocketAddr) -> Box<Note> {
        let mut end = request.path.len().min(ACCESS_LOG_PATH_BYTES_MAX);
        while !request.path.is_char_boundary(end) {
            end -= 1;
        }
        let mut path = request.path[..end].to_owned();
        if end < request.path.len() {
            path.push_str("...");
        }
        Box::new(Note {
            peer,
            target: Some((path, request.version)),
        })
    }

    /// That of bytes that were no request.
    pub fn unread(peer: SocketAddr) -> Box<Note> {
        Box::new(Note { peer, target: None })
    }
}

/// Bytes of the body of a `response`.
pub fn body_bytes(response: &[u8]) -> usize {
    memmem::find(response, b"\r\n\r\n").map_or(0, |at| response.len() - (at + 4))
}

/// Sees every request that a core answered.
pub struct Witness {
    core: CoreId,
    access: Option<AccessLog>,
    slow_us: u64,
    /// Slow requests that were told of since `since`.
    said: u32,
    /// Slow requests that were not, for there were too many.
    unsaid: u64,
    since: Instant,
}

impl Witness {
    pub fn new(
        core: CoreId,
        config: &Config,
        access: Option<Journal>,
        unix_second: u64,
    ) -> Witness {
        Witness {
            core,
            access: access.map(|journal| AccessLog {
                journal,
                format: config.log_format,
                clock: DateClock::new(unix_second),
                lines: Vec::new(),
                line_count: 0,
            }),
            slow_us: config.slow.map_or(u64::MAX, micros),
            said: 0,
            unsaid: 0,
            since: Instant::now(),
        }
    }

    /// Whether requests have a [`Note`].
    pub fn takes_notes(&self) -> bool {
        self.access.is_some()
    }

    /// Sees a request whose answer took `took_us`.
    pub fn see(&mut self, answered: &Answered, took_us: u64) {
        if took_us >= self.slow_us {
            self.tell_slow(answered, took_us);
        }
        if let (Some(access), Some(note)) = (&mut self.access, &answered.exchange.note) {
            access.add(self.core, note, answered, took_us, unix_time());
        }
    }

    /// Goes through what waits for a while, with the time of this turn.
    pub fn tick(&mut self, now: Instant) {
        if now - self.since >= Duration::from_secs(1) {
            self.since = now;
            self.said = 0;
            let more = std::mem::take(&mut self.unsaid);
            if more > 0 {
                tracing::warn!(core = self.core.0, more, "further slow requests");
            }
        }
        if let Some(access) = &mut self.access {
            access.hand_over();
        }
    }

    #[cold]
    fn tell_slow(&mut self, answered: &Answered, took_us: u64) {
        if self.said == SLOW_REQUESTS_SAID_MAX {
            self.unsaid += 1;
            return;
        }
        self.said += 1;
        let (path, method) = Label::texts(answered.exchange.label.index());
        let (status, ms) = (answered.status, took_us / 1000);
        tracing::warn!(core = self.core.0, method, path, status, ms, "slow request");
    }
}

fn unix_time() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// The access log of a core.
struct AccessLog {
    journal: Journal,
    format: LogFormat,
    clock: DateClock,
    lines: Vec<u8>,
    line_count: u64,
}

impl AccessLog {
    fn add(&mut self, core: CoreId, note: &Note, answered: &Answered, took_us: u64, now: Duration) {
        let date = Date::of(self.clock.at(now.as_secs()).line());
        let out = &mut self.lines;
        let (status, bytes, core) = (answered.status, answered.body_bytes, core.0);
        let (_, method) = Label::texts(answered.exchange.label.index());
        match self.format {
            LogFormat::Text => {
                let Date {
                    day,
                    month,
                    year,
                    time,
                } = date;
                let ip = note.peer.ip();
                write!(out, "{ip} - - [{day}/{month}/{year}:{time} +0000] \"").expect(VECTOR);
                match &note.target {
                    Some((path, version)) => {
                        write!(out, "{method} ").expect(VECTOR);
                        write_escaped(path, out);
                        write!(out, " {}", version.text()).expect(VECTOR);
                    }
                    None => out.push(b'-'),
                }
                writeln!(out, "\" {status} {bytes} {took_us} {core}").expect(VECTOR);
            }
            LogFormat::Json => {
                let (year, month, day, time) =
                    (date.year, date.month_number(), date.day, date.time);
                let ms = now.subsec_millis();
                let peer = note.peer;
                write!(
                    out,
                    "{{\"timestamp\":\"{year}-{month:02}-{day}T{time}.{ms:03}Z\",\"peer\":\"{peer}\""
                )
                .expect(VECTOR);
                if let Some((path, version)) = &note.target {
                    write!(out, ",\"method\":\"{method}\",\"path\":").expect(VECTOR);
                    write_string(path, out);
                    write!(out, ",\"version\":\"{}\"", version.text()).expect(VECTOR);
                }
                writeln!(
                    out,
                    ",\"status\":{status},\"bytes\":{bytes},\"us\":{took_us},\"core\":{core}}}"
                )
                .expect(VECTOR);
            }
        }
        self.line_count += 1;
        if self.lines.len() >= ACCESS_LOG_BATCH_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.line_count > 0 {
            let lines = std::mem::take(&mut self.lines);
            self.journal
                .offer(lines, std::mem::take(&mut self.line_count));
        }
    }
}

const VECTOR: &str = "a vector takes every byte";

/// Appends `text` so that it stays within its quotes.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => write!(out, "\\x{byte:02x}").expect(VECTOR),
        }
    }
}

/// The parts of an IMF-fixdate.
struct Date<'d> {
    day: &'d str,
    month: &'d str,
    year: &'d str,
    time: &'d str,
}

impl Date<'_> {
    /// Those of `Date: Sun, 06 Nov 1994 08:49:37 GMT`.
    fn of(line: &[u8; 37]) -> Date<'_> {
        let text = str::from_utf8(line).expect("a date is ASCII");
        Date {
            day: &text[11..13],
            month: &text[14..17],
            year: &text[18..22],
            time: &text[23..31],
        }
    }

    fn month_number(&self) -> usize {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        MONTHS.find(self.month).map_or(0, |at| at / 3 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::DateField, server::connection::Exchange};

    fn line(format: LogFormat, path: Option<&str>) -> String {
        let journal = Journal::start("test log", crate::journal::Sink::Stderr).expect("a thread");
        let mut access = AccessLog {
            journal,
            format,
            clock: DateClock::new(0),
            lines: Vec::new(),
            line_count: 0,
        };
        let note = Note {
            peer: SocketAddr::from(([10, 0, 0, 7], 4321)),
            target: path.map(|path| (path.to_owned(), Version::Http11)),
        };
        let answered = Answered {
            exchange: Exchange {
                label: Label::UNREAD,
                began_us: 0,
                note: None,
            },
            status: 400,
            body_bytes: 12,
        };
        let now = Duration::from_millis(784_111_777_089);
        access.add(CoreId(3), &note, &answered, 1234, now);
        String::from_utf8(access.lines).expect("text")
    }

    #[test]
    fn a_line_is_the_same_in_both_formats_and_a_path_stays_within_its_quotes() {
        let path = "/docs/a\"b\\c\u{7f}é";
        assert_eq!(
            line(LogFormat::Text, Some(path)),
            "10.0.0.7 - - [06/Nov/1994:08:49:37 +0000] \"none /docs/a\\\"b\\\\c\\x7f\\xc3\\xa9 \
             HTTP/1.1\" 400 12 1234 3\n"
        );
        assert_eq!(
            line(LogFormat::Json, Some(path)),
            "{\"timestamp\":\"1994-11-06T08:49:37.089Z\",\"peer\":\"10.0.0.7:4321\",\
             \"method\":\"none\",\"path\":\"/docs/a\\\"b\\\\c\u{7f}é\",\"version\":\"HTTP/1.1\",\
             \"status\":400,\"bytes\":12,\"us\":1234,\"core\":3}\n"
        );
        assert_eq!(
            line(LogFormat::Text, None),
            "10.0.0.7 - - [06/Nov/1994:08:49:37 +0000] \"-\" 400 12 1234 3\n"
        );
        assert!(!line(LogFormat::Json, None).contains("path"));
    }

    #[test]
    fn a_month_has_its_number() {
        for (month, unix_second) in (1..=12).zip((0..12).map(|m| 1_000_000 + m * 2_629_800)) {
            let field = DateField::new(unix_second);
            assert_eq!(Date::of(field.line()).month_number(), month);
        }
    }
}
