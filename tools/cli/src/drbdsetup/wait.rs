// SPDX-License-Identifier: GPL-2.0-only

//! `wait-connect` and `wait-sync`: wait for the peer, for as long as the situation allows.
//!
//! Which timeout applies depends on how the cluster was left: `GET_TIMEOUT_TYPE` tells.

use std::time::{Duration, Instant};

use drbd_core::config::info::StateInfo;
use drbd_core::config::parms::TimeoutParms;
use drbd_core::config::schema::Header;
use drbd_core::config::Command;

use super::kernel::{complain, minor_operand, Kernel};
use super::EXIT_LOCAL;
use crate::args::{Parsed, Spec, Takes};
use crate::names::{StateWord, CONNECTED, NO_ERROR};

/// The options of both.
pub const OPTIONS: &[Spec] = &[
    Spec::both("wfc-timeout", 't', Takes::Value),
    Spec::both("degr-wfc-timeout", 'd', Takes::Value),
    Spec::both("outdated-wfc-timeout", 'o', Takes::Value),
    Spec::both("wait-after-sb", 'w', Takes::Maybe),
];

const EXIT_TIMEOUT: i32 = 5;
const STANDALONE: u32 = 0;

/// The timeouts in seconds, 0 for ever; never longer than the one before.
fn timeouts(parsed: &Parsed) -> Result<[u64; 3], String> {
    let names = ["wfc-timeout", "degr-wfc-timeout", "outdated-wfc-timeout"];
    let mut values = [0; 3];
    for (value, name) in values.iter_mut().zip(names) {
        if let Some(text) = parsed.value(name) {
            *value = text
                .parse::<u64>()
                .ok()
                .filter(|seconds| *seconds <= 300_000)
                .ok_or(format!(
                    "--{name}={text}: seconds from 0 to 300000 are expected"
                ))?;
        }
    }
    for at in 1..3 {
        let longest = values[at - 1];
        if longest != 0 && (values[at] == 0 || values[at] > longest) {
            eprintln!("{} has to be shorter than {}", names[at], names[at - 1]);
            eprintln!(
                "{} implicitly set to {} ({longest}s)",
                names[at],
                names[at - 1]
            );
            values[at] = longest;
        }
    }
    Ok(values)
}

/// `drbdsetup wait-connect`
pub fn connect(parsed: &Parsed) -> i32 {
    wait(parsed, |conn| conn >= CONNECTED)
}

/// `drbdsetup wait-sync`
pub fn sync(parsed: &Parsed) -> i32 {
    wait(parsed, |conn| conn == CONNECTED)
}

fn wait(parsed: &Parsed, reached: impl Fn(u32) -> bool) -> i32 {
    let operand = parsed.operands.first().map_or("", String::as_str);
    let Some(minor) = minor_operand(operand) else {
        eprintln!("'{operand}' is not a minor number");
        return EXIT_LOCAL;
    };
    let timeouts = match timeouts(parsed) {
        Ok(timeouts) => timeouts,
        Err(text) => {
            eprintln!("{text}");
            return EXIT_LOCAL;
        }
    };
    let wait_after_sb = matches!(parsed.value("wait-after-sb"), Some("yes"))
        || parsed.has("wait-after-sb") && parsed.value("wait-after-sb").is_none();
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    match wait_for(&mut kernel, minor, timeouts, wait_after_sb, reached) {
        Ok(exit) => exit,
        Err(error) => complain(error),
    }
}

fn wait_for(
    kernel: &mut Kernel,
    minor: u32,
    timeouts: [u64; 3],
    wait_after_sb: bool,
    reached: impl Fn(u32) -> bool,
) -> Result<i32, drbd_genl::Error> {
    // Listen first, look then: no change in between is lost.
    kernel.0.subscribe()?;
    let reply = kernel
        .0
        .request(Command::GetTimeoutType, Header::request(minor, 0), |_| {
            Ok(())
        })?;
    if reply.header.ret_code() != NO_ERROR {
        eprintln!("error determining which timeout to use: minor not available");
        return Ok(EXIT_LOCAL);
    }
    let kind = reply
        .get::<TimeoutParms>()
        .map_or(0, |parms| parms.timeout_type);
    let seconds = timeouts.get(kind as usize).copied().unwrap_or(0);
    let deadline = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
    loop {
        let reply = kernel
            .0
            .request(Command::GetStatus, Header::request(minor, 0), |_| Ok(()))?;
        let Some(state) = reply.get::<StateInfo>() else {
            // The minor went away meanwhile.
            return Ok(EXIT_LOCAL);
        };
        let conn = StateWord(state.current_state).conn_number();
        if reached(conn) || (conn == STANDALONE && !wait_after_sb) {
            return Ok(0);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(EXIT_TIMEOUT);
        }
        kernel.0.event(left)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse;

    #[test]
    fn later_timeouts_are_never_longer() {
        let of = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            timeouts(&parse(&args, OPTIONS).unwrap())
        };
        assert_eq!(of(&["--wfc-timeout=5"]), Ok([5, 5, 5]));
        assert_eq!(
            of(&["--degr-wfc-timeout=20", "--wfc-timeout=30"]),
            Ok([30, 20, 20])
        );
        assert_eq!(of(&["--degr-wfc-timeout=20"]), Ok([0, 20, 20]));
        assert_eq!(of(&[]), Ok([0, 0, 0]));
        assert!(of(&["--wfc-timeout=x"]).is_err());
    }
}
