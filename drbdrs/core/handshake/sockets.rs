// SPDX-License-Identifier: GPL-2.0-only

//! Finding two sockets: both nodes dial and listen at the same time, and must end up with the same pair.
//!
//! Whoever dials says on the first packet which socket it is. When the two dial at once, packets cross:
//! each side then keeps the socket that it accepted and drops its own; a coin decides who listens on and who
//! dials again, so that the next round does not cross in the same way. The side that *accepted* the meta
//! socket breaks ties for the rest of the connection: exactly one of the two did.

/// What the first packet on a socket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// P_INITIAL_DATA
    Data,
    /// P_INITIAL_META
    Meta,
}

/// What to do with a socket that was dialed.
#[derive(Debug, PartialEq, Eq)]
pub enum Dialed<S> {
    /// Send this as its first packet; it is kept.
    Announce(First),
    /// Both sockets are there already: close it.
    Surplus(S),
}

/// What to do next after an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// See whether both sockets are there; if not, dial.
    Dial,
    /// Listen again before dialing.
    Listen,
}

/// What an accepted socket leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted<S> {
    /// Close this one: it was crossed, or said nothing sensible.
    pub close: Option<S>,
    /// First packets crossed: worth a line in the log.
    pub crossed: bool,
    /// What to do next.
    pub next: Next,
}

/// The sockets found so far.
#[derive(Debug)]
pub struct Pairing<S> {
    data: Option<S>,
    meta: Option<S>,
    resolve_conflicts: bool,
}

impl<S> Pairing<S> {
    /// Without sockets.
    pub const fn new() -> Self {
        Self {
            data: None,
            meta: None,
            resolve_conflicts: false,
        }
    }

    /// We dialed and were accepted.
    pub fn dialed(&mut self, socket: S) -> Dialed<S> {
        if self.data.is_none() {
            self.data = Some(socket);
            Dialed::Announce(First::Data)
        } else if self.meta.is_none() {
            self.resolve_conflicts = false;
            self.meta = Some(socket);
            Dialed::Announce(First::Meta)
        } else {
            Dialed::Surplus(socket)
        }
    }

    /// The peer dialed; `first` is what its first packet said, `coin` is random.
    pub fn accepted(&mut self, socket: S, first: Option<First>, coin: bool) -> Accepted<S> {
        let tossed = if coin { Next::Listen } else { Next::Dial };
        let slot = match first {
            None => {
                return Accepted {
                    close: Some(socket),
                    crossed: false,
                    next: tossed,
                }
            }
            Some(First::Data) => &mut self.data,
            Some(First::Meta) => {
                self.resolve_conflicts = true;
                &mut self.meta
            }
        };
        let crossed = slot.replace(socket);
        let next = if crossed.is_some() {
            tossed
        } else {
            Next::Dial
        };
        Accepted {
            crossed: crossed.is_some(),
            close: crossed,
            next,
        }
    }

    /// The peer closed this socket again: forget it.
    pub fn lost(&mut self, which: First) -> Option<S> {
        match which {
            First::Data => self.data.take(),
            First::Meta => self.meta.take(),
        }
    }

    /// The socket found for data or meta, to see whether it is still open.
    pub fn socket(&self, which: First) -> Option<&S> {
        match which {
            First::Data => self.data.as_ref(),
            First::Meta => self.meta.as_ref(),
        }
    }

    /// Both are there. Wait `sock-check-timeo`, see that both are still open, then take them.
    pub fn is_complete(&self) -> bool {
        self.data.is_some() && self.meta.is_some()
    }

    /// Takes data socket, meta socket, and whether this side breaks ties. Gives itself back if incomplete.
    pub fn take(self) -> Result<(S, S, bool), Self> {
        match (self.data, self.meta) {
            (Some(data), Some(meta)) => Ok((data, meta, self.resolve_conflicts)),
            (data, meta) => Err(Self { data, meta, ..self }),
        }
    }
}

