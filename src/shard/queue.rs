//! Operations on one shard, and the queue in which writes wait for the disk.
//!
//! What stays true:
//! - [`Index`] holds durable state alone. A write changes it when the log says
//!   that its record is on disk, in the order in which the writes were asked.
//! - Conditions are judged against the latest state, queued writes included.
//! - Whatever depends on a queued write is answered from its place in the queue,
//!   so no answer shows state that a crash could still take back.
//! - A write that asked to be answered before the disk has it is answered so to its
//!   writer alone; all others see it once it is settled.
//! - When the log refuses a record, every write queued behind it is refused as
//!   well: each was judged on a state that will never be.
//! - Operations on an id that an atomic batch holds are not judged before it is done with it;
//!   [`atomic`](super::atomic) says how.
//! - Nothing finds a document whose time has come; [`expiry`](super::expiry) says how it ends.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use super::{
    Rules,
    atomic::Parts,
    entry::{Entry, NewEntry},
    expiry::{Sweep, system_unix_ms},
    index::Index,
};
use crate::{
    id::Id,
    limits::UNSETTLED_BYTES_MAX,
    log::{Draft, Flags, Kind, Location, encode},
    op::{
        Chosen, Condition, Durability, Edit, Expires, Expiry, Lsn, Op, Outcome, Refusal, Shows,
        Ttl, Version,
    },
};

/// The documents of one core. `W` names who waits for an answer.
pub struct Shard<W> {
    pub(super) index: Index,
    pub(super) queue: VecDeque<Queued<W>>,
    /// For each id with a queued write, what the last of them leaves behind.
    pub(super) latest: HashMap<Id, Latest, fxhash::FxBuildHasher>,
    /// Encoded records that the log has not been given yet.
    pub(super) drafts: Vec<u8>,
    pub(super) draft_count: u32,
    pub(super) unsettled_bytes: usize,
    epoch: u32,
    pub(super) last_version: Version,
    /// The last record of this shard that is settled, or a later one.
    pub(super) position: Lsn,
    /// Every record up to this one is known to be on disk.
    durable: Lsn,
    /// How many of the drafts have a writer who wants to hear when they are in the log.
    draft_logged_count: u32,
    /// How many have one who wants to hear of it only when they are on disk.
    draft_synced_count: u32,
    pub(super) rules: Rules,
    pub(super) edit_work_bytes: u64,
    /// Milliseconds since 1970; read for documents that expire alone.
    pub(super) clock: fn() -> u64,
    pub(super) sweep: Sweep,
    pub(super) parts: Parts<W>,
}

/// Records on their way from a shard to the log, in the order of their writes.
#[derive(Debug)]
pub struct Batch {
    /// Batches of an earlier epoch than the log expects are void: a record
    /// before them was refused, and the shard has refused their writes too.
    pub epoch: u32,
    /// Encoded drafts, one after the other.
    pub bytes: Vec<u8>,
    /// How many drafts these are.
    pub count: u32,
    /// What the shard's documents took in the log before these.
    pub live_bytes: u64,
    /// How many have a writer who wants to hear when they are in the log.
    pub logged_count: u32,
    /// How many have one who wants to hear of it only when they are on disk.
    pub synced_count: u32,
}

/// Where a record stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub lsn: Lsn,
    /// Its first byte.
    pub location: Location,
}

/// What became of the oldest records that a shard has under way.
#[derive(Debug, Default)]
pub struct Settled {
    /// Where the next records of the shard now lie, as durable as the policy asks.
    pub places: Vec<Place>,
    /// Why the record after those was refused, and with it all that follow.
    pub refused: Option<Refusal>,
    /// The numbers of the records after those, which are in the log but not settled.
    pub logged: Vec<Lsn>,
    /// Every record up to this one is on disk.
    pub durable: Lsn,
}

/// What a queued write leaves behind, for the operations that come after it.
pub(super) struct Latest {
    /// `None`: the document is deleted.
    pub(super) state: Option<Held>,
    /// Queued writes of this id.
    writes: u32,
}

/// A document as a queued write leaves it.
pub(super) struct Held {
    version: Version,
    document: Bytes,
    expiry: Option<Expiry>,
}

pub(super) enum Queued<W> {
    Write {
        id: Id,
        version: Version,
        change: Change,
        asked: Asked<Option<W>>,
    },
    Read {
        id: Id,
        /// The moment at which it is judged whether the document has expired.
        asked_at_ms: u64,
        waiter: W,
    },
    Answer {
        outcome: Outcome,
        waiter: W,
    },
}

/// Who waits for a write, and for how much of it.
pub(super) struct Asked<W> {
    durability: Durability,
    waiter: W,
}

pub(super) enum Change {
    Put {
        document: Bytes,
        created: bool,
        expiry: Option<Expiry>,
        /// What an edit answers of the document; `None`: it was sent whole.
        shown: Option<Bytes>,
    },
    Delete,
    /// The record is a mark: what is settled already is to be on disk before this is answered.
    Nothing {
        outcome: Outcome,
    },
}

