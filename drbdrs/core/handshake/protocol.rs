// SPDX-License-Identifier: GPL-2.0-only

//! P_PROTOCOL: options that must be the same on both sides.

use crate::config::choices::{AfterSb0p, AfterSb1p, AfterSb2p, Protocol};
use crate::config::NetConf;

/// The options that P_PROTOCOL carries. `discard_my_data` and `dry_run` come in its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolOptions<'a> {
    /// `protocol`
    pub protocol: u32,
    /// `after-sb-0pri`, `-1pri`, `-2pri`
    pub after_sb: [u32; 3],
    /// `discard-my-data`
    pub discard_my_data: bool,
    /// `tentative`
    pub dry_run: bool,
    /// `allow-two-primaries`
    pub two_primaries: bool,
    /// `data-integrity-alg`, empty for none
    pub integrity_alg: &'a [u8],
}

impl ProtocolOptions<'_> {
    /// This side's options in numbers.
    pub fn after_sb(none: AfterSb0p, one: AfterSb1p, two: AfterSb2p) -> [u32; 3] {
        [none.to_wire(), one.to_wire(), two.to_wire()]
    }
}

/// The first option that does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// `protocol`
    Protocol,
    /// `after-sb-0pri`
    AfterSb0p,
    /// `after-sb-1pri`
    AfterSb1p,
    /// `after-sb-2pri`
    AfterSb2p,
    /// Both want to discard their data.
    DiscardMyData,
    /// `allow-two-primaries`
    TwoPrimaries,
    /// `data-integrity-alg`
    IntegrityAlg,
}

impl Mismatch {
    /// The option's name, for `incompatible ... settings`.
    pub fn option(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::AfterSb0p => "after-sb-0pri",
            Self::AfterSb1p => "after-sb-1pri",
            Self::AfterSb2p => "after-sb-2pri",
            Self::DiscardMyData => "discard-my-data",
            Self::TwoPrimaries => "allow-two-primaries",
            Self::IntegrityAlg => "data-integrity-alg",
        }
    }
}

/// "Discard local" there is "discard remote" here.
fn seen_from_here(after_sb: u32) -> u32 {
    const LOCAL: u32 = AfterSb0p::DiscardLocal.to_wire();
    const REMOTE: u32 = AfterSb0p::DiscardRemote.to_wire();
    match after_sb {
        LOCAL => REMOTE,
        REMOTE => LOCAL,
        same => same,
    }
}

/// Compares the options of a new connection. Protocol numbers that nobody knows are a mismatch by themselves.
pub fn check_protocol(
    mine: &ProtocolOptions<'_>,
    peer: &ProtocolOptions<'_>,
) -> Result<(), Mismatch> {
    let [none, one, two] = peer.after_sb.map(seen_from_here);
    let [my_none, my_one, my_two] = mine.after_sb;
    let checks = [
        (peer.protocol == mine.protocol, Mismatch::Protocol),
        (
            Protocol::from_wire(peer.protocol).is_some(),
            Mismatch::Protocol,
        ),
        (none == my_none, Mismatch::AfterSb0p),
        (one == my_one, Mismatch::AfterSb1p),
        (two == my_two, Mismatch::AfterSb2p),
        (
            !(peer.discard_my_data && mine.discard_my_data),
            Mismatch::DiscardMyData,
        ),
        (
            peer.two_primaries == mine.two_primaries,
            Mismatch::TwoPrimaries,
        ),
        (
            peer.integrity_alg == mine.integrity_alg,
            Mismatch::IntegrityAlg,
        ),
    ];
    match checks.iter().find(|(agrees, _)| !agrees) {
        Some((_, mismatch)) => Err(*mismatch),
        None => Ok(()),
    }
}

