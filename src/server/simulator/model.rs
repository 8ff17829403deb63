//! What a store must be, said plainly: a map, and which of its states a restart may find.
//!
//! Shards answer in the order in which their writes take effect, so each answer
//! must be the one that the map gives at that moment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    id::Id,
    log::{Kind, Lsn, Record},
    op::{Chosen, Expiry, Op, Outcome, Refusal, Version},
};

/// A record as a restart reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) lsn: Lsn,
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) document: Bytes,
    pub(super) expiry: Option<Expiry>,
}

impl Change {
    pub(super) fn of(record: &Record<'_>) -> Change {
        Change {
            lsn: record.lsn,
            id: record.id.to_id(),
            kind: record.kind,
            version: record.version,
            document: Bytes::copy_from_slice(record.document),
            expiry: Expiry::of_record(record.expires_at_ms),
        }
    }
}

/// A document that is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    document: Bytes,
    version: Version,
    expiry: Option<Expiry>,
}

/// What documents a sequence of changes leaves behind, those that have expired included.
pub(super) fn state(changes: &[Change]) -> BTreeMap<Id, Stored> {
    let mut documents = BTreeMap::new();
    for change in changes {
        match change.kind {
            Kind::Put => documents.insert(
                change.id.clone(),
                Stored {
                    document: change.document.clone(),
                    version: change.version,
                    expiry: change.expiry,
                },
            ),
            _ => documents.remove(&change.id),
        };
    }
    documents
}

/// What an acknowledged write left in the log.
#[derive(Debug)]
enum Acknowledged {
    Put(Id, Version),
    /// A removal of the document that had this version.
    Delete(Id, Version),
}

/// Which faults were staged, so that a refusal has a reason.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Staged {
    pub(super) full: bool,
    pub(super) failing_sync: bool,
}

/// The document that is only ever counted up, from 0, and removed.
pub(super) fn counter_id() -> Id {
    Id::Name("counter".into())
}

/// What an increment makes of the counter.
fn counted_on(before: Option<&Bytes>) -> Bytes {
    let before = before.map_or(0, |document| {
        let digits = str::from_utf8(document).expect("digits");
        digits.parse().expect("only counted")
    });
    Bytes::from((before + 1_i64).to_string())
}

#[derive(Debug, Default)]
pub(super) struct Model {
    documents: BTreeMap<Id, Stored>,
    /// The largest version that each id ever showed.
    highest: BTreeMap<Id, Version>,
    /// Each id that the server chose, with the version that its document had then.
    handed_out: BTreeMap<Id, Version>,
    acknowledged: Vec<Acknowledged>,
    /// Documents that ended by the clock alone, while the log took nothing: a request that was
    /// asked in time may still find them, behind one that was asked later and did not wait.
    ended_by_clock: BTreeMap<Id, Stored>,
    /// Documents of puts that were refused before they reached the log.
    never_written: BTreeSet<Bytes>,
    /// Every document that was ever sent, with its id and how often. Only what is
    /// stored is sent again.
    sent: BTreeMap<Bytes, (Id, u32)>,
}

impl Model {
    pub(super) fn send(&mut self, op: &Op) {
        if let Op::Put { id, document, .. } = op {
            let sent = self.sent.entry(document.clone());
            sent.or_insert((id.clone(), 0)).1 += 1;
        }
    }

    /// A document that is stored now, to be sent again.
    pub(super) fn document(&self, id: &Id) -> Option<Bytes> {
        let stored = self.documents.get(id);
        stored.map(|stored| stored.document.clone())
    }

    pub(super) fn version(&self, id: &Id) -> Option<Version> {
        self.documents.get(id).map(|stored| stored.version)
    }