impl<W> Shard<W> {
    /// An empty shard of documents that obey `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Shard<W> {
        Shard {
            index: Index::default(),
            queue: VecDeque::new(),
            latest: HashMap::default(),
            drafts: Vec::new(),
            draft_count: 0,
            unsettled_bytes: 0,
            epoch: 0,
            last_version: Version(0),
            position: Lsn::NONE,
            durable: Lsn::NONE,
            draft_logged_count: 0,
            draft_synced_count: 0,
            rules,
            edit_work_bytes: 0,
            clock: system_unix_ms,
            sweep: Sweep::default(),
            parts: Parts::default(),
        }
    }

    /// The same with another clock than the system's, in milliseconds since 1970.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> u64) -> Shard<W> {
        Shard { clock, ..self }
    }

    /// Makes room for `count` documents more that recovery may find.
    pub fn expect_documents(&mut self, count: usize) {
        self.index.expect_documents(count);
    }

    /// Takes in a stored document that recovery found in the log.
    pub fn restore_put(
        &mut self,
        id: &Id,
        version: Version,
        location: Location,
        document: &[u8],
        expiry: Option<Expiry>,
    ) {
        self.index.restore_put(&NewEntry {
            id,
            version,
            location,
            document,
            expiry,
        });
    }

    /// Takes in a removal that recovery found in the log.
    pub fn restore_delete(&mut self, id: &Id) {
        self.index.restore_remove(id);
    }

    /// Ends recovery: everything that was found is put in order.
    pub fn end_restore(&mut self) {
        self.index.end_restore();
    }

    /// Ends recovery of all shards: new versions are larger than `highest`, the largest of the
    /// whole log.
    ///
    /// Shards count on their own from there. That keeps each document's versions
    /// growing, because it has one owner until the next restart.
    pub fn begin_versions_above(&mut self, highest: Version) {
        assert!(
            self.queue.is_empty(),
            "recovery ends before the first operation"
        );
        assert!(self.index.is_in_order(), "what was restored is in order");
        self.last_version = highest;
    }

    /// Ends recovery of all shards: `last` is the last record of the whole log, and on disk.
    pub fn begin_positions_at(&mut self, last: Lsn) {
        (self.position, self.durable) = (last, last);
    }

    /// How many durable documents the shard holds.
    #[must_use]
    pub fn document_count(&self) -> usize {
        self.index.document_count()
    }

    /// Bytes of its documents' records in the log.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.index.live().total()
    }

    /// Bytes of writes that are on their way to disk.
    #[must_use]
    pub fn unsettled_bytes(&self) -> usize {
        self.unsettled_bytes + self.parts.bytes()
    }

    /// What all edits have cost together, in bytes that they went over.
    #[must_use]
    pub fn edit_work_bytes(&self) -> u64 {
        self.edit_work_bytes
    }

    /// Bytes that `op` has to go over at least.
    #[must_use]
    pub fn bytes_at_hand(&self, op: &Op) -> usize {
        match op {
            Op::Get { .. } | Op::Delete { .. } => 0,
            Op::Put { document, .. } => document.len(),
            Op::Edit { id, edit, .. } => {
                let document_bytes = self.current_document(id).map_or(0, <[u8]>::len);
                let times = match edit {
                    Edit::Patch(steps) => steps.len(),
                    Edit::Replace { .. } | Edit::Merge { .. } | Edit::Increment(_) => 1,
                };
                edit.payload_bytes() + document_bytes.saturating_mul(times)
            }
        }
    }

    /// Executes `op`, or queues it: `None` means that [`Shard::settle`] will give
    /// the outcome to `waiter`.
    pub fn execute(&mut self, op: Op, waiter: W) -> Option<Outcome> {
        self.execute_as(op, Durability::AsConfigured, waiter)
    }

    /// As [`Shard::execute`]; a write is answered when `durability` says.
    pub fn execute_as(&mut self, op: Op, durability: Durability, waiter: W) -> Option<Outcome> {
        if self.parts.hold(op.id()) {
            if self.is_overloaded() && !matches!(op, Op::Get { .. }) {
                return Some(Outcome::Refused(Refusal::Overloaded));
            }
            self.parts.defer(op, durability, waiter);
            return None;
        }
        let asked = Asked { durability, waiter };
        match op {
            Op::Get { id } => self.get(id, asked.waiter),
            Op::Put {
                id,
                document,
                condition,
                chosen,
                expires,
            } => {
                let current = self.current(&id);
                if !holds(condition.as_deref(), current.version) {
                    return self.answer(current.unsettled, Outcome::ConditionFailed, asked.waiter);
                }
                let expiry = self.expiry(expires);
                if let Some(version) = current.version
                    && (current.expiry, expiry) == (None, None)
                    && self.is_current(&id, &document)
                {
                    let outcome = Outcome::Stored {
                        created: false,
                        version,
                        position: self.position,
                    };
                    return self.answer_equal(current.unsettled, outcome, asked);
                }
                let change = Change::Put {
                    document,
                    created: current.version.is_none(),
                    expiry,
                    shown: None,
                };
                self.write(id, change, chosen, asked)
            }
            Op::Edit {
                id,
                edit,
                condition,
                shows,
            } => {
                let current = self.current(&id);
                if !holds(condition.as_deref(), current.version) {
                    return self.answer(current.unsettled, Outcome::ConditionFailed, asked.waiter);
                }
                self.edit(id, (&edit, shows), current, asked)
            }
            Op::Delete { id, condition } => {
                let current = self.current(&id);
                if !holds(condition.as_deref(), current.version) {
                    return self.answer(current.unsettled, Outcome::ConditionFailed, asked.waiter);
                }
                if current.version.is_none() {
                    return self.answer(current.unsettled, Outcome::Missing, asked.waiter);
                }
                self.write(id, Change::Delete, Chosen::ByClient, asked)
            }
        }
    }

    /// The records of the writes since the last call, for the log; `None`: there were none.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.draft_count == 0 {
            return None;
        }
        let bytes = std::mem::take(&mut self.drafts);
        let count = std::mem::take(&mut self.draft_count);
        Some(Batch {
            epoch: self.epoch,
            bytes,
            count,
            live_bytes: self.index.live().total(),
            logged_count: std::mem::take(&mut self.draft_logged_count),
            synced_count: std::mem::take(&mut self.draft_synced_count),
        })
    }

    /// Applies what the log did with the oldest queued writes, and answers
    /// everyone who waited for it, in the order of the queue.
    ///
    /// # Panics
    /// Panics when the log settles more records than it was given.
    pub fn settle(&mut self, settled: Settled, mut answer: impl FnMut(W, Outcome)) {
        self.durable = self.durable.max(settled.durable);
        for place in settled.places {
            self.answer_up_to_a_write(&mut answer);
            self.commit(place, &mut answer);
        }
        self.answer_up_to_a_write(&mut answer);
        if let Some(refusal) = settled.refused {
            self.refuse_all(refusal, &mut answer);
        }
        self.answer_logged(settled.logged, answer);
    }

    /// Answers those whose records are in the log, and who want to know no more.
    fn answer_logged(&mut self, logged: Vec<Lsn>, mut answer: impl FnMut(W, Outcome)) {
        let mut writes = self.queue.iter_mut().filter_map(|queued| match queued {
            Queued::Write {
                version,
                change,
                asked,
                ..
            } => Some((*version, change, asked)),
            Queued::Read { .. } | Queued::Answer { .. } => None,
        });
        for lsn in logged {
            let (version, change, asked) = writes.next().expect("each record has its write");
            if asked.durability == Durability::Logged
                && let Some(waiter) = asked.waiter.take()
            {
                answer(waiter, change.outcome(version, lsn));
            }
        }
    }

    fn commit(&mut self, place: Place, answer: &mut impl FnMut(W, Outcome)) {
        let Some(Queued::Write {
            id,
            version,
            change,
            asked,
        }) = self.queue.pop_front()
        else {
            panic!("the log settled a record that it was not given");
        };
        self.unsettled_bytes -= change.bytes();
        if !matches!(change, Change::Nothing { .. }) {
            self.forget_latest(&id);
        }
        self.apply(&id, version, &change, place);
        self.sweep.settled(version);
        if let Some(waiter) = asked.waiter {
            answer(waiter, change.outcome(version, place.lsn));
        }
    }

    /// Makes a settled write part of the durable state.
    pub(super) fn apply(&mut self, id: &Id, version: Version, change: &Change, place: Place) {
        self.position = self.position.max(place.lsn);
        match change {
            Change::Put {
                document, expiry, ..
            } => {
                self.index.put(&NewEntry {
                    id,
                    version,
                    location: place.location,
                    document,
                    expiry: *expiry,
                });
            }
            Change::Delete => {
                assert!(
                    self.index.remove(id),
                    "a removal is queued only for a document that exists"
                );
            }
            Change::Nothing { .. } => {}
        }
    }

    fn answer_up_to_a_write(&mut self, answer: &mut impl FnMut(W, Outcome)) {
        while !matches!(self.queue.front(), None | Some(Queued::Write { .. })) {
            match self.queue.pop_front() {
                Some(Queued::Read {
                    id,
                    asked_at_ms,
                    waiter,
                }) => answer(waiter, self.read_at(&id, asked_at_ms)),
                Some(Queued::Answer { outcome, waiter }) => {
                    answer(waiter, outcome.at(self.position));
                }
                Some(Queued::Write { .. }) | None => unreachable!("looked at above"),
            }
        }
    }

    /// Nothing of the queue takes effect, and reads find the durable state.
    fn refuse_all(&mut self, refusal: Refusal, answer: &mut impl FnMut(W, Outcome)) {
        self.epoch += 1;
        self.latest.clear();
        self.drafts.clear();
        self.draft_count = 0;
        (self.draft_logged_count, self.draft_synced_count) = (0, 0);
        self.unsettled_bytes = 0;
        self.sweep.refused(self.now_ms());
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Write { asked, .. } => {
                    if let Some(waiter) = asked.waiter {
                        answer(waiter, Outcome::Refused(refusal));
                    }
                }
                Queued::Answer { waiter, .. } => answer(waiter, Outcome::Refused(refusal)),
                Queued::Read {
                    id,
                    asked_at_ms,
                    waiter,
                } => answer(waiter, self.read_at(&id, asked_at_ms)),
            }
        }
    }

    /// Prepares for operations on `ids`, which come next; see [`Index::warm`].
    pub fn warm<'i>(&self, ids: impl Iterator<Item = &'i Id>) {
        self.index.warm(ids);
    }

    fn get(&mut self, id: Id, waiter: W) -> Option<Outcome> {
        let asked_at_ms = if self.latest.contains_key(&id) {
            // What is on its way may have expired there.
            self.current(&id);
            self.now_ms()
        } else {
            let Some(entry) = self.index.get(&id) else {
                return Some(Outcome::Missing);
            };
            let Some(expiry) = entry.expiry() else {
                return Some(found(entry, None));
            };
            let now_ms = self.now_ms();
            if let ttl @ Some(_) = expiry.left_at(now_ms) {
                return Some(found(entry, ttl));
            }
            if self.sweep.is_paused(now_ms) {
                return Some(Outcome::Missing);
            }
            self.remove_expired(id.clone());
            now_ms
        };
        self.queue.push_back(Queued::Read {
            id,
            asked_at_ms,
            waiter,
        });
        None
    }

    /// What is durable of a document, as of `unix_ms`.
    pub(super) fn read_at(&self, id: &Id, unix_ms: u64) -> Outcome {
        let Some(entry) = self.index.get(id) else {
            return Outcome::Missing;
        };
        match entry.expiry().map(|expiry| expiry.left_at(unix_ms)) {
            Some(None) => Outcome::Missing,
            ttl => found(entry, ttl.flatten()),
        }
    }

    /// Answers at once when the outcome rests on durable state, else from the queue.
    fn answer(&mut self, unsettled: Unsettled, outcome: Outcome, waiter: W) -> Option<Outcome> {
        match unsettled {
            Unsettled::No => Some(outcome),
            Unsettled::Yes => {
                self.queue.push_back(Queued::Answer { outcome, waiter });
                None
            }
        }
    }

    /// Answers a write that changes nothing, once what it found is as durable as it asks.
    fn answer_equal(
        &mut self,
        unsettled: Unsettled,
        outcome: Outcome,
        asked: Asked<W>,
    ) -> Option<Outcome> {
        let is_on_disk = matches!(unsettled, Unsettled::No) && self.position <= self.durable;
        if asked.durability == Durability::Synced && !is_on_disk {
            let change = Change::Nothing { outcome };
            let draft = Draft {
                kind: Kind::Mark,
                flags: Flags::NONE,
                version: self.last_version,
                expires_at_ms: 0,
                id: &Id::Integer(0),
                document: &[],
            };
            encode(&mut self.drafts, &draft);
            self.queue_write(Id::Integer(0), change, asked.some());
            return None;
        }
        self.answer(unsettled, outcome, asked.waiter)
    }

    /// Edits the latest state of a document, queued writes included.
    fn edit(
        &mut self,
        id: Id,
        (edit, shows): (&Edit, Shows),
        current: Current,
        asked: Asked<W>,
    ) -> Option<Outcome> {
        if self.is_overloaded() {
            return Some(Outcome::Refused(Refusal::Overloaded));
        }
        let document = self.current_document(&id);
        let attempt = (self.rules.edit)(edit, document, self.rules.document_bytes_max);
        self.edit_work_bytes += u64::try_from(attempt.work_bytes).expect("usize has 64 bits");
        let expiry = match edit {
            Edit::Replace { expires, .. } => self.expiry(*expires),
            _ => current.expiry,
        };
        // Storing an equal document changes when it ends, unless that is never.
        let moves_end =
            matches!(edit, Edit::Replace { .. }) && (current.expiry, expiry) != (None, None);
        let outcome = match attempt.result {
            Err(refusal) => Outcome::Refused(Refusal::Edit(refusal)),
            Ok(None) => Outcome::Missing,
            Ok(Some(edited)) => match current.version {
                Some(version) if !moves_end && self.is_current(&id, &edited.document) => {
                    let outcome = Outcome::Edited {
                        created: false,
                        version,
                        shown: match (shows, self.current_document(&id)) {
                            // It may be written in another way than the equal one.
                            (Shows::Document, Some(stored)) => Bytes::copy_from_slice(stored),
                            _ => edited.shown,
                        },
                        position: self.position,
                    };
                    return self.answer_equal(current.unsettled, outcome, asked);
                }
                before => {
                    let shown = match shows {
                        Shows::Document => edited.document.clone(),
                        Shows::Answer => edited.shown,
                    };
                    let change = Change::Put {
                        document: edited.document,
                        created: before.is_none(),
                        expiry,
                        shown: Some(shown),
                    };
                    return self.write(id, change, Chosen::ByClient, asked);
                }
            },
        };
        self.answer(current.unsettled, outcome, asked.waiter)
    }

    fn is_overloaded(&self) -> bool {
        self.unsettled_bytes() > UNSETTLED_BYTES_MAX
    }

    fn write(
        &mut self,
        id: Id,
        change: Change,
        chosen: Chosen,
        asked: Asked<W>,
    ) -> Option<Outcome> {
        if self.is_overloaded() {
            return Some(Outcome::Refused(Refusal::Overloaded));
        }
        self.queue_change(id, change, chosen, asked.some());
        None
    }

    /// Removes a document whose time has come.
    pub(super) fn remove_expired(&mut self, id: Id) {
        let nobody = Asked {
            durability: Durability::AsConfigured,
            waiter: None,
        };
        self.queue_change(id, Change::Delete, Chosen::ByClient, nobody);
    }

    fn queue_change(&mut self, id: Id, change: Change, chosen: Chosen, asked: Asked<Option<W>>) {
        self.last_version = Version(self.last_version.0 + 1);
        let version = self.last_version;
        let (kind, document, expiry) = match &change {
            Change::Put {
                document, expiry, ..
            } => (Kind::Put, document.clone(), *expiry),
            Change::Delete => (Kind::Delete, Bytes::new(), None),
            Change::Nothing { .. } => unreachable!("a mark is not about a document"),
        };
        let flags = match chosen {
            Chosen::ByClient => Flags::NONE,
            Chosen::ByServer => Flags::CHOSEN_BY_SERVER,
        };
        let draft = Draft {
            kind,
            flags,
            version,
            expires_at_ms: Expiry::in_record(expiry),
            id: &id,
            document: &document,
        };
        encode(&mut self.drafts, &draft);
        let latest = self.latest.entry(id.clone()).or_insert(Latest {
            state: None,
            writes: 0,
        });
        latest.writes += 1;
        latest.state = match kind {
            Kind::Put => Some(Held {
                version,
                document,
                expiry,
            }),
            _ => None,
        };
        self.queue_write(id, change, asked);
    }

    /// Queues the write whose draft was encoded last.
    fn queue_write(&mut self, id: Id, change: Change, asked: Asked<Option<W>>) {
        self.draft_count += 1;
        match asked.durability {
            Durability::AsConfigured => {}
            Durability::Synced => self.draft_synced_count += 1,
            Durability::Logged => self.draft_logged_count += 1,
        }
        self.unsettled_bytes += change.bytes();
        self.queue.push_back(Queued::Write {
            id,
            version: self.last_version,
            change,
            asked,
        });
    }

    /// What an operation is judged on; removes the document first if its time has come.
    pub(super) fn current(&mut self, id: &Id) -> Current {
        let (found, unsettled) = match self.latest.get(id) {
            Some(latest) => {
                let held = latest.state.as_ref();
                (held.map(|held| (held.version, held.expiry)), Unsettled::Yes)
            }
            None => {
                let entry = self.index.get(id);
                let found = entry.map(|entry| (entry.version(), entry.expiry()));
                (found, Unsettled::No)
            }
        };
        let (version, expiry) = found.unzip();
        let expiry = expiry.flatten();
        if expiry.is_some_and(|expiry| expiry.has_come_at(self.now_ms())) {
            self.remove_expired(id.clone());
            return Current {
                version: None,
                expiry: None,
                unsettled: Unsettled::Yes,
            };
        }
        Current {
            version,
            expiry,
            unsettled,
        }
    }

    fn expiry(&self, expires: Expires) -> Option<Expiry> {
        match expires {
            Expires::Never => None,
            expires => expires.from(self.now_ms()),
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Whether a write of the document is queued.
    pub(super) fn is_queued(&self, id: &Id) -> bool {
        self.latest.contains_key(id)
    }

    /// The largest version that was given.
    pub(super) fn last_version(&self) -> Version {
        self.last_version
    }

    fn is_current(&self, id: &Id, document: &[u8]) -> bool {
        let current = self.current_document(id);
        current.is_some_and(|current| (self.rules.same_document)(current, document))
    }

    /// The document as it will be once everything that is queued is settled.
    fn current_document(&self, id: &Id) -> Option<&[u8]> {
        match self.latest.get(id) {
            Some(latest) => latest.state.as_ref().map(|held| &held.document[..]),
            None => self.index.get(id).map(|entry| entry.document()),
        }
    }

    fn forget_latest(&mut self, id: &Id) {
        let latest = self
            .latest
            .get_mut(id)
            .expect("each queued write is counted");
        latest.writes -= 1;
        if latest.writes == 0 {
            self.latest.remove(id);
        }
    }
}

impl Held {
    /// What a read finds at `unix_ms`, before which it does not expire.
    pub(super) fn found_at(&self, unix_ms: u64) -> Outcome {
        Outcome::Found {
            document: self.document.clone(),
            version: self.version,
            ttl: self.expiry.and_then(|expiry| expiry.left_at(unix_ms)),
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Put { document, .. } => document.len(),
            Change::Delete | Change::Nothing { .. } => 0,
        }
    }

    /// What its writer is answered when its record is number `position`.
    pub(super) fn outcome(&self, version: Version, position: Lsn) -> Outcome {
        match self {
            Change::Put {
                created,
                shown: None,
                ..
            } => Outcome::Stored {
                created: *created,
                version,
                position,
            },
            Change::Put {
                created,
                shown: Some(shown),
                ..
            } => Outcome::Edited {
                created: *created,
                version,
                shown: shown.clone(),
                position,
            },
            Change::Delete => Outcome::Deleted { position },
            Change::Nothing { outcome } => outcome.clone().at(position),
        }
    }
}

/// The latest state of a document, queued writes included.
pub(super) struct Current {
    version: Option<Version>,
    expiry: Option<Expiry>,
    unsettled: Unsettled,
}

/// Whether a state rests on writes that are still queued.
pub(super) enum Unsettled {
    Yes,
    No,
}

impl<W> Asked<W> {
    /// As the queue holds it, for whoever it is.
    fn some(self) -> Asked<Option<W>> {
        Asked {
            durability: self.durability,
            waiter: Some(self.waiter),
        }
    }
}

fn found(entry: Entry<'_>, ttl: Option<Ttl>) -> Outcome {
    Outcome::Found {
        document: Bytes::copy_from_slice(entry.document()),
        version: entry.version(),
        ttl,
    }
}

pub(super) fn holds(condition: Option<&Condition>, current: Option<Version>) -> bool {
    condition.is_none_or(|condition| condition.holds(current))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::SegmentNumber,
        op::{Attempt, EditRefusal, Edited, Increment, Pointer},
    };

    /// Documents are equal byte for byte, and an edit doubles them up to 8 bytes.
    fn shard() -> Shard<u32> {
        Shard::new(Rules {
            same_document: |a, b| a == b,
            edit: |_, document, bytes_max| {
                let document = document.unwrap_or_default();
                let twice = Bytes::from(document.repeat(2));
                let result = match twice.len() <= bytes_max {
                    true if twice.is_empty() => Ok(None),
                    true => Ok(Some(Edited {
                        shown: twice.slice(..1),
                        document: twice,
                    })),
                    false => Err(EditRefusal::TooLarge),
                };
                let work_bytes = document.len();
                Attempt { result, work_bytes }
            },
            document_bytes_max: 8,
        })
    }

    fn edit(id: i64, condition: Option<Condition>) -> Op {
        Op::Edit {
            id: Id::Integer(id),
            edit: Edit::Increment(Box::new(Increment {
                pointer: Pointer::default(),
                by: 1,
                default: None,
            })),
            condition: condition.map(Box::new),
            shows: Shows::Answer,
        }
    }

    fn edited(version: u64, shown: &'static str) -> Outcome {
        Outcome::Edited {
            created: false,
            version: Version(version),
            shown: shown.into(),
            position: Lsn::NONE,
        }
    }

    fn put(id: i64, document: &'static str) -> Op {
        let document = Bytes::from_static(document.as_bytes());
        Op::Put {
            id: Id::Integer(id),
            document,
            condition: None,
            chosen: Chosen::ByClient,
            expires: Expires::Never,
        }
    }

    fn get(id: i64) -> Op {
        Op::Get {
            id: Id::Integer(id),
        }
    }

    fn delete(id: i64) -> Op {
        Op::Delete {
            id: Id::Integer(id),
            condition: None,
        }
    }

    fn found(document: &'static str, version: u64) -> Outcome {
        let document = Bytes::from_static(document.as_bytes());
        Outcome::Found {
            document,
            version: Version(version),
            ttl: None,
        }
    }

    fn stored(created: bool, version: u64) -> Outcome {
        Outcome::Stored {
            created,
            version: Version(version),
            position: Lsn::NONE,
        }
    }

    const DELETED: Outcome = Outcome::Deleted {
        position: Lsn::NONE,
    };

    /// Settles `count` records, or refuses the next one, and lists the answers.
    fn settle(shard: &mut Shard<u32>, count: u32, refused: Option<Refusal>) -> Vec<(u32, Outcome)> {
        let settled = Settled {
            places: (1..=count).map(|n| place(Lsn::NONE, n)).collect(),
            refused,
            ..Settled::default()
        };
        take_in(shard, settled)
    }

    fn place(lsn: Lsn, n: u32) -> Place {
        let location = Location {
            segment: SegmentNumber(1),
            offset: 64 * n,
        };
        Place { lsn, location }
    }

    fn take_in(shard: &mut Shard<u32>, settled: Settled) -> Vec<(u32, Outcome)> {
        let mut answers = Vec::new();
        shard.settle(settled, |waiter, outcome| answers.push((waiter, outcome)));
        answers
    }

    /// The records with these numbers, settled while all up to `durable` are on disk.
    fn settled(lsns: &[u64], durable: u64) -> Settled {
        Settled {
            places: lsns.iter().map(|&lsn| place(Lsn(lsn), 1)).collect(),
            durable: Lsn(durable),
            ..Settled::default()
        }
    }

    fn in_log(lsns: &[u64]) -> Settled {
        Settled {
            logged: lsns.iter().copied().map(Lsn).collect(),
            ..Settled::default()
        }
    }

    #[test]
    fn nothing_is_shown_before_it_is_settled() {
        let mut shard = shard();
        assert_eq!(shard.execute(put(1, "a"), 10), None);
        assert_eq!(
            shard.execute(get(1), 11),
            None,
            "a read waits for the write before it"
        );
        assert_eq!(
            shard.execute(get(2), 12),
            Some(Outcome::Missing),
            "other ids do not wait"
        );
        assert_eq!(shard.document_count(), 0);
        assert_eq!(
            settle(&mut shard, 1, None),
            [(10, stored(true, 1)), (11, found("a", 1))]
        );
        assert_eq!(shard.execute(get(1), 13), Some(found("a", 1)));
    }

    #[test]
    fn each_waiter_sees_the_writes_before_it_and_none_after() {
        let mut shard = shard();
        for (waiter, op) in [put(1, "a"), get(1), put(1, "b"), delete(1), get(1)]
            .into_iter()
            .enumerate()
        {
            assert_eq!(shard.execute(op, u32::try_from(waiter).expect("few")), None);
        }
        assert_eq!(
            settle(&mut shard, 1, None),
            [(0, stored(true, 1)), (1, found("a", 1))]
        );
        assert_eq!(
            settle(&mut shard, 2, None),
            [(2, stored(false, 2)), (3, DELETED), (4, Outcome::Missing)]
        );
    }

    #[test]
    fn an_equal_document_writes_nothing() {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        assert_eq!(
            shard.execute(put(1, "a"), 1),
            None,
            "its answer still waits for the disk"
        );
        assert_eq!(shard.take_batch().map(|batch| batch.count), Some(1));
        assert_eq!(
            settle(&mut shard, 1, None),
            [(0, stored(true, 1)), (1, stored(false, 1))]
        );
        assert_eq!(shard.execute(put(1, "a"), 2), Some(stored(false, 1)));
        assert!(shard.take_batch().is_none());
    }

    #[test]
    fn conditions_are_judged_on_queued_state_and_answered_after_it() {
        let mut shard = shard();
        let create = |waiter, shard: &mut Shard<u32>| {
            let Op::Put {
                id,
                document,
                chosen,
                ..
            } = put(1, "a")
            else {
                unreachable!()
            };
            let condition = Some(Box::new(Condition::absent()));
            shard.execute(
                Op::Put {
                    id,
                    document,
                    condition,
                    chosen,
                    expires: Expires::Never,
                },
                waiter,
            )
        };
        assert_eq!(create(0, &mut shard), None);
        assert_eq!(create(1, &mut shard), None);
        assert_eq!(
            settle(&mut shard, 1, None),
            [(0, stored(true, 1)), (1, Outcome::ConditionFailed)]
        );
        assert_eq!(create(2, &mut shard), Some(Outcome::ConditionFailed));
    }

    #[test]
    fn a_refused_record_takes_all_later_writes_with_it() {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        shard.execute(put(2, "b"), 1);
        shard.execute(get(2), 2);
        shard.execute(put(2, "c"), 3);
        let refusal = Outcome::Refused(Refusal::DiskFull);
        assert_eq!(
            settle(&mut shard, 1, Some(Refusal::DiskFull)),
            [
                (0, stored(true, 1)),
                (1, refusal.clone()),
                (2, Outcome::Missing),
                (3, refusal)
            ]
        );
        assert_eq!(shard.execute(get(1), 4), Some(found("a", 1)));
        shard.execute(put(2, "d"), 5);
        let batch = shard.take_batch().expect("a write is queued");
        assert_eq!(
            (batch.epoch, batch.count),
            (1, 1),
            "refused drafts are not sent again"
        );
        assert_eq!(
            settle(&mut shard, 1, None),
            [(5, stored(true, 4))],
            "versions never come back"
        );
    }

    #[test]
    fn an_edit_goes_on_from_the_writes_that_wait_before_it() {
        let mut shard = shard();
        assert_eq!(shard.execute(edit(1, None), 0), Some(Outcome::Missing));
        shard.execute(put(1, "a"), 1);
        shard.execute(edit(1, None), 2);
        shard.execute(edit(1, Some(Condition::absent())), 3);
        shard.execute(edit(1, None), 4);
        shard.execute(get(1), 5);
        assert_eq!(
            settle(&mut shard, 2, None),
            [
                (1, stored(true, 1)),
                (2, edited(2, "a")),
                (3, Outcome::ConditionFailed)
            ]
        );
        assert_eq!(
            settle(&mut shard, 1, None),
            [(4, edited(3, "a")), (5, found("aaaa", 3))]
        );
    }

    #[test]
    fn an_edit_without_a_result_changes_nothing_and_waits_for_the_state_it_rests_on() {
        let mut shard = shard();
        let too_large = Outcome::Refused(Refusal::Edit(EditRefusal::TooLarge));
        shard.execute(put(1, "12345"), 0);
        assert_eq!(shard.execute(edit(1, None), 1), None);
        assert_eq!(
            settle(&mut shard, 1, None),
            [(0, stored(true, 1)), (1, too_large.clone())]
        );
        assert_eq!(shard.execute(edit(1, None), 2), Some(too_large));
        assert_eq!(shard.edit_work_bytes(), 10, "a vain try costs as well");
        assert_eq!(shard.execute(get(1), 3), Some(found("12345", 1)));
        shard.execute(delete(1), 4);
        assert_eq!(shard.execute(edit(1, None), 5), None);
        assert_eq!(
            settle(&mut shard, 1, None),
            [(4, DELETED), (5, Outcome::Missing)]
        );
    }

    #[test]
    fn an_edit_shows_the_document_as_it_is_stored_also_if_it_equals_another_way_to_write_it() {
        let mut shard = shard();
        shard.rules.same_document = |a, b| a.eq_ignore_ascii_case(b);
        let show = || Op::Edit {
            id: Id::Integer(1),
            edit: Edit::Replace {
                document: Bytes::new(),
                expires: Expires::Never,
            },
            condition: None,
            shows: Shows::Document,
        };
        shard.execute(put(1, "a"), 0);
        shard.execute(show(), 1);
        shard.rules.edit = |_, document, _| {
            let document = document.expect("it is stored").to_ascii_uppercase().into();
            Attempt {
                result: Ok(Some(Edited {
                    document,
                    shown: Bytes::new(),
                })),
                work_bytes: 0,
            }
        };
        shard.execute(show(), 2);
        assert_eq!(
            settle(&mut shard, 2, None),
            [
                (0, stored(true, 1)),
                (1, edited(2, "aa")),
                (2, edited(2, "aa"))
            ]
        );
    }

    #[test]
    fn an_edit_that_changes_nothing_writes_nothing() {
        let mut shard = shard();
        shard.execute(put(1, ""), 0);
        settle(&mut shard, 1, None);
        shard.take_batch();
        shard.rules.edit = |_, document, _| {
            let document = Bytes::copy_from_slice(document.expect("it is stored"));
            let shown = document.clone();
            Attempt {
                result: Ok(Some(Edited { document, shown })),
                work_bytes: 0,
            }
        };
        assert_eq!(shard.execute(edit(1, None), 1), Some(edited(1, "")));
        assert!(shard.take_batch().is_none());
    }

    #[test]
    fn an_answer_names_the_record_of_its_write_or_one_that_is_not_before_it() {
        let mut shard = shard();
        shard.begin_positions_at(Lsn(7));
        shard.execute(put(1, "a"), 0);
        shard.execute(put(1, "a"), 1);
        shard.execute(delete(2), 2);
        shard.execute(delete(1), 3);
        let answers = take_in(&mut shard, settled(&[9, 12], 12));
        let expected = [
            (0, stored(true, 1).at(Lsn(9))),
            (1, stored(false, 1).at(Lsn(9))),
            (3, DELETED.at(Lsn(12))),
        ];
        assert_eq!(answers, expected);
        shard.execute(put(3, "c"), 4);
        take_in(&mut shard, settled(&[20], 20));
        let equal = shard.execute(put(3, "c"), 5).expect("nothing is queued");
        assert_eq!(equal.position(), Some(Lsn(20)));
    }

    #[test]
    fn a_write_that_need_not_be_on_disk_is_answered_from_the_log_and_shown_to_nobody_else() {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        shard.execute_as(put(1, "b"), Durability::Logged, 1);
        shard.execute(get(1), 2);
        shard.execute_as(delete(1), Durability::Logged, 3);
        assert_eq!(shard.take_batch().map(|batch| batch.logged_count), Some(2));
        shard.execute_as(put(4, "d"), Durability::Logged, 4);
        let early = take_in(&mut shard, in_log(&[5, 6, 8]));
        let expected = [(1, stored(false, 2).at(Lsn(6))), (3, DELETED.at(Lsn(8)))];
        assert_eq!(early, expected, "the last one is not in the log yet");
        assert_eq!(shard.execute(get(1), 5), None, "it waits for the disk");
        let late = take_in(&mut shard, settled(&[5, 6, 8], 8));
        let expected = [(0, stored(true, 1).at(Lsn(5))), (2, found("b", 2))];
        assert_eq!(late, expected);
        let refused = Settled {
            refused: Some(Refusal::LogPoisoned),
            ..in_log(&[])
        };
        let poisoned = Outcome::Refused(Refusal::LogPoisoned);
        let last = take_in(&mut shard, refused);
        assert_eq!(last, [(4, poisoned), (5, Outcome::Missing)]);
    }

    #[test]
    fn an_equal_document_that_may_not_be_on_disk_is_put_there_for_a_writer_who_asks_for_it() {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        take_in(&mut shard, settled(&[5], 4));
        shard.take_batch();
        assert!(shard.execute(put(1, "a"), 1).is_some(), "as configured");
        let synced = Durability::Synced;
        assert_eq!(shard.execute_as(put(1, "a"), synced, 2), None);
        let batch = shard.take_batch().expect("a mark waits for the disk");
        assert_eq!((batch.count, batch.synced_count), (1, 1));
        let answers = take_in(&mut shard, settled(&[6], 6));
        assert_eq!(answers, [(2, stored(false, 1).at(Lsn(6)))]);
        assert!(shard.execute_as(put(1, "a"), synced, 3).is_some());
        assert!(shard.take_batch().is_none(), "it is on disk");
    }

    #[test]
    fn too_many_unsettled_bytes_are_refused() {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        shard.unsettled_bytes += UNSETTLED_BYTES_MAX;
        let refusal = Outcome::Refused(Refusal::Overloaded);
        assert_eq!(shard.execute(edit(1, None), 1), Some(refusal.clone()));
        assert_eq!(shard.execute(put(2, "b"), 1), Some(refusal));
        shard.unsettled_bytes -= UNSETTLED_BYTES_MAX;
        settle(&mut shard, 1, None);
        assert_eq!(shard.execute(put(2, "b"), 2), None);
    }
}
