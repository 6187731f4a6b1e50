// SPDX-License-Identifier: GPL-2.0-only

//! Where a read goes while both nodes have good data (`read-balancing`).

use crate::config::choices::ReadBalancing;

/// What is known when a read starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its first sector.
    pub sector: u64,
    /// Users of our disk.
    pub local: u32,
    /// Requests that the peer has not answered, the application's and the resync's.
    pub remote: u32,
    /// One of our own writes to these sectors may not be on the peer's disk yet (protocols A and B complete it before).
    pub own_write: bool,
    /// Where the last read of [`ReadBalancing::RoundRobin`] went: `true` for the peer.
    pub last_was_remote: bool,
}

/// Whether the read goes to the peer although our disk could serve it.
///
/// "when-congested-remote" is our disk's: block devices no longer say whether they are congested, so it reads here, as in
/// the stock driver.
pub fn goes_to_peer(policy: ReadBalancing, facts: &Facts) -> bool {
    if facts.own_write {
        return false;
    }
    let stripe_kib = match policy {
        ReadBalancing::PreferLocal | ReadBalancing::WhenCongestedRemote => return false,
        ReadBalancing::PreferRemote => return true,
        ReadBalancing::RoundRobin => return !facts.last_was_remote,
        ReadBalancing::LeastPending => return facts.local > facts.remote,
        ReadBalancing::Striping32K => 32,
        ReadBalancing::Striping64K => 64,
        ReadBalancing::Striping128K => 128,
        ReadBalancing::Striping256K => 256,
        ReadBalancing::Striping512K => 512,
        ReadBalancing::Striping1M => 1024,
    };
    facts.sector / (stripe_kib * 2) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReadBalancing as R;

    #[test]
    fn local_and_remote() {
        let facts = Facts {
            local: 9,
            ..Facts::default()
        };
        assert!(!goes_to_peer(R::PreferLocal, &facts));
        assert!(!goes_to_peer(R::WhenCongestedRemote, &facts));
        assert!(goes_to_peer(R::PreferRemote, &Facts::default()));
    }

    #[test]
    fn what_the_peer_may_not_have_yet_is_read_here() {
        let facts = Facts {
            own_write: true,
            local: 9,
            sector: 64,
            ..Facts::default()
        };
        for policy in [
            R::PreferRemote,
            R::RoundRobin,
            R::LeastPending,
            R::Striping32K,
        ] {
            assert!(!goes_to_peer(policy, &facts));
        }
    }

    #[test]
    fn in_turn() {
        let mut last_was_remote = true;
        for n in 0..6 {
            let facts = Facts {
                last_was_remote,
                ..Facts::default()
            };
            last_was_remote = goes_to_peer(R::RoundRobin, &facts);
            assert_eq!(
                last_was_remote,
                n % 2 == 1,
                "the first one goes to our disk"
            );
        }
    }

    #[test]
    fn to_the_less_busy_one() {
        let with = |local, remote| {
            let facts = Facts {
                local,
                remote,
                ..Facts::default()
            };
            goes_to_peer(R::LeastPending, &facts)
        };
        assert!(!with(3, 3), "ours, when both are equally busy");
        assert!(with(4, 3));
        assert!(!with(3, 4));
    }

    #[test]
    fn by_stripe() {
        let policies = [
            (R::Striping32K, 32),
            (R::Striping64K, 64),
            (R::Striping128K, 128),
            (R::Striping256K, 256),
            (R::Striping512K, 512),
            (R::Striping1M, 1024),
        ];
        for (policy, kib) in policies {
            let at = |sector| {
                let facts = Facts {
                    sector,
                    ..Facts::default()
                };
                goes_to_peer(policy, &facts)
            };
            let sectors = kib * 2;
            assert!(!at(0) && !at(sectors - 1), "{kib}");
            assert!(at(sectors) && at(2 * sectors - 1), "{kib}");
            assert!(!at(2 * sectors) && at(3 * sectors), "{kib}");
        }
    }
}