    /// Holds an answer against the map, and changes the map as it says.
    pub(super) fn answer(&mut self, op: &Op, outcome: &Outcome, staged: Staged, asked_at_ms: u64) {
        if let Outcome::Refused(refusal) = outcome {
            return self.refuse(op, *refusal, staged);
        }
        self.expire(op.id(), staged, asked_at_ms);
        let condition = match op {
            Op::Get { .. } => None,
            Op::Put { condition, .. }
            | Op::Edit { condition, .. }
            | Op::Delete { condition, .. } => condition.as_deref(),
        };
        let before = self.documents.get(op.id()).cloned();
        let before = before.or_else(|| {
            let found_one = match outcome {
                Outcome::Found { .. } => true,
                Outcome::ConditionFailed => condition.is_some_and(|it| it.holds(None)),
                _ => false,
            };
            found_one.then(|| self.ended_behind(op.id(), asked_at_ms))?
        });
        let version = before.as_ref().map(|stored| stored.version);
        if condition.is_some_and(|condition| !condition.holds(version)) {
            assert_eq!(*outcome, Outcome::ConditionFailed, "{op:?} on {before:?}");
            return;
        }
        match (op, before) {
            (Op::Get { .. } | Op::Delete { .. }, None) => {
                assert_eq!(*outcome, Outcome::Missing, "{op:?}");
            }
            (Op::Get { .. }, Some(stored)) => {
                let Stored {
                    document,
                    version,
                    expiry,
                } = stored;
                let ttl = expiry.and_then(|expiry| expiry.left_at(asked_at_ms));
                let expected = Outcome::Found {
                    document,
                    version,
                    ttl,
                };
                assert_eq!(*outcome, expected, "{op:?}");
            }
            (Op::Delete { id, .. }, Some(stored)) => {
                assert!(matches!(outcome, Outcome::Deleted { .. }), "{op:?}");
                self.documents.remove(id);
                self.acknowledged
                    .push(Acknowledged::Delete(id.clone(), stored.version));
            }
            (Op::Edit { id, .. }, before) => {
                let expiry = before.as_ref().and_then(|stored| stored.expiry);
                let before = before.map(|stored| stored.document);
                let expected = counted_on(before.as_ref());
                let Outcome::Edited {
                    created,
                    version,
                    shown,
                    ..
                } = outcome
                else {
                    panic!("{op:?} on {before:?}: {outcome:?}");
                };
                assert_eq!(*created, before.is_none(), "{op:?} on {before:?}");
                assert_eq!(*shown, expected, "{op:?} on {before:?}");
                let highest = self.highest.insert(id.clone(), *version);
                assert!(
                    highest < Some(*version),
                    "{op:?}: {version:?} after {highest:?}"
                );
                let stored = Stored {
                    document: expected,
                    version: *version,
                    expiry,
                };
                self.documents.insert(id.clone(), stored);
                self.acknowledged
                    .push(Acknowledged::Put(id.clone(), *version));
            }
            (
                Op::Put {
                    document, expires, ..
                },
                Some(stored),
            ) if *document == stored.document
                && stored.expiry.is_none()
                && expires.from(asked_at_ms).is_none() =>
            {
                let expected = Outcome::Stored {
                    created: false,
                    version: stored.version,
                    position: outcome.position().unwrap_or_default(),
                };
                assert_eq!(*outcome, expected, "{op:?}");
            }
            (
                Op::Put {
                    id,
                    document,
                    chosen,
                    expires,
                    ..
                },
                before,
            ) => {
                let Outcome::Stored {
                    created, version, ..
                } = *outcome
                else {
                    panic!("{op:?} on {before:?}: {outcome:?}");
                };
                assert_eq!(created, before.is_none(), "{op:?} on {before:?}");
                let highest = self.highest.insert(id.clone(), version);
                assert!(
                    highest < Some(version),
                    "{op:?}: {version:?} after {highest:?}"
                );
                if *chosen == Chosen::ByServer {
                    let before = self.handed_out.insert(id.clone(), version);
                    assert_eq!(before, None, "{id:?} was handed out twice");
                }
                let stored = Stored {
                    document: document.clone(),
                    version,
                    expiry: expires.from(asked_at_ms),
                };
                self.documents.insert(id.clone(), stored);
                self.acknowledged
                    .push(Acknowledged::Put(id.clone(), version));
            }
        }
    }

    /// Holds an answer against what its document was earlier; it changed nothing then.
    pub(super) fn answer_on(
        &mut self,
        stored: Option<Stored>,
        op: &Op,
        outcome: &Outcome,
        staged: Staged,
        asked_at_ms: u64,
    ) {
        let id = op.id();
        let now = self.put_back(id, stored.clone());
        self.answer(op, outcome, staged, asked_at_ms);
        let version = stored.map(|stored| stored.version);
        let after = self.put_back(id, now).map(|stored| stored.version);
        assert!(after.is_none() || after == version, "{op:?}: {outcome:?}");
    }

    /// Makes a document what it was, and returns what it is.
    fn put_back(&mut self, id: &Id, stored: Option<Stored>) -> Option<Stored> {
        match stored {
            Some(stored) => self.documents.insert(id.clone(), stored),
            None => self.documents.remove(id),
        }
    }

