//! The operations of one request about many documents, on their way to the owners
//! of their ids: what is sent, what came of it, what is tried again.
//!
//! Pure: it knows no channel. Operations leave in waves. The first one has them
//! all; a further one only those documents whose id, chosen by the server, turned
//! out to be in use.

use bytes::Bytes;

use crate::{
    api::Element,
    id::{CoreId, Id},
    op::{AtomicFailure, AtomicOp, Chosen, Condition, Expires, Op, Outcome, Refusal},
};

/// Operations, in the order in which they were asked.
pub struct Run {
    /// The ids as far as they are known.
    ids: Vec<Option<Id>>,
    outcomes: Vec<Option<Outcome>>,
    /// Operations of the next wave, by their place.
    pending: Vec<(usize, Op)>,
    /// The places of the wave that is under way.
    wave: Vec<usize>,
    /// Documents that get an id from the server, by their place, until one is found.
    creates: Vec<(usize, Bytes, Expires)>,
    /// How many ids in a row were in use.
    taken_in_a_row: u32,
}

impl Run {
    pub fn new(elements: Vec<Element>) -> Run {
        let mut run = Run {
            ids: vec![None; elements.len()],
            outcomes: vec![None; elements.len()],
            pending: Vec::new(),
            wave: Vec::new(),
            creates: Vec::new(),
            taken_in_a_row: 0,
        };
        for (place, element) in elements.into_iter().enumerate() {
            match element {
                Element::Run(op) => {
                    run.ids[place] = Some(op.id().clone());
                    run.pending.push((place, op));
                }
                Element::Create { document, expires } => {
                    run.creates.push((place, document, expires));
                }
            }
        }
        run
    }

    /// How many ids the next wave needs from the server.
    pub fn ids_needed(&self) -> usize {
        self.creates.len()
    }

    /// How many ids in a row turned out to be in use.
    pub fn taken_in_a_row(&self) -> u32 {
        self.taken_in_a_row
    }

    /// Gives the next wave its ids; when there are fewer than needed, none are left.
    ///
    /// These documents come after all others, so that none gets an id that the request names.
    pub fn give_ids(&mut self, ids: Vec<i64>) {
        let mut given = ids.into_iter().map(Id::Integer);
        for (place, document, expires) in &self.creates {
            let Some(id) = given.next() else {
                self.outcomes[*place] = Some(Outcome::Refused(Refusal::IdsExhausted));
                continue;
            };
            self.ids[*place] = Some(id.clone());
            let op = create(id, document.clone(), *expires);
            self.pending.push((*place, op));
        }
    }

    /// Begins the next wave: for each of `cores` that owns an id of it, what it is to execute.
    pub fn begin_wave(&mut self, cores: u16) -> Vec<(CoreId, Vec<Op>)> {
        let mut shares: Vec<Vec<Op>> = (0..cores).map(|_| Vec::new()).collect();
        self.wave.clear();
        for (place, op) in self.pending.drain(..) {
            self.wave.push(place);
            shares[owner(op.id(), cores).index()].push(op);
        }
        let shares = (0..).map(CoreId).zip(shares);
        shares.filter(|(_, ops)| !ops.is_empty()).collect()
    }

    /// Takes in what came of the share of `core`.
    pub fn take_in(&mut self, core: CoreId, cores: u16, outcomes: Vec<Outcome>) {
        let ids = &self.ids;
        let is_of_core = |place: &&usize| {
            let id = ids[**place].as_ref().expect("what was sent has an id");
            owner(id, cores) == core
        };
        let mut places = self.wave.iter().filter(is_of_core);
        for outcome in outcomes {
            let place = *places.next().expect("each outcome is of an operation");
            self.outcomes[place] = Some(outcome);
        }
        assert!(places.next().is_none(), "each operation has an outcome");
    }

    /// Ends the wave; whether another one is needed, with [`ids_needed`](Run::ids_needed) ids.
    pub fn end_wave(&mut self) -> bool {
        let outcomes = &self.outcomes;
        let is_taken = |(place, ..): &(usize, Bytes, Expires)| {
            outcomes[*place] == Some(Outcome::ConditionFailed)
        };
        self.creates.retain(is_taken);
        self.taken_in_a_row += 1;
        !self.creates.is_empty()
    }

    /// The ids and the outcomes, in the order asked; an id is `None` if the server had none left.
    ///
    /// # Panics
    /// If an outcome is missing.
    pub fn finish(self) -> (Vec<Option<Id>>, Vec<Outcome>) {
        let outcomes = self.outcomes.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.expect("every core has answered"));
        (self.ids, outcomes.collect())
    }
}

/// Operations that take effect together: all of them leave at once, and again when an id that
/// the server chose for a document turned out to be in use.
pub struct AtomicRun {
    elements: Vec<Element>,
    /// What must hold of the documents that are read.
    guards: Vec<Option<Box<Condition>>>,
    /// The ids as far as they are known.
    ids: Vec<Option<Id>>,
    /// The places of the operations as they leave: documents that get an id from the server come
    /// last, so that none gets an id that the request names.
    order: Vec<usize>,
    taken_in_a_row: u32,
}

impl AtomicRun {
    pub fn new(elements: Vec<Element>, guards: Vec<Option<Box<Condition>>>) -> AtomicRun {
        let is_create = |place: &usize| matches!(elements[*place], Element::Create { .. });
        let (creates, mut order): (Vec<_>, Vec<_>) = (0..elements.len()).partition(is_create);
        order.extend(creates);
        let id_of = |element: &Element| match element {
            Element::Run(op) => Some(op.id().clone()),
            Element::Create { .. } => None,
        };
        AtomicRun {
            ids: elements.iter().map(id_of).collect(),
            elements,
            guards,
            order,
            taken_in_a_row: 0,
        }
    }