/// P_PROTOCOL_UPDATE: the peer's administrator changed options that hold for both sides. Nothing is taken over if one
/// of them has a number that nobody knows. (The digest of the peer's data is no option of ours.)
pub fn adopt_protocol(mine: &mut NetConf, peer: &ProtocolOptions<'_>) -> Result<(), Mismatch> {
    let [none, one, two] = peer.after_sb.map(seen_from_here);
    let protocol = Protocol::from_wire(peer.protocol).ok_or(Mismatch::Protocol)?;
    let none = AfterSb0p::from_wire(none).ok_or(Mismatch::AfterSb0p)?;
    let one = AfterSb1p::from_wire(one).ok_or(Mismatch::AfterSb1p)?;
    let two = AfterSb2p::from_wire(two).ok_or(Mismatch::AfterSb2p)?;
    mine.wire_protocol = protocol;
    mine.after_sb_0p = none;
    mine.after_sb_1p = one;
    mine.after_sb_2p = two;
    mine.two_primaries = peer.two_primaries;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peer_changes_holds_here_seen_from_here() {
        let mut conf = NetConf::default();
        let local = AfterSb0p::DiscardLocal.to_wire();
        let peer = ProtocolOptions {
            protocol: 1,
            after_sb: [local, AfterSb1p::Consensus.to_wire(), AfterSb2p::DEFAULT],
            two_primaries: true,
            integrity_alg: b"sha1",
            ..MINE
        };
        assert_eq!(adopt_protocol(&mut conf, &peer), Ok(()));
        assert_eq!(conf.wire_protocol, Protocol::A);
        assert_eq!(conf.after_sb_0p, AfterSb0p::DiscardRemote);
        assert_eq!(conf.after_sb_1p, AfterSb1p::Consensus);
        assert!(conf.two_primaries && conf.integrity_alg.is_empty());
    }

    #[test]
    fn an_unknown_number_changes_nothing() {
        let mut conf = NetConf::default();
        for (bad, what) in [
            (
                ProtocolOptions {
                    protocol: 9,
                    ..MINE
                },
                Mismatch::Protocol,
            ),
            (
                ProtocolOptions {
                    protocol: 1,
                    after_sb: [0, 0, 99],
                    ..MINE
                },
                Mismatch::AfterSb2p,
            ),
        ] {
            assert_eq!(adopt_protocol(&mut conf, &bad), Err(what));
            assert_eq!(conf.wire_protocol, NetConf::default().wire_protocol);
        }
    }

    const MINE: ProtocolOptions<'static> = ProtocolOptions {
        protocol: 3,
        after_sb: [0, 0, 0],
        discard_my_data: false,
        dry_run: false,
        two_primaries: false,
        integrity_alg: b"",
    };

    #[test]
    fn each_mismatch_has_its_name() {
        let peer = MINE;
        let cases = [
            (
                ProtocolOptions {
                    protocol: 1,
                    ..peer
                },
                "protocol",
            ),
            (
                ProtocolOptions {
                    after_sb: [1, 0, 0],
                    ..peer
                },
                "after-sb-0pri",
            ),
            (
                ProtocolOptions {
                    after_sb: [0, 7, 0],
                    ..peer
                },
                "after-sb-1pri",
            ),
            (
                ProtocolOptions {
                    after_sb: [0, 0, 9],
                    ..peer
                },
                "after-sb-2pri",
            ),
            (
                ProtocolOptions {
                    two_primaries: true,
                    ..peer
                },
                "allow-two-primaries",
            ),
            (
                ProtocolOptions {
                    integrity_alg: b"sha1",
                    ..peer
                },
                "data-integrity-alg",
            ),
        ];
        for (peer, option) in cases {
            assert_eq!(check_protocol(&MINE, &peer).unwrap_err().option(), option);
        }
        assert_eq!(check_protocol(&MINE, &peer), Ok(()));
    }

    #[test]
    fn only_one_side_may_discard_its_data() {
        let discards = ProtocolOptions {
            discard_my_data: true,
            ..MINE
        };
        assert_eq!(check_protocol(&MINE, &discards), Ok(()));
        assert_eq!(check_protocol(&discards, &MINE), Ok(()));
        assert_eq!(
            check_protocol(&discards, &discards),
            Err(Mismatch::DiscardMyData)
        );
    }

    #[test]
    fn discard_local_meets_discard_remote() {
        let local = ProtocolOptions {
            after_sb: [5, 0, 0],
            ..MINE
        };
        let remote = ProtocolOptions {
            after_sb: [6, 0, 0],
            ..MINE
        };
        assert_eq!(check_protocol(&local, &remote), Ok(()));
        assert_eq!(check_protocol(&local, &local), Err(Mismatch::AfterSb0p));
    }

    #[test]
    fn an_unknown_protocol_is_refused_even_if_both_name_it() {
        let odd = ProtocolOptions {
            protocol: 7,
            ..MINE
        };
        assert_eq!(check_protocol(&odd, &odd), Err(Mismatch::Protocol));
    }
}
