// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup events`: the state words of all minors, then each change of one, in the form that DRBD 8.4 had before
//! `events2`. The number in front is the message's; scripts compare it with the one before.

use std::io::Write as _;

use drbd_core::config::info::StateInfo;
use drbd_core::config::schema::{Header, NO_MINOR};
use drbd_core::config::Command;
use drbd_genl::{Error, Message};

use super::kernel::{complain, minor_operand, Kernel};
use crate::args::Parsed;
use crate::names::StateWord;

const STATE_CHANGE: u32 = 2;
const HELPER_PRE: u32 = 3;
const HELPER_POST: u32 = 4;

fn braces(word: u32) -> String {
    let state = StateWord(word);
    let flag = |number, letter| if state.flag(number) { letter } else { '-' };
    format!(
        "{{ cs:{} ro:{}/{} ds:{}/{} {}{}{}{} }}",
        state.conn(),
        state.role(),
        state.peer(),
        state.disk(),
        state.pdsk(),
        if [0, 4, 5].iter().any(|&number| state.flag(number)) {
            's'
        } else {
            'r'
        },
        flag(1, 'a'),
        flag(2, 'p'),
        flag(3, 'u'),
    )
}

/// The lines of one message.
fn lines(message: &Message) -> String {
    let Some(info) = message.get::<StateInfo>() else {
        return String::new();
    };
    let (seq, minor) = (message.seq, message.header.minor);
    let volume = message.context().volume.unwrap_or(0);
    let object = format!("{minor},{}[{volume}]", message.resource());
    let mut text = String::new();
    match info.sib_reason {
        STATE_CHANGE => {
            let words = [("prev", info.prev_state), ("new", info.new_state)];
            for (name, word) in words {
                if let Some(word) = word {
                    text += &format!("{seq} ST-{name} {object} {}\n", braces(word));
                }
            }
        }
        HELPER_PRE | HELPER_POST => {
            let helper = info.helper.map(|name| name.to_string()).unwrap_or_default();
            let (word, code) = match info.sib_reason {
                HELPER_PRE => ("UH", String::new()),
                _ => (
                    "UH-post",
                    format!(" 0x{:04x}", info.helper_exit_code.unwrap_or(0)),
                ),
            };
            return format!("{seq} {word} {object} {helper}{code}\n");
        }
        _ => {}
    }
    text + &format!("{seq} ST {object} {}\n", braces(info.current_state))
}

/// `drbdsetup events`
pub fn run(parsed: &Parsed) -> i32 {
    let mut kernel = match Kernel::open(true) {
        Ok(kernel) => kernel,
        Err(exit) => return exit,
    };
    match follow(&mut kernel, parsed) {
        Ok(()) => 0,
        Err(error) => complain(error),
    }
}

fn follow(kernel: &mut Kernel, parsed: &Parsed) -> Result<(), Error> {
    kernel.0.subscribe()?;
    let wanted = parsed.operands.first();
    let minor = wanted.and_then(|operand| minor_operand(operand));
    let meant = |message: &Message| match (wanted, minor) {
        (None, _) => true,
        (Some(_), Some(minor)) => message.header.minor == minor,
        (Some(name), None) => *name == message.resource(),
    };
    let mut out = std::io::stdout();
    let mut print = |message: &Message| {
        !meant(message)
            || out
                .write_all(lines(message).as_bytes())
                .and_then(|()| out.flush())
                .is_ok()
    };
    let header = Header::request(NO_MINOR, 0);
    let all = kernel.0.dump(Command::GetStatus, header, |_| Ok(()))?;
    if !all.iter().all(&mut print) {
        return Ok(());
    }
    loop {
        if let Some(message) = kernel.0.event(None)? {
            if message.command == Some(Command::Event) && !print(&message) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdsetup::show::tests::golden_status;

    #[test]
    fn lines_of_the_stock_tool() {
        let word = 1 | 8 << 4 | 8 << 9 | 6 << 13;
        assert_eq!(
            braces(word),
            "{ cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown r--- }"
        );
        assert!(braces(word | 1 << 20).ends_with("r--u }"));
        assert!(braces(word | 1 << 17).ends_with("s--- }"));
        let line = lines(&golden_status());
        assert_eq!(
            line,
            "1 ST 0,ra[0] { cs:WFConnection ro:Secondary/Unknown ds:Diskless/DUnknown r--- }\n"
        );
    }
}
