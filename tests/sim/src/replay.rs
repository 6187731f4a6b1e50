// SPDX-License-Identifier: GPL-2.0-only

//! The decisions of a live module, made once more by this build of the core.

use drbd_core::trace::{Kind, Record};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// How many decisions were made again.
    pub decisions: usize,
    /// Those that came out differently, or cannot be read: a sentence each.
    pub differing: Vec<String>,
}

/// Makes the decisions of `text` again, which is the file `drbd/trace` of debugfs.
pub fn replay(text: &str) -> Replay {
    let mut replay = Replay::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        replay.decisions += 1;
        let record = line.split_once(": ").and_then(|(_, text)| parse(text));
        let Some(record) = record else {
            replay
                .differing
                .push(format!("this is no decision: {line}"));
            continue;
        };
        let again = record.again();
        if again != Some(record.answer) {
            let mut question = String::new();
            let _ = record.explain(&mut question);
            let again = again.map_or("no answer".to_owned(), |answer| format!("{answer:#x}"));
            replay
                .differing
                .push(format!("{line}\n    here: {again}; asked: {question}"));
        }
    }
    replay
}

/// A decision from what [`Record`] shows.
fn parse(text: &str) -> Option<Record> {
    let (question, answer) = text.split_once(" = ")?;
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let mut words = question.split_ascii_whitespace();
    let name = words.next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    let words: Option<Vec<u64>> = words.map(hex).collect();
    let mut record = Record::EMPTY;
    record
        .set(kind, &words?, hex(answer.trim_end())?)
        .then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drbd_core::state::{Conf, How, Promotion};
    use drbd_core::trace::{attempt, ending, judgement, Ending, Tried, Wish};
    use drbd_core::types::{ConnState, Role, State, StateRv};

    fn line(spoiled: u64) -> String {
        let wish = Wish {
            old: State::NEW,
            wished: State {
                role: Role::Primary,
                ..State::NEW
            },
            how: How::SOFT,
            in_connection: false,
            conf: Conf::UNCONFIGURED,
        };
        let mut record = Record::EMPTY;
        assert!(record.set(
            Kind::Judge,
            &wish.pack(),
            judgement(&wish.decide()) ^ spoiled
        ));
        format!("r0/0 7 1234: {record}\n")
    }

    #[test]
    fn what_the_module_decided_is_decided_again() {
        let text = line(0).repeat(3);
        let expected = Replay {
            decisions: 3,
            differing: Vec::new(),
        };
        assert_eq!(replay(&text), expected);
    }

    #[test]
    fn ends_and_promotions_are_decided_again() {
        let own = State {
            conn: ConnState::SyncTarget,
            ..State::NEW
        };
        let (failed, out_of_sync) = (2, 2);
        let end = Ending {
            own,
            failed,
            out_of_sync,
        };
        let tried = Tried {
            promotion: Promotion::new(Role::Primary, true),
            result: StateRv::NoUpToDateDisk,
            state: own,
        };
        let (next, after) = tried.decide();
        let mut text = String::new();
        let mut note = |kind, words: &[u64], answer| {
            let mut record = Record::EMPTY;
            assert!(record.set(kind, words, answer));
            text += &format!("r0/0 7 1234: {record}\n");
        };
        note(Kind::End, &end.pack(), ending(&end.decide()));
        note(Kind::Promote, &tried.pack(), attempt(&next, &after));
        assert_eq!(replay(&text).differing, Vec::<String>::new());
        // One block failed less: the other is still to come.
        let changed = text.replace(" 0x2 0x2 = ", " 0x1 0x2 = ");
        assert_eq!(replay(&changed).differing.len(), 1, "{changed}");
    }

    #[test]
    fn other_text_is_no_decision() {
        for text in [
            "",
            "judge",
            "judge 0x1 = 0x2",
            "judge 0x1 0x2 0x3 = 0x2",
            "judge 0x1 0x2",
            "meet 0x1 0x2 = 0x3",
            "end 0x1 0x2 = 0x3",
            "promote 0x1 = 0x3",
            "else 0x1 0x2 = 0x3",
            "judge 1 2 = 3",
            "judge 0x1 0x10000000000000000 = 0x3",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_comes_out_differently_is_named() {
        let text = line(0) + &line(1) + "r0/0 7 1234: nonsense\n";
        let replay = replay(&text);
        assert_eq!((replay.decisions, replay.differing.len()), (3, 2));
        assert!(replay.differing[0].contains("asked: "), "{replay:?}");
        assert!(replay.differing[1].contains("no decision"), "{replay:?}");
    }
}
