// SPDX-License-Identifier: GPL-2.0-only

//! Proof that both sides know the shared secret (`cram-hmac-alg`): each sends a random challenge, the other answers
//! with the HMAC of it.

use crate::{
    prelude::*,
    session::{receive_header, Failure},
};
use drbd_core::{
    config::NetConf,
    wire::{frame, Agreed, Command, Empty, Socket, CHALLENGE_SIZE, MAX_DIGEST_SIZE},
};
use kernel_ext::{
    crypto::{random_bytes, Shash},
    net::TcpStream,
};

const CHALLENGE: usize = CHALLENGE_SIZE as usize;
const DIGEST: usize = MAX_DIGEST_SIZE as usize;
/// A peer's challenge may be longer than ours.
const LONGEST: usize = 2 * CHALLENGE;

/// Proves that we know the secret, and lets the peer prove it. Nothing to do when none is configured.
pub(crate) fn prove(
    name: &CStr,
    net: &NetConf,
    stream: &TcpStream,
    agreed: &Agreed,
) -> Result<(), Failure> {
    if net.cram_hmac_alg.is_empty() {
        return Ok(());
    }
    match exchange(name, net, stream, agreed) {
        Ok(bytes) => {
            pr_info!("{name}: Peer authenticated using {bytes} bytes HMAC\n");
            Ok(())
        }
        Err(failure) => {
            let again = if failure == Failure::TryAgain {
                ", trying again."
            } else {
                ""
            };
            pr_err!("{name}: Authentication of peer failed{again}\n");
            Err(failure)
        }
    }
}

fn exchange(
    name: &CStr,
    net: &NetConf,
    stream: &TcpStream,
    agreed: &Agreed,
) -> Result<usize, Failure> {
    let hmac = hmac(name, net)?;
    let size = hmac.digest_size();
    let mut mine = [0; CHALLENGE];
    random_bytes(&mut mine);
    send(stream, agreed, Command::AuthChallenge, &mine)?;

    let mut theirs = [0; LONGEST];
    let theirs = receive(name, stream, agreed, Command::AuthChallenge, &mut theirs)?;
    if theirs.starts_with(&mine) {
        pr_err!("{name}: Peer presented the same challenge!\n");
        return Err(Failure::GiveUp);
    }
    let mut digest = [0; DIGEST];
    let digest = digest.get_mut(..size).ok_or(Failure::GiveUp)?;
    hmac.digest(theirs, digest).map_err(|_| Failure::GiveUp)?;
    send(stream, agreed, Command::AuthResponse, digest)?;

    let mut response = [0; DIGEST];
    let response = receive(name, stream, agreed, Command::AuthResponse, &mut response)?;
    hmac.digest(&mine, digest).map_err(|_| Failure::GiveUp)?;
    if response.len() != size {
        pr_err!("{name}: AuthResponse of wrong size\n");
        return Err(Failure::TryAgain);
    }
    // No early end: the time says nothing about the right answer.
    let differing = response
        .iter()
        .zip(digest.iter())
        .fold(0, |all, (a, b)| all | (a ^ b));
    if differing == 0 {
        Ok(size)
    } else {
        Err(Failure::GiveUp)
    }
}

fn hmac(name: &CStr, net: &NetConf) -> Result<Shash, Failure> {
    let alg = net.cram_hmac_alg.as_str().unwrap_or("");
    CString::try_from_fmt(fmt!("hmac({})", alg))
        .and_then(|alg| Shash::new(&alg, Some(net.shared_secret.reveal().as_bytes())))
        .map_err(|error| {
            pr_err!("{name}: hmac({alg}) cannot be used: {error:?}\n");
            Failure::GiveUp
        })
}

fn send(stream: &TcpStream, agreed: &Agreed, command: Command, bytes: &[u8]) -> Result {
    let mut head = [0; crate::receiver::HEADER_SIZE];
    let length = u32::try_from(bytes.len())?;
    let used = frame(agreed.format(), 0, command, &Empty, length, &mut head).ok_or(EMSGSIZE)?;
    stream.send_all(head.get(..used).ok_or(EMSGSIZE)?, true, &mut || false)?;
    stream.send_all(bytes, false, &mut || false)
}

fn receive<'a>(
    name: &CStr,
    stream: &TcpStream,
    agreed: &Agreed,
    command: Command,
    room: &'a mut [u8],
) -> Result<&'a [u8], Failure> {
    let header = receive_header(stream, agreed)?;
    let bounds = agreed.admit_handshake(Socket::Data, header).ok();
    let bounds = bounds
        .filter(|_| header.command == command)
        .ok_or_else(|| {
            let (wanted, got, length) = (command.name(), header.command.name(), header.length);
            pr_err!("{name}: expected {wanted} packet, received: {got}, {length} bytes\n");
            Failure::GiveUp
        })?;
    let payload = room
        .get_mut(..bounds.payload as usize)
        .ok_or(Failure::GiveUp)?;
    stream.recv_exact(payload)?;
    Ok(payload)
}
