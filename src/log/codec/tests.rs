use super::*;

fn sealed(id: &str, document: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let draft = Draft {
        kind: Kind::Put,
        flags: Flags::CHOSEN_BY_SERVER,
        version: Version(3),
        expires_at_ms: 0,
        id: &Id::from_text(id).expect("valid"),
        document: document.as_bytes(),
    };
    encode(&mut bytes, &draft);
    seal(&mut bytes, Lsn(7), Lsn(5));
    bytes
}

/// `bytes` with `value` at `at` and the checksum made right again.
fn rewritten(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    let crc = crc32c::crc32c(&bytes[PAYLOAD_BYTES..]);
    put(&mut bytes, CRC, crc.to_le_bytes());
    bytes
}

#[test]
fn a_record_comes_back_as_it_was_drafted() {
    let long_name = "n".repeat(NAME_BYTES_MAX);
    for id in ["12", "-1", "n", "user:7", &long_name] {
        for document in ["1", "null", "{\"a\":[1,2,3]}", "\"\u{e9}\""] {
            let bytes = sealed(id, document);
            assert!(bytes.len().is_multiple_of(8));
            let Decoded::Whole(record) = decode(&bytes) else {
                panic!("{id} {document}: {:?}", decode(&bytes));
            };
            assert_eq!(record.id.to_id().to_string(), id);
            assert_eq!(record.document, document.as_bytes());
            assert_eq!(index(record.encoded_bytes()), bytes.len());
            assert_eq!((record.lsn, record.durable), (Lsn(7), Lsn(5)));
            assert_eq!(
                (record.version, record.expires_at_ms, record.kind),
                (Version(3), 0, Kind::Put)
            );
            assert_eq!(record.flags, Flags::CHOSEN_BY_SERVER);
        }
    }
}

#[test]
fn a_record_cut_anywhere_is_not_whole() {
    let bytes = sealed("user:7", "{\"a\":1}");
    for cut in 0..bytes.len() {
        let decoded = decode(&bytes[..cut]);
        match cut {
            0 => assert_eq!(decoded, Decoded::End),
            1..RECORD_HEADER_BYTES => {
                assert_eq!(decoded, Decoded::Broken(Broken::Short { left: cut }));
            }
            _ => assert!(matches!(decoded, Decoded::Broken(Broken::Length { .. }))),
        }
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_detected() {
    let mut bytes = sealed("user:7", "{\"a\":1}");
    bytes.extend_from_slice(&[0; 64]);
    for bit in 0..(bytes.len() - 64) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let decoded = decode(&flipped);
        assert!(matches!(decoded, Decoded::Broken(_)), "bit {bit}");
    }
}

#[test]
fn zeros_of_any_length_are_the_end() {
    for length in 0..200 {
        assert_eq!(decode(&vec![0; length]), Decoded::End, "{length}");
    }
}

#[test]
fn what_a_later_release_may_write_is_unknown_and_not_broken_off() {
    for (at, value, field) in [
        (KIND, 4, "kind"),
        (KIND, 0, "kind"),
        (FLAGS, 1 << 3, "set of flags"),
        (FLAGS, 1 << 7, "set of flags"),
        (RESERVED, 1, "reserved field"),
        (ID_KIND, 2, "kind of id"),
        (ID_KIND, ID_INTEGER, "id length"),
        (ID_BYTES, 200, "id length"),
        (RECORD_HEADER_BYTES, 0xff, "name"),
        (RECORD_HEADER_BYTES + 15, 1, "padding"),
    ] {
        let bytes = rewritten(sealed("user:7", "{\"a\":1}"), at, value);
        let lsn = Lsn(7);
        let expected = Decoded::Broken(Broken::Unknown { lsn, field });
        assert_eq!(decode(&bytes), expected, "{field}");
    }
}

#[test]
fn a_batch_splits_into_the_drafts_it_was_made_of() {
    let parts = [sealed("1", "1"), sealed("user:7", "[1,2]"), sealed("n", "")];
    let batch = parts.concat();
    assert!(drafts(&batch).eq(parts.iter().map(Vec::as_slice)));
    assert_eq!(drafts(&[]).next(), None);
}

#[test]
#[should_panic(expected = "whole drafts")]
fn a_batch_cut_inside_a_draft_is_a_broken_invariant() {
    drafts(&sealed("1", "1")[..40]).for_each(drop);
}