impl<S> Default for Pairing<S> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn one_side_dials_the_other_accepts() {
        let (mut a, mut b) = (Pairing::new(), Pairing::new());
        assert_eq!(a.dialed(1), Dialed::Announce(First::Data));
        let got = b.accepted(1, Some(First::Data), true);
        assert_eq!(
            (got.close, got.crossed, got.next),
            (None, false, Next::Dial)
        );
        assert_eq!(a.dialed(2), Dialed::Announce(First::Meta));
        b.accepted(2, Some(First::Meta), true);
        assert_eq!(a.dialed(3), Dialed::Surplus(3));
        assert_eq!(a.take().unwrap(), (1, 2, false));
        assert_eq!(b.take().unwrap(), (1, 2, true));
    }

    #[test]
    fn a_crossed_socket_is_replaced_and_a_coin_decides_who_dials() {
        for (coin, next) in [(true, Next::Listen), (false, Next::Dial)] {
            let mut a = Pairing::new();
            a.dialed(1);
            let got = a.accepted(2, Some(First::Data), coin);
            assert_eq!(
                got,
                Accepted {
                    close: Some(1),
                    crossed: true,
                    next
                }
            );
            assert_eq!(a.socket(First::Data), Some(&2));
        }
    }

    #[test]
    fn a_socket_without_a_sensible_first_packet_is_closed() {
        let mut a: Pairing<u32> = Pairing::new();
        assert_eq!(a.accepted(9, None, false).close, Some(9));
        assert!(!a.is_complete());
        assert!(a.take().is_err());
    }

    #[test]
    fn a_lost_socket_can_be_found_anew() {
        let mut a = Pairing::new();
        a.dialed(1);
        a.dialed(2);
        assert_eq!(a.lost(First::Data), Some(1));
        assert_eq!(a.lost(First::Data), None);
        assert_eq!(a.dialed(3), Dialed::Announce(First::Data));
        assert!(a.is_complete());
    }

    /// Two nodes over a network of queues, driven by every sequence of coins and of who moves first: they end
    /// with the same two sockets, and exactly one breaks ties.
    #[test]
    fn both_sides_agree_whatever_the_timing() {
        for seed in 0..4096_u32 {
            converge(seed);
        }
    }

    struct Node {
        pairing: Pairing<u32>,
        backlog: VecDeque<(u32, First)>,
        listen_first: bool,
    }

    fn converge(seed: u32) {
        let node = || Node {
            pairing: Pairing::new(),
            backlog: VecDeque::new(),
            listen_first: false,
        };
        let mut nodes = [node(), node()];
        let mut dead = Vec::new();
        let mut random = seed.wrapping_mul(0x9e37_79b1) | 1;
        let mut bit = || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random & 1 != 0
        };
        for round in 0..400_u32 {
            let me = usize::from(bit());
            for which in [First::Data, First::Meta] {
                let gone = nodes[me]
                    .pairing
                    .socket(which)
                    .is_some_and(|s| dead.contains(s));
                if gone {
                    nodes[me].pairing.lost(which);
                }
            }
            let done = |n: &Node| n.pairing.is_complete() && n.backlog.is_empty();
            if done(&nodes[0]) && done(&nodes[1]) && agree(&nodes) {
                let ties = nodes.map(|n| n.pairing.take().unwrap().2);
                assert_ne!(ties[0], ties[1], "seed {seed}");
                return;
            }
            step(&mut nodes, me, round + 1, &mut dead, bit());
        }
        panic!("seed {seed}: no agreement");
    }

    fn agree(nodes: &[Node; 2]) -> bool {
        [First::Data, First::Meta]
            .iter()
            .all(|w| nodes[0].pairing.socket(*w) == nodes[1].pairing.socket(*w))
    }

    fn step(nodes: &mut [Node; 2], me: usize, socket: u32, dead: &mut Vec<u32>, coin: bool) {
        if let Some((socket, first)) = nodes[me].backlog.pop_front() {
            let got = nodes[me].pairing.accepted(socket, Some(first), coin);
            nodes[me].listen_first = got.next == Next::Listen;
            dead.extend(got.close);
        } else if nodes[me].listen_first {
            nodes[me].listen_first = false;
        } else if !nodes[me].pairing.is_complete() {
            match nodes[me].pairing.dialed(socket) {
                Dialed::Announce(first) => nodes[1 - me].backlog.push_back((socket, first)),
                Dialed::Surplus(socket) => dead.push(socket),
            }
        }
    }
}
