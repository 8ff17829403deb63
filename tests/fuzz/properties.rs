//! What must hold of any bytes: the properties that the fuzz targets look for
//! counterexamples to, and that `tests/fuzz_regressions.rs` holds against every
//! input kept under `seeds`.

use oxdaas::{
    api,
    http::{Bounds, Decoder, Fault, Step},
    limits::{BODY_BYTES_MAX_CEILING, JSON_DEPTH_MAX},
    log::{
        Compacted, Decoded, Draft, Floors, Location, Lsn, RECORD_HEADER_BYTES,
        SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, Successor, decode, encode,
        salvage_segment, scan_segment, seal,
    },
    op::Op,
};

/// Small, so that inputs of a fuzzer reach it.
const BODY_BYTES_MAX: usize = 512;

/// Records: what decodes is what encoding gives, scans and salvage stay within
/// the bytes. The first byte says whether the rest gets valid checksums, and
/// whether the segment has a successor.
pub fn record(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    let _ = SegmentHeader::decode(&bytes).map(|header| {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    });
    if mode % 2 == 1 {
        fix_checksums(&mut bytes);
    }
    if let Decoded::Whole(record) = decode(&bytes)
        && record.durable < record.lsn
    {
        let draft = Draft {
            kind: record.kind,
            flags: record.flags,
            version: record.version,
            expires_at_ms: record.expires_at_ms,
            id: &record.id.to_id(),
            document: record.document,
        };
        let mut again = Vec::new();
        encode(&mut again, &draft);
        seal(&mut again, record.lsn, record.durable);
        assert_eq!(again, bytes[..again.len()], "{record:?}");
        assert_eq!(usize::try_from(record.encoded_bytes()), Ok(again.len()));
    }
    let segment = SegmentNumber(1);
    if bytes.len() >= SEGMENT_HEADER_BYTES as usize {
        let header = SegmentHeader {
            number: segment,
            first_lsn: first_lsn(&bytes),
            floors: Floors::NONE,
            bytes: SEGMENT_HEADER_BYTES,
            // One half of the inputs as if compacted, so that their numbers may have gaps.
            compacted: (mode >= 128).then_some(Compacted {
                through: segment,
                records: 0,
                purged_through: Lsn::NONE,
            }),
        };
        let mut scanned = Vec::new();
        let successor = match mode / 2 % 2 {
            0 => Successor::None,
            _ => Successor::Exists,
        };
        let stop = scan_segment(&bytes, &header, successor, &mut |record, at| {
            scanned.push((record.lsn, at));
        });
        assert!(stop.at.offset as usize <= bytes.len());
        assert_eq!(usize::try_from(stop.records), Ok(scanned.len()));
        let mut salvaged: Vec<(Lsn, Location)> = Vec::new();
        let gaps = salvage_segment(&bytes, segment, &mut |record, at| {
            salvaged.push((record.lsn, at));
        });
        assert!(
            salvaged.starts_with(&scanned),
            "salvage finds what a scan finds"
        );
        for gap in gaps {
            assert!((gap.at.offset + gap.bytes) as usize <= bytes.len());
            assert!(salvaged.iter().all(|(_, at)| *at != gap.at));
        }
    }
}

/// The number that a record behind the segment's header claims.
fn first_lsn(bytes: &[u8]) -> Lsn {
    let at = SEGMENT_HEADER_BYTES as usize + 8;
    let number = bytes
        .get(at..at + 8)
        .map_or([0; 8], |b| b.try_into().expect("8 bytes"));
    Lsn(u64::from_le_bytes(number))
}

/// Gives the record at the front, and those behind a segment header, the checksum of their bytes.
fn fix_checksums(bytes: &mut [u8]) {
    for start in [0, SEGMENT_HEADER_BYTES as usize] {
        let mut start = start;
        while let Some(rest) = bytes
            .get_mut(start..)
            .filter(|r| r.len() >= RECORD_HEADER_BYTES)
        {
            let payload_bytes =
                u32::from_le_bytes(rest[4..8].try_into().expect("4 bytes")) as usize;
            if payload_bytes > BODY_BYTES_MAX_CEILING {
                break;
            }
            let whole = (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(8);
            let Some(record) = rest.get_mut(..whole) else {
                break;
            };
            let crc = crc32c::crc32c(&record[4..]);
            record[..4].copy_from_slice(&crc.to_le_bytes());
            start += whole;
        }
    }
}

/// HTTP: the same requests and the same fault, however the bytes were cut on
/// their way. The first four bytes say where they are cut.
pub fn http(input: &[u8]) {
    let Some((cuts, bytes)) = input.split_first_chunk::<4>() else {
        return;
    };
    let whole = decode_all(&[bytes]);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for &cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    assert_eq!(decode_all(&pieces), whole, "cut at {cuts:?}");
    let byte_by_byte: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode_all(&byte_by_byte), whole, "byte by byte");
}