    /// Ends the document if its time has come; that somebody was told so is in the log then.
    pub(super) fn expire(&mut self, id: &Id, staged: Staged, asked_at_ms: u64) {
        let has_come = |stored: &&Stored| {
            let expiry = stored.expiry;
            expiry.is_some_and(|expiry| expiry.has_come_at(asked_at_ms))
        };
        if let Some(stored) = self.documents.get(id).filter(has_come) {
            // While the log takes nothing, the clock alone decides.
            if !staged.full && !staged.failing_sync {
                let version = stored.version;
                self.acknowledged
                    .push(Acknowledged::Delete(id.clone(), version));
            } else {
                self.ended_by_clock.insert(id.clone(), stored.clone());
            }
            self.documents.remove(id);
        }
    }

    /// What an operation that was asked at `asked_at_ms` may still find of a document that has
    /// ended by the clock since, and was not written anew.
    fn ended_behind(&self, id: &Id, asked_at_ms: u64) -> Option<Stored> {
        let stored = self.ended_by_clock.get(id)?;
        let is_in_time = stored.expiry?.left_at(asked_at_ms).is_some();
        let is_last = self.highest.get(id) == Some(&stored.version);
        (is_in_time && is_last).then(|| stored.clone())
    }

    pub(super) fn refuse(&mut self, op: &Op, refusal: Refusal, staged: Staged) {
        match refusal {
            Refusal::DiskFull => {
                assert!(staged.full, "{op:?}: the disk has room");
                if let Op::Put { document, .. } = op
                    && self.sent[document].1 == 1
                {
                    self.never_written.insert(document.clone());
                }
            }
            // Its record may be in the log: whether the sync reached the disk is not known.
            Refusal::LogPoisoned => assert!(staged.failing_sync, "{op:?}: no sync failed"),
            Refusal::Overloaded
            | Refusal::IdsExhausted
            | Refusal::ResponseFull
            | Refusal::AtomicTooLarge
            | Refusal::Edit(_) => panic!("{op:?}: {refusal:?}"),
        }
        assert!(!matches!(op, Op::Get { .. }), "reads are never refused");
    }

    /// Holds the whole log, as it was written, against what was sent and acknowledged;
    /// returns the last record that a restart must find at least.
    pub(super) fn check_log(&self, log: &[Change]) -> Lsn {
        let mut versions: BTreeMap<&Id, Version> = BTreeMap::new();
        let mut counter = None;
        for change in log {
            let last = versions.insert(&change.id, change.version);
            assert!(last < Some(change.version), "{change:?} after {last:?}");
            if change.id == counter_id() {
                let is_put = change.kind == Kind::Put;
                let expected = is_put.then(|| counted_on(counter));
                counter = is_put.then_some(&change.document);
                assert_eq!(counter, expected.as_ref(), "{change:?} lost an increment");
            } else if change.kind == Kind::Put {
                let sent = self.sent.get(&change.document).map(|(id, _)| id);
                assert_eq!(sent, Some(&change.id), "{change:?} was never sent");
                let refused = self.never_written.contains(&change.document);
                assert!(!refused, "{change:?} was refused");
            }
        }
        let position = |acknowledged: &Acknowledged| {
            let found = log.iter().find(|change| match acknowledged {
                Acknowledged::Put(id, version) => {
                    change.kind == Kind::Put && change.id == *id && change.version == *version
                }
                Acknowledged::Delete(id, version) => {
                    change.kind == Kind::Delete && change.id == *id && change.version > *version
                }
            });
            let found = found.unwrap_or_else(|| panic!("{acknowledged:?} is not in the log"));
            found.lsn
        };
        let positions = self.acknowledged.iter().map(position);
        positions.max().unwrap_or(Lsn::NONE)
    }

    /// Goes on from what a restart found. `keeps_all`: everything that was ever
    /// shown must hold on; else what the policy lets go is forgotten.
    pub(super) fn restart(&mut self, found: &[Change], keeps: Keeps) {
        self.documents = state(found);
        self.acknowledged.clear();
        let mut highest = BTreeMap::new();
        for change in found {
            highest.insert(change.id.clone(), change.version);
        }
        if keeps == Keeps::WhatIsInTheLog {
            self.highest = highest;
            let is_found = |id: &Id, version: Version| {
                let mut found = found.iter();
                found.any(|change| change.id == *id && change.version == version)
            };
            self.handed_out.retain(|id, version| is_found(id, *version));
        }
    }

    pub(super) fn documents(&self) -> &BTreeMap<Id, Stored> {
        &self.documents
    }
}

/// What of the shown state a restart may not forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    Everything,
    WhatIsInTheLog,
}
