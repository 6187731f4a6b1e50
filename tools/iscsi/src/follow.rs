// SPDX-License-Identifier: GPL-2.0-only

//! Follows the mirrors: whenever one changes, who serves is decided anew.
//!
//! `drbdsetup events2` says when; /proc/drbd says what. While a peer is lost and its portal still answers, the
//! question is asked again every two seconds: the driver has no event for a portal.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{converge, load, locked, peer_portals, proc_drbd, Answer};
use crate::drbd::Replicated;
use crate::line::Options;
use crate::policy::{waits_for_its_turn, Portal};

/// How long to wait for an event before looking all the same.
const LOOK: Duration = Duration::from_secs(2);

/// How long the first node has to be promoted and to export.
const TURN: Duration = Duration::from_secs(60);

/// Whether one of these portals of the peers answers. A peer that cannot be asked may be serving.
pub(crate) fn probe(device: &Replicated, portals: &[String]) -> Portal {
    if portals.is_empty() && !device.peers.is_empty() {
        return Portal::Unknown;
    }
    let answering = portals.iter().any(|p| answers(p) == Portal::Answers);
    if answering {
        Portal::Answers
    } else {
        Portal::Silent
    }
}

/// Whether a portal answers.
fn answers(address: &str) -> Portal {
    let Ok(socket) = address.parse::<SocketAddr>() else {
        return Portal::Unknown;
    };
    asked_twice(|| TcpStream::connect_timeout(&socket, Duration::from_secs(1)).map(drop))
}

/// One packet that is lost must not make two nodes serve: who does not answer at all is asked again.
fn asked_twice(mut ask: impl FnMut() -> std::io::Result<()>) -> Portal {
    let silent = |done: std::io::Result<()>| match done {
        Ok(()) => Ok(Portal::Answers),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(Portal::Silent),
        Err(_) => Ok(Portal::Silent),
    };
    silent(ask())
        .or_else(|_| silent(ask()))
        .unwrap_or(Portal::Silent)
}

/// Waits before a promotion until it is this node's turn.
pub(crate) fn wait_turn(options: &Options) -> Answer<()> {
    let plan = load(options)?.plan;
    let end = Instant::now() + TURN;
    loop {
        let state = proc_drbd(options)?;
        let devices = plan.units().filter_map(|unit| unit.replicated.as_ref());
        let waiting = devices.into_iter().find(|device| {
            let minor = state.minor(device.minor);
            waits_for_its_turn(device.node, minor.as_ref(), || {
                probe(device, &peer_portals(options, device))
            })
        });
        let Some(device) = waiting else { return Ok(()) };
        if Instant::now() >= end {
            note!(
                "{}: the first node of drbd.conf does not export it; not waiting any longer",
                device.device
            );
            return Ok(());
        }
        thread::sleep(LOOK / 2);
    }
}

/// Applies, and again at every event, until it is stopped.
pub(crate) fn run(options: &Options) -> Answer<()> {
    let plan = load(options)?.plan;
    let mut said = String::new();
    let mut trouble = String::new();
    let mut events = listen();
    loop {
        match locked(options, || converge(options, plan.clone(), &mut said)) {
            Ok(()) => trouble.clear(),
            Err(problem) if problem == trouble => {}
            Err(problem) => {
                eprintln!("drbd-iscsi: {problem}");
                trouble = problem;
            }
        }
        match events.recv_timeout(LOOK) {
            Ok(()) => while events.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            // The driver is not loaded (any more); `LOOK` paces the attempts.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(LOOK);
                events = listen();
            }
        }
    }
}

/// One message for each line that `drbdsetup events2` says; disconnected when it ends.
fn listen() -> Receiver<()> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut command = Command::new("drbdsetup");
        command
            .arg("events2")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
            return;
        };
        if let Some(out) = child.stdout.take() {
            let lines = BufReader::new(out).lines();
            for _ in lines.map_while(Result::ok) {
                if sender.send(()).is_err() {
                    break;
                }
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_packet_is_not_silence() {
        let told = |kinds: &[Option<ErrorKind>]| {
            let mut kinds = kinds.iter();
            let portal = asked_twice(|| match kinds.next().unwrap() {
                Some(kind) => Err((*kind).into()),
                None => Ok(()),
            });
            (portal, kinds.len())
        };
        let (late, refused) = (
            Some(ErrorKind::TimedOut),
            Some(ErrorKind::ConnectionRefused),
        );
        assert_eq!(told(&[None]), (Portal::Answers, 0));
        assert_eq!(told(&[late, None]), (Portal::Answers, 0));
        assert_eq!(told(&[late, late]), (Portal::Silent, 0));
        assert_eq!(told(&[refused, None]), (Portal::Silent, 1));
    }
}