/// The requests of a connection that receives `pieces`, as text, and the fault that ended it.
fn decode_all(pieces: &[&[u8]]) -> (Vec<String>, Option<Fault>) {
    let mut decoder = Decoder::new(Bounds {
        body_bytes_max: BODY_BYTES_MAX,
    });
    let mut requests = Vec::new();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&input) {
                Ok(Step::NeedMore) => break,
                Ok(Step::Continue) => {}
                Ok(Step::Request { request, consumed }) => {
                    assert!(request.body.len() <= BODY_BYTES_MAX);
                    assert!((1..=input.len()).contains(&consumed));
                    requests.push(format!("{request:?}"));
                    input.drain(..consumed);
                }
                Err(fault) => return (requests, Some(fault)),
            }
        }
    }
    (requests, None)
}

/// JSON: what is accepted is JSON as serde_json has it and means the same
/// without its white space; equality is reflexive and symmetric, and texts that
/// are called equal have equal values. The first byte says where the rest is cut
/// into two texts.
pub fn json(input: &[u8]) {
    let Some((&cut, bytes)) = input.split_first() else {
        return;
    };
    let (a, b) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let accepted: Vec<Vec<u8>> = [a, b, bytes].into_iter().filter_map(minified).collect();
    for a in &accepted {
        assert!(api::same_document(a, a));
        for b in &accepted {
            let same = api::same_document(a, b);
            assert_eq!(same, api::same_document(b, a));
            // A wrong yes would lose a write; a wrong no only writes it again.
            assert!(!same || value(a) == value(b));
        }
    }
}

/// The text without insignificant white space, if it is JSON.
fn minified(text: &[u8]) -> Option<Vec<u8>> {
    let parsed = value(text);
    let Ok(minified) = api::minify(text) else {
        assert!(
            parsed.is_none_or(|value| depth(&value) > JSON_DEPTH_MAX),
            "JSON that is not accepted"
        );
        return None;
    };
    // serde_json's tree has no room for lone surrogates and for deep nesting;
    // both are JSON (RFC 8259, sections 8.2 and 9).
    assert!(serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok());
    assert!(minified.len() <= text.len());
    assert_eq!(value(&minified), parsed, "white space has no meaning");
    assert_eq!(
        api::minify(&minified).as_deref(),
        Ok(&*minified),
        "nothing is left to take away"
    );
    Some(minified.into_owned())
}

fn value(text: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(text).ok()
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The API: any request has a plan or a problem, and what would be stored is
/// minified JSON, also what an edit makes of a document. The first byte chooses the method and the path.
pub fn api(input: &[u8]) {
    const HEADS: [&str; 13] = [
        "POST /api HTTP/1.1",
        "POST /api/cmd HTTP/1.1",
        "GET /api/cmd HTTP/1.1",
        "POST /docs HTTP/1.1",
        "PUT /docs/1 HTTP/1.1",
        "PUT /docs/name HTTP/1.1",
        "PATCH /docs/1 HTTP/1.1\r\nContent-Type: application/merge-patch+json",
        "POST /docs/1/increment HTTP/1.1",
        "POST /batch HTTP/1.1",
        "GET /docs/",
        "GET /api?",
        "GET /api/cmd?",
        "PATCH /docs/1 HTTP/1.1\r\nContent-Type: application/json-patch+json",
    ];
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let head = HEADS[usize::from(choice) % HEADS.len()];
    let mut text = head.as_bytes().to_vec();
    if head.contains(" HTTP/1.1") {
        text.extend_from_slice(
            format!("\r\nHost: h\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(),
        );
        text.extend_from_slice(bytes);
    } else {
        text.extend_from_slice(bytes);
        text.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let mut decoder = Decoder::new(Bounds {
        body_bytes_max: BODY_BYTES_MAX_CEILING,
    });
    let Ok(Step::Request { request, .. }) = decoder.next(&text) else {
        return;
    };
    match api::plan(&request) {
        Ok(api::Plan::Run {
            op: Op::Put { document, .. },
            ..
        })
        | Ok(api::Plan::Create { document, .. }) => {
            assert_eq!(api::minify(&document).as_deref(), Ok(&*document));
        }
        Ok(api::Plan::Run {
            op: Op::Edit { edit, .. },
            ..
        }) => {
            const DOCUMENT: &[u8] = br#"{"a":{"b":[1,{"c":null}],"a":"x"},"b":2,"b":[],"":1e400}"#;
            for document in [None, Some(DOCUMENT), Some(b"7"), Some(b"[1,[2],{}]")] {
                let attempt = api::edit(&edit, document, BODY_BYTES_MAX_CEILING);
                if let Ok(Some(edited)) = attempt.result {
                    let document = &*edited.document;
                    assert_eq!(api::minify(document).as_deref(), Ok(document));
                }
            }
        }
        Ok(_) => {}
        Err(problem) => {
            assert!(!problem.message.is_empty());
        }
    }
}
