//! The arithmetic of deferred indexes: how much a group enters, and when the mark is stored.
//!
//! All of it is in backlogs: the weight of entries that may wait in a busy store, [`MOST_WAITING`] but in tests.

/// The backlog in weight: 1 for a usual entry, more for a heavy one (see [`super::Late::weight`]). It takes 20 to 40 MiB,
/// and a start after a crash reads two or three times as many rows.
pub(crate) const MOST_WAITING: usize = 200_000;
/// A group of up to this many rows has time to enter more than it must, so that a quiet store has little to read after a
/// crash.
const SMALL_GROUP_ROWS: usize = 8;
/// More than this many backlogs wait only where entries cannot be written: then commits fail.
const MOST_BACKLOGS: usize = 4;
/// A start that has read more than this many backlogs enters all that it has read so far, so that one backlog of room is
/// left below [`MOST_BACKLOGS`]. A crash leaves less than that; a clock that was set back can leave nearly all.
const MOST_BACKLOGS_AT_START: usize = 3;
/// Bounds how far the mark may lag: every entry is entered before this many backlogs of rows are added behind it. It
/// matters where rows have no entries themselves, and so make nothing wait.
const BACKLOGS_PER_ROUND: usize = 2;
/// Bounds how stale the stored mark is: it is stored this many times while one backlog of rows is added.
const MARKS_PER_BACKLOG: usize = 4;

/// The state of an index and of the group that is about to be committed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// The weight that may wait.
    pub(super) backlog: usize,
    /// Entries of earlier groups that wait.
    pub(super) waiting: usize,
    /// The weight of these.
    pub(super) weight: usize,
    /// Entries that the group adds.
    pub(super) added: usize,
    /// Rows of the group that have no entry.
    pub(super) passed: usize,
    /// Rows that were added since the mark was stored.
    pub(super) since_mark: usize,
}

/// The part of a group in the upkeep of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Entries that the group enters.
    pub(super) enter: usize,
    /// True if the group fails when one of them cannot be entered.
    pub(super) must_succeed: bool,
    /// True if the group stores the mark.
    pub(super) stores_mark: bool,
}

/// Decides what a group does for its index: never more than two entries for each of its rows.
pub(super) fn plan(counts: &Counts) -> Plan {
    let rows = counts.added + counts.passed;
    let surplus = match rows {
        ..=SMALL_GROUP_ROWS => counts.waiting,
        _ => (counts.weight + counts.added).saturating_sub(counts.backlog),
    };
    let round_rows = BACKLOGS_PER_ROUND * counts.backlog.max(1);
    let in_turn = (counts.waiting * counts.passed).div_ceil(round_rows);
    Plan {
        enter: surplus.max(in_turn).min(2 * rows),
        must_succeed: counts.weight > MOST_BACKLOGS * counts.backlog,
        stores_mark: counts.since_mark + rows > counts.backlog / MARKS_PER_BACKLOG,
    }
}

/// True if a start has read enough to enter it before it reads on.
pub(super) fn is_full_at_start(weight: usize, backlog: usize) -> bool {
    weight > MOST_BACKLOGS_AT_START * backlog
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Counts = Counts {
        backlog: 1_000,
        waiting: 500,
        weight: 500,
        added: 100,
        passed: 0,
        since_mark: 0,
    };

    #[test]
    fn a_group_enters_what_is_too_much_and_what_is_due() {
        let cases = [
            ("below the backlog nothing is entered", QUIET, 0),
            (
                "the surplus is entered",
                Counts {
                    waiting: 950,
                    weight: 950,
                    ..QUIET
                },
                50,
            ),
            (
                "heavy entries count for more",
                Counts {
                    waiting: 300,
                    weight: 1_050,
                    ..QUIET
                },
                150,
            ),
            (
                "at most two entries a row",
                Counts {
                    waiting: 3_000,
                    weight: 3_000,
                    ..QUIET
                },
                200,
            ),
            (
                "a small group works ahead",
                Counts { added: 8, ..QUIET },
                16,
            ),
            (
                "and stops where nothing waits",
                Counts {
                    added: 8,
                    waiting: 3,
                    weight: 3,
                    ..QUIET
                },
                3,
            ),
            (
                "rows without an entry move the round on: 100 of 2,000 rows, and so 25 of 500 entries",
                Counts {
                    added: 0,
                    passed: 100,
                    ..QUIET
                },
                25,
            ),
            (
                "a part of an entry is one",
                Counts {
                    added: 0,
                    passed: 100,
                    waiting: 1,
                    weight: 1,
                    ..QUIET
                },
                1,
            ),
            (
                "without a backlog everything is entered with the next group",
                Counts {
                    backlog: 0,
                    waiting: 30,
                    weight: 30,
                    added: 20,
                    ..QUIET
                },
                40,
            ),
            (
                "a group without rows does nothing",
                Counts { added: 0, ..QUIET },
                0,
            ),
        ];
        for (case, counts, enter) in cases {
            assert_eq!(plan(&counts).enter, enter, "{case}");
        }
    }

    #[test]
    fn the_mark_is_stored_four_times_a_backlog() {
        let stores = |since_mark| {
            plan(&Counts {
                since_mark,
                ..QUIET
            })
            .stores_mark
        };
        assert!(!stores(0));
        assert!(!stores(150));
        assert!(stores(151));
    }

    #[test]
    fn a_group_fails_once_four_backlogs_cannot_be_entered() {
        let must_succeed = |weight| plan(&Counts { weight, ..QUIET }).must_succeed;
        assert!(!must_succeed(4_000));
        assert!(must_succeed(4_001));
    }

    /// However full the index is, groups of any size bring it back to its backlog, and a round ends in time.
    #[test]
    fn the_backlog_is_kept_by_groups_of_any_size() {
        for (added, passed) in [(1, 0), (9, 0), (512, 0), (0, 512), (100, 400), (3, 3)] {
            let mut counts = Counts {
                backlog: 1_000,
                waiting: 3_900,
                weight: 3_900,
                added,
                passed,
                since_mark: 0,
            };
            let mut rows = 0;
            let mut entered = 0;
            while entered < 3_900 {
                let enter = plan(&counts).enter.min(counts.waiting);
                entered += enter;
                counts.waiting = counts.waiting + added - enter;
                counts.weight = counts.waiting;
                rows += added + passed;
                assert!(
                    rows < 20_000,
                    "{entered} of 3,900 with groups of {added} and {passed}"
                );
            }
            assert!(counts.waiting <= 3_900);
        }
    }
}
