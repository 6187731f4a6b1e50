// SPDX-License-Identifier: GPL-2.0-only

//! The commands that ask for one thing.

use drbd_core::config::info::StateInfo;

use super::kernel::{complain, minor_operand, Kernel};
use super::EXIT_LOCAL;
use crate::args::Parsed;
use crate::names::StateWord;

fn of_minor(parsed: &Parsed, say: impl FnOnce(StateWord) -> String) -> i32 {
    let operand = parsed.operands.first().map_or("", String::as_str);
    let Some(minor) = minor_operand(operand) else {
        eprintln!("'{operand}' is not a minor number");
        return EXIT_LOCAL;
    };
    match Kernel::open(true).and_then(|mut kernel| kernel.status(minor)) {
        Ok(reply) => {
            let state: StateInfo = reply.get().unwrap_or_default();
            println!("{}", say(StateWord(state.current_state)));
            0
        }
        Err(exit) => exit,
    }
}

/// `drbdsetup check-resize`: the stock tool remembers the disk's size here, which drbdmeta looks for itself.
pub fn check_resize(parsed: &Parsed) -> i32 {
    let operand = parsed.operands.first().map_or("", String::as_str);
    let Some(minor) = minor_operand(operand) else {
        eprintln!("'{operand}' is not a minor number");
        return EXIT_LOCAL;
    };
    match Kernel::open(true).and_then(|mut kernel| kernel.status(minor)) {
        Ok(_) => 0,
        Err(exit) => exit,
    }
}

/// `drbdsetup role`
pub fn role(parsed: &Parsed) -> i32 {
    of_minor(parsed, |state| format!("{}/{}", state.role(), state.peer()))
}

/// `drbdsetup cstate`
pub fn cstate(parsed: &Parsed) -> i32 {
    of_minor(parsed, |state| state.conn().to_owned())
}

/// `drbdsetup dstate`
pub fn dstate(parsed: &Parsed) -> i32 {
    of_minor(parsed, |state| format!("{}/{}", state.disk(), state.pdsk()))
}

/// `drbdsetup sh-status`: for the shell's `eval`.
pub fn sh_status(parsed: &Parsed) -> i32 {
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    let all = match kernel.all() {
        Ok(all) => all,
        Err(error) => return complain(error),
    };
    let wanted = parsed.operands.first();
    let minor = wanted.and_then(|operand| minor_operand(operand));
    for message in all {
        let Some(state) = message.get::<StateInfo>() else {
            continue;
        };
        let matches = match (wanted, minor) {
            (None, _) => true,
            (Some(_), Some(minor)) => message.header.minor == minor,
            (Some(name), None) => *name == message.resource(),
        };
        if matches {
            let volume = message.context().volume.unwrap_or(0);
            print!(
                "{}",
                assignments(message.header.minor, &message.resource(), volume, &state)
            );
        }
    }
    0
}

fn assignments(minor: u32, resource: &str, volume: u32, info: &StateInfo) -> String {
    let state = StateWord(info.current_state);
    let unconfigured =
        state.disk_number() == 0 && state.conn_number() == 0 && state.role() != "Primary";
    let known = if unconfigured {
        "Unconfigured"
    } else {
        "Configured"
    };
    let flag = |number| if state.flag(number) { "1" } else { "" };
    let percent = match (
        crate::names::has_progress(state.conn_number()),
        info.bits_rs_total,
        info.bits_oos,
    ) {
        (true, Some(total), Some(left)) => {
            let failed = info.bits_rs_failed.unwrap_or(0);
            let done = per_mille(total, left.saturating_sub(failed));
            format!("{}.{}", done / 10, done % 10)
        }
        _ => String::new(),
    };
    format!(
        "_minor={minor}\n_res_name={resource}\n_volume={volume}\n_known={known}\n\n\
         _cstate={}\n_role={}\n_peer={}\n_disk={}\n_pdsk={}\n\n\
         _flags_susp={}\n_flags_aftr_isp={}\n_flags_peer_isp={}\n_flags_user_isp={}\n\n\
         _resynced_percent={percent}\n\n_sh_status_process\n\n\n",
        state.conn(),
        state.role(),
        state.peer(),
        state.disk(),
        state.pdsk(),
        flag(0),
        flag(1),
        flag(2),
        flag(3),
    )
}

/// How much is done, with the coarseness of /proc/drbd, so that scripts see the same number in both.
fn per_mille(total: u64, left: u64) -> u64 {
    let shift = if total >= 1 << 32 { 16 } else { 10 };
    let left = (left >> shift).saturating_mul(1000);
    1000 - (left / ((total >> shift) + 1)).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_drivers_coarseness() {
        assert_eq!(per_mille(32_758, 32_752), 32);
        assert_eq!(per_mille(32_758, 0), 1000);
        assert_eq!(per_mille(0, u64::MAX), 0);
        assert_eq!(per_mille(1 << 33, 1 << 32), 501);
    }

    #[test]
    fn shell_assignments_as_the_stock_tool_makes_them() {
        // Secondary/Primary, SyncTarget, Inconsistent/UpToDate, paused by the user.
        let word = 2 | 1 << 2 | 17 << 4 | 4 << 9 | 8 << 13 | 1 << 20;
        let info = StateInfo {
            current_state: word,
            bits_rs_total: Some(32758),
            bits_oos: Some(28700),
            ..StateInfo::default()
        };
        let text = assignments(1, "rb", 0, &info);
        assert!(text.starts_with(
            "_minor=1\n_res_name=rb\n_volume=0\n_known=Configured\n\n_cstate=SyncTarget\n"
        ));
        assert!(text.contains("_flags_peer_isp=\n_flags_user_isp=1\n\n_resynced_percent=12.5\n"));
        assert!(text.ends_with("\n\n_sh_status_process\n\n\n"));
    }
}
