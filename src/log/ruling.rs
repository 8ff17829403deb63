//! What the place where the records of a segment stop means: a decision table.
//!
//! | understood | witness | last | complete | blank | ruling |
//! |---|---|---|---|---|---|
//! | no | | | | | damaged: a newer release wrote this |
//! | yes | yes | | | | damaged: the lost record was on disk |
//! | yes | no | no | no | | damaged: the successor says there were more |
//! | yes | no | no | yes | no | damaged: only zeros may follow |
//! | yes | no | no | yes | yes | end |
//! | yes | no | yes | | yes | end |
//! | yes | no | yes | | no | torn |

/// What is known about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The place holds no record of the expected number that has the right
    /// checksum but is of a kind or flags unknown to this release.
    pub understood: bool,
    /// A whole record after the place was appended when the record that should
    /// stand here was known to be on disk.
    pub witness: bool,
    /// It is in the last segment.
    pub last: bool,
    /// Every record up to the first of the next segment was there.
    pub complete: bool,
    /// Only zeros follow up to the end of the segment.
    pub blank: bool,
}

/// What the facts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The records end here as they should.
    End,
    /// The rest was under way when the power went and was never acknowledged.
    Torn,
    /// What was on disk is gone or not readable: refuse to start.
    Damaged,
}

/// One row of the table; `None` stands for either.
struct Row {
    understood: Option<bool>,
    witness: Option<bool>,
    last: Option<bool>,
    complete: Option<bool>,
    blank: Option<bool>,
    ruling: Ruling,
}

impl Row {
    fn meets(&self, facts: Facts) -> bool {
        let pairs = [
            (self.understood, facts.understood),
            (self.witness, facts.witness),
            (self.last, facts.last),
            (self.complete, facts.complete),
            (self.blank, facts.blank),
        ];
        let met = |(wanted, fact): (Option<bool>, bool)| wanted.is_none_or(|wanted| wanted == fact);
        pairs.into_iter().all(met)
    }
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);
const ANY: Option<bool> = None;

const fn row(
    [understood, witness, last, complete, blank]: [Option<bool>; 5],
    ruling: Ruling,
) -> Row {
    Row {
        understood,
        witness,
        last,
        complete,
        blank,
        ruling,
    }
}

const TABLE: [Row; 7] = [
    row([NO, ANY, ANY, ANY, ANY], Ruling::Damaged),
    row([YES, YES, ANY, ANY, ANY], Ruling::Damaged),
    row([YES, NO, NO, NO, ANY], Ruling::Damaged),
    row([YES, NO, NO, YES, NO], Ruling::Damaged),
    row([YES, NO, NO, YES, YES], Ruling::End),
    row([YES, NO, YES, ANY, YES], Ruling::End),
    row([YES, NO, YES, ANY, NO], Ruling::Torn),
];

/// The ruling of the one row that `facts` meet.
pub(super) fn rule(facts: Facts) -> Ruling {
    let row = TABLE.iter().find(|row| row.meets(facts));
    row.expect("each combination of facts meets a row").ruling
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combinations() -> impl Iterator<Item = Facts> {
        (0..32).map(|bits: u8| Facts {
            understood: bits & 1 != 0,
            witness: bits & 2 != 0,
            last: bits & 4 != 0,
            complete: bits & 8 != 0,
            blank: bits & 16 != 0,
        })
    }

    #[test]
    fn each_combination_of_facts_meets_exactly_one_row() {
        for facts in combinations() {
            let rows = TABLE.iter().filter(|row| row.meets(facts)).count();
            assert_eq!(rows, 1, "{facts:?}");
        }
    }

    #[test]
    fn only_the_last_segment_is_ever_cut_and_never_before_what_was_on_disk() {
        for facts in combinations().filter(|&facts| rule(facts) == Ruling::Torn) {
            assert!(facts.last && !facts.witness && facts.understood && !facts.blank);
        }
    }
}
