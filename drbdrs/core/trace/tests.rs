// SPDX-License-Identifier: GPL-2.0-only

//! What is written down is what was asked, and what is asked again is answered the same.

use super::*;
use crate::state::Promotion;
use crate::types::ConnState;
use std::string::{String, ToString};
use std::vec::Vec;

/// A small deterministic generator (splitmix64), so that a failure repeats.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn flag(&mut self) -> bool {
        self.word() & 1 != 0
    }

    fn one_of<T: Copy>(&mut self, decode: impl Fn(u32) -> Option<T>) -> T {
        loop {
            if let Some(value) = decode((self.word() % 32) as u32) {
                return value;
            }
        }
    }

    fn state(&mut self) -> State {
        loop {
            if let Ok(state) = State::from_wire(self.word() as u32) {
                return state;
            }
        }
    }

    fn wish(&mut self) -> Wish {
        let net = NetRules {
            two_primaries: self.flag(),
            can_verify: self.flag(),
        };
        let negotiation = match self.word() % 3 {
            0 => Negotiation::None,
            1 => Negotiation::OtherGeneration,
            _ => Negotiation::Known {
                disk: self.one_of(DiskState::from_wire),
                pdsk: self.one_of(DiskState::from_wire),
            },
        };
        Wish {
            old: self.state(),
            wished: self.state(),
            how: How {
                hard: self.flag(),
                ignore_outdate_failure: self.flag(),
            },
            in_connection: self.flag(),
            conf: Conf {
                fencing: self.one_of(Fencing::from_wire),
                on_no_data: self.one_of(OnNoData::from_wire),
                net: self.flag().then_some(net),
                highest_peer: self.one_of(Role::from_wire),
                is_open: self.flag(),
                version: (self.word() % 130) as u32,
                state_sent: self.flag(),
                negotiation,
            },
        }
    }

    fn side(&mut self) -> Side {
        // Few generations, so that some are the same.
        let uuid =
            |random: &mut Self| Uuid([0, 4, 0x1110, 0x2220, 0x2221][(random.word() % 5) as usize]);
        Side {
            uuids: UuidSet::from_array([uuid(self), uuid(self), uuid(self), uuid(self)]),
            dirty_bits: self.word() >> 32,
            role: self.one_of(Role::from_wire),
            crashed_primary: self.flag(),
            discard_my_data: self.flag(),
        }
    }

    fn meeting(&mut self) -> Handshake {
        Handshake {
            me: self.side(),
            peer: self.side(),
            agreed: Agreed {
                version: 86 + (self.word() % 16) as u32,
                wsame: self.flag(),
                resolve_conflicts: self.flag(),
            },
            disk: self.one_of(DiskState::from_wire),
            disk_now: self.one_of(DiskState::from_wire),
            peer_disk: self.one_of(DiskState::from_wire),
            peer_disk_now: self.one_of(DiskState::from_wire),
            policy: Policy {
                after_sb: Policies {
                    none: self.one_of(AfterSb0p::from_wire),
                    one: self.one_of(AfterSb1p::from_wire),
                    two: self.one_of(AfterSb2p::from_wire),
                },
                always_asbp: self.flag(),
                rr_conflict: self.one_of(RrConflict::from_wire),
                dry_run: self.flag(),
            },
            demotion: [Demotion::NotTried, Demotion::Done, Demotion::Refused]
                [(self.word() % 3) as usize],
        }
    }
}

impl Random {
    fn ending(&mut self) -> Ending {
        // Few bits, so that none are left now and then.
        Ending {
            own: self.state(),
            failed: self.word() % 3,
            out_of_sync: self.word() % 3,
        }
    }

    fn tried(&mut self) -> Tried {
        let mut promotion = Promotion::new(self.one_of(Role::from_wire), self.flag());
        promotion.change.disk = self.flag().then(|| self.one_of(DiskState::from_wire));
        promotion.change.pdsk = self.flag().then(|| self.one_of(DiskState::from_wire));
        promotion.forced = self.flag();
        promotion.attempts = (self.word() % 6) as u32;
        Tried {
            promotion,
            result: self.one_of(|n| StateRv::from_wire(2 - n as i32)),
            state: self.state(),
        }
    }
}

fn survives(kind: Kind, words: &[u64], answer: u64) {
    let mut record = Record::EMPTY;
    assert!(record.set(kind, words, answer));
    assert_eq!(record.again(), Some(answer), "{record}");
    let line = record.to_string();
    let (question, said) = line.split_once(" = ").unwrap();
    let hex = |word: &str| u64::from_str_radix(&word[2..], 16).unwrap();
    let read: Vec<u64> = question.split(' ').skip(1).map(hex).collect();
    assert_eq!((&*read, hex(said)), (words, answer), "{line}");
    assert!(!record.set(kind, &words[1..], answer));
}

#[test]
fn judgements_survive_the_way_through_text() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let wish = random.wish();
        assert_eq!(Wish::unpack(&wish.pack()), Some(wish));
        survives(Kind::Judge, &wish.pack(), judgement(&wish.decide()));
    }
}

#[test]
fn meetings_survive_the_way_through_text() {
    let mut random = Random(2);
    for _ in 0..20_000 {
        let meeting = random.meeting();
        assert_eq!(unpack_meeting(&pack_meeting(&meeting)), Some(meeting));
        let answer = conclusion(&sync_handshake(&meeting));
        survives(Kind::Meet, &pack_meeting(&meeting), answer);
    }
}

#[test]
fn ends_survive_the_way_through_text() {
    let mut random = Random(5);
    let mut ended = 0;
    for _ in 0..20_000 {
        let end = random.ending();
        assert_eq!(Ending::unpack(&end.pack()), Some(end));
        ended += u32::from(end.decide().is_some());
        survives(Kind::End, &end.pack(), ending(&end.decide()));
    }
    assert!(ended > 1000, "{ended}");
}

#[test]
fn promotions_survive_the_way_through_text() {
    let mut random = Random(6);
    for _ in 0..20_000 {
        let tried = random.tried();
        assert_eq!(Tried::unpack(&tried.pack()), Some(tried));
        let (next, after) = tried.decide();
        survives(Kind::Promote, &tried.pack(), attempt(&next, &after));
    }
}

#[test]
fn the_end_of_a_resync_that_went_on_is_seen() {
    let own = State {
        conn: ConnState::SyncTarget,
        ..State::NEW
    };
    let left = |out_of_sync| Ending {
        own,
        failed: 0,
        out_of_sync,
    };
    let mut record = Record::EMPTY;
    assert!(record.set(Kind::End, &left(1).pack(), ending(&left(0).decide())));
    assert_eq!(record.again(), Some(0));
    assert_ne!(record.answer, 0);
}

#[test]
fn another_decision_is_seen() {
    let mut random = Random(3);
    for _ in 0..1000 {
        let wish = random.wish();
        let other = match wish.decide() {
            Ok(_) => Err(StateRv::TwoPrimaries),
            Err(_) => Ok(Accepted {
                new: wish.wished,
                warning: None,
            }),
        };
        let mut record = Record::EMPTY;
        assert!(record.set(Kind::Judge, &wish.pack(), judgement(&other)));
        assert_ne!(record.again(), Some(record.answer));
    }
}

#[test]
fn a_question_that_no_module_asks_does_no_harm() {
    let mut random = Random(4);
    for _ in 0..20_000 {
        let question = core::array::from_fn(|_| random.word());
        for kind in Kind::ALL {
            let record = Record {
                kind,
                question,
                answer: 0,
            };
            let _ = record.again();
            let mut text = String::new();
            record.explain(&mut text).unwrap();
        }
    }
}