    /// How many ids the operations need from the server.
    pub fn ids_needed(&self) -> usize {
        let elements = self.elements.iter();
        elements
            .filter(|element| matches!(element, Element::Create { .. }))
            .count()
    }

    /// How many ids in a row turned out to be in use.
    pub fn taken_in_a_row(&self) -> u32 {
        self.taken_in_a_row
    }

    /// The operations, whose documents without an id get these.
    ///
    /// # Errors
    /// When there are fewer than needed, none are left.
    pub fn begin(&mut self, ids: Vec<i64>) -> Result<Vec<AtomicOp>, AtomicFailure> {
        let mut given = ids.into_iter().map(Id::Integer);
        let mut ops = Vec::with_capacity(self.order.len());
        for &place in &self.order {
            let op = match &self.elements[place] {
                Element::Run(op) => op.clone(),
                Element::Create { document, expires } => {
                    let id = given.next().ok_or(AtomicFailure {
                        place: Some(place),
                        outcome: Outcome::Refused(Refusal::IdsExhausted),
                    })?;
                    self.ids[place] = Some(id.clone());
                    create(id, document.clone(), *expires)
                }
            };
            let guard = self.guards[place].clone();
            ops.push(AtomicOp { op, guard });
        }
        Ok(ops)
    }

    /// Takes in what came of the operations, in the order in which they left; `None`: other ids
    /// are needed.
    pub fn end(
        &mut self,
        result: Result<Vec<Outcome>, AtomicFailure>,
    ) -> Option<Result<Vec<Outcome>, AtomicFailure>> {
        match result {
            Ok(outcomes) => {
                let mut placed: Vec<_> = self.order.iter().zip(outcomes).collect();
                placed.sort_unstable_by_key(|(place, _)| **place);
                Some(Ok(placed.into_iter().map(|(_, outcome)| outcome).collect()))
            }
            Err(failure) => {
                let place = failure.place.map(|place| self.order[place]);
                let failed = place.map(|place| &self.elements[place]);
                if let Some(Element::Create { .. }) = failed
                    && failure.outcome == Outcome::ConditionFailed
                {
                    self.taken_in_a_row += 1;
                    return None;
                }
                Some(Err(AtomicFailure { place, ..failure }))
            }
        }
    }

    /// The ids in the order asked; `None`: the server has not chosen one.
    pub fn into_ids(self) -> Vec<Option<Id>> {
        self.ids
    }
}

/// A document that gets an id from the server, on the condition that it is new.
fn create(id: Id, document: Bytes, expires: Expires) -> Op {
    Op::Put {
        id,
        document,
        condition: Some(Box::new(Condition::absent())),
        chosen: Chosen::ByServer,
        expires,
    }
}

fn owner(id: &Id, cores: u16) -> CoreId {
    CoreId::owner(id.placement(), cores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Lsn, Version};

    fn put(id: i64) -> Element {
        Element::Run(Op::Put {
            id: Id::Integer(id),
            document: Bytes::new(),
            condition: None,
            chosen: Chosen::ByClient,
            expires: Expires::Never,
        })
    }

    fn create() -> Element {
        Element::Create {
            document: Bytes::new(),
            expires: Expires::Never,
        }
    }

    /// Runs the wave on `cores` cores; a put of an id in `taken` fails its condition.
    fn wave(run: &mut Run, cores: u16, taken: &[i64]) {
        for (core, ops) in run.begin_wave(cores) {
            let outcomes = ops.iter().map(|op| match op {
                Op::Put { id, condition, .. } => {
                    assert_eq!(owner(id, cores), core);
                    let Id::Integer(number) = id else { panic!() };
                    match condition {
                        Some(_) if taken.contains(number) => Outcome::ConditionFailed,
                        _ => Outcome::Stored {
                            created: true,
                            version: Version(number.unsigned_abs()),
                            position: Lsn::NONE,
                        },
                    }
                }
                other => panic!("{other:?}"),
            });
            run.take_in(core, cores, outcomes.collect());
        }
    }

    #[test]
    fn outcomes_are_in_the_order_asked_and_taken_ids_are_chosen_anew() {
        for cores in [1, 2, 5] {
            let mut run = Run::new(vec![
                put(70),
                create(),
                put(80),
                create(),
                create(),
                put(70),
            ]);
            assert_eq!(run.ids_needed(), 3);
            run.give_ids(vec![1, 2, 3]);
            wave(&mut run, cores, &[1, 3]);
            assert!(run.end_wave());
            assert_eq!((run.ids_needed(), run.taken_in_a_row()), (2, 1));
            run.give_ids(vec![4]);
            wave(&mut run, cores, &[]);
            assert!(!run.end_wave());
            let (ids, outcomes) = run.finish();
            let stored = |version| Outcome::Stored {
                created: true,
                version: Version(version),
                position: Lsn::NONE,
            };
            let none_left = Outcome::Refused(Refusal::IdsExhausted);
            let expected = [
                stored(70),
                stored(4),
                stored(80),
                stored(2),
                none_left,
                stored(70),
            ];
            assert_eq!(outcomes, expected);
            assert_eq!(ids[1..4], [4, 80, 2].map(|id| Some(Id::Integer(id))));
        }
    }
}
