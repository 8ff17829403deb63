//! What compaction asks of a shard: which records are live, and where they went.
//!
//! Answered from the index, so from settled writes alone. Each inquiry is bounded
//! by whoever asks, so that a turn of the core stays short.

use super::queue::Shard;
use crate::{
    id::Id,
    log::{LiveBytes, Location},
    op::Version,
};

/// What a shard is asked.
#[derive(Debug)]
pub enum Inquiry {
    /// What its documents take in each segment.
    Usage,
    /// Which versions these documents have.
    Versions(Vec<Id>),
    /// To note where the records of its documents lie now.
    Relocate(Vec<Relocation>),
}

/// A record that lies elsewhere than before.
#[derive(Debug)]
pub struct Relocation {
    /// Of which document.
    pub id: Id,
    /// The version of the document that the record holds.
    pub version: Version,
    /// Where it lies.
    pub to: Location,
}

/// What a shard answers.
#[derive(Debug)]
pub enum Finding {
    /// To [`Inquiry::Usage`].
    Usage(LiveBytes),
    /// To [`Inquiry::Versions`], in the order of the ids; `None`: there is no such document.
    Versions(Vec<Option<Version>>),
    /// To [`Inquiry::Relocate`].
    Relocated,
}

impl<W> Shard<W> {
    /// Answers what compaction asks.
    pub fn look_up(&mut self, inquiry: Inquiry) -> Finding {
        match inquiry {
            Inquiry::Usage => Finding::Usage(self.index.live().clone()),
            Inquiry::Versions(ids) => {
                let version = |id| Some(self.index.get(id)?.version());
                Finding::Versions(ids.iter().map(version).collect())
            }
            Inquiry::Relocate(relocations) => {
                for Relocation { id, version, to } in relocations {
                    self.index.relocate(&id, version, to);
                }
                Finding::Relocated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SegmentNumber;
    use crate::shard::Rules;

    fn at(segment: u32, offset: u32) -> Location {
        Location {
            segment: SegmentNumber(segment),
            offset,
        }
    }

    /// A shard with documents 1 to 3 of 40 bytes in segment 1.
    fn shard() -> Shard<u32> {
        let mut shard = Shard::new(Rules {
            same_document: |a, b| a == b,
            edit: |_, _, _| unreachable!("nothing is edited here"),
            document_bytes_max: 40,
        });
        for n in 1..=3 {
            let version = Version(u64::try_from(n).expect("positive"));
            let offset = u32::try_from(n).expect("positive") * 96;
            shard.restore_put(&Id::Integer(n), version, at(1, offset), &[b'1'; 40], None);
        }
        shard
    }

    fn relocate(shard: &mut Shard<u32>, id: i64, version: u64, to: Location) {
        let version = Version(version);
        let id = Id::Integer(id);
        shard.look_up(Inquiry::Relocate(vec![Relocation { id, version, to }]));
    }

    fn usage(shard: &mut Shard<u32>) -> [u64; 3] {
        let Finding::Usage(live) = shard.look_up(Inquiry::Usage) else {
            panic!("another answer")
        };
        let within = |n| live.within(SegmentNumber(n), SegmentNumber(n));
        assert_eq!(live.total(), within(1) + within(2) + within(3));
        [within(1), within(2), within(3)]
    }

    #[test]
    fn usage_follows_the_documents_through_all_that_happens_to_them() {
        let mut shard = shard();
        assert_eq!(usage(&mut shard), [288, 0, 0]);
        shard.restore_put(&Id::Integer(1), Version(4), at(2, 64), &[b'1'; 41], None);
        shard.restore_delete(&Id::Integer(2));
        assert_eq!(usage(&mut shard), [96, 104, 0]);
        shard.restore_put(&Id::Integer(1), Version(5), at(3, 64), &[b'1'; 41], None);
        shard.restore_delete(&Id::Integer(2));
        assert_eq!(usage(&mut shard), [96, 0, 104]);
        relocate(&mut shard, 3, 3, at(2, 64));
        assert_eq!(usage(&mut shard), [0, 96, 104]);
    }

    #[test]
    fn a_document_that_changed_meanwhile_stays_where_it_was_written() {
        let mut shard = shard();
        shard.restore_put(&Id::Integer(1), Version(4), at(2, 64), &[b'1'; 40], None);
        shard.restore_delete(&Id::Integer(2));
        relocate(&mut shard, 1, 1, at(3, 64));
        relocate(&mut shard, 2, 2, at(3, 160));
        assert_eq!(usage(&mut shard), [96, 96, 0]);
    }

    #[test]
    fn versions_are_those_of_the_index() {
        let mut shard = shard();
        shard.restore_delete(&Id::Integer(2));
        let ids = [3, 2, 1, 9].map(Id::Integer).to_vec();
        let Finding::Versions(versions) = shard.look_up(Inquiry::Versions(ids)) else {
            panic!("another answer")
        };
        assert_eq!(versions, [Some(Version(3)), None, Some(Version(1)), None]);
    }
}
