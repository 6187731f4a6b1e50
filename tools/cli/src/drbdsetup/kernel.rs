// SPDX-License-Identifier: GPL-2.0-only

//! The driver as drbdsetup sees it: opened once, loaded if need be, its answers turned into words and exit codes.

use drbd_core::config::info::StateInfo;
use drbd_core::config::nlattr::{Full, Writer, NESTED};
use drbd_core::config::schema::{Header, NO_MINOR};
use drbd_core::config::{CfgContext, Command, DiskConf, Nest, Value};
use drbd_core::types::StateRv;
use drbd_genl::{Client, Error, Message};
use std::time::{Duration, Instant};

use super::EXIT_LOCAL;
use crate::names::{code, exit_code, StateWord, DISKLESS, NO_ERROR};

/// Opens the driver; with `load`, loads it when there is none.
pub fn driver(load: bool) -> Result<Kernel, Error> {
    match Client::open() {
        Err(Error::NoDriver) if load => {
            // The stock name first: an alias or the installed file decides which driver that is.
            for module in ["drbd", "drbdrs"] {
                let loaded = std::process::Command::new("/sbin/modprobe")
                    .args(["-q", module])
                    .stderr(std::process::Stdio::null())
                    .status();
                if loaded.is_ok_and(|status| status.success()) {
                    break;
                }
            }
            Client::open().map(Kernel)
        }
        other => other.map(Kernel),
    }
}

/// A driver that answers.
pub struct Kernel(pub Client);

/// The driver's word for "not now, but soon".
const IN_TRANSIENT_STATE: i32 = StateRv::InTransientState as i32;

/// How long a driver may say so before a person is told.
const TRANSIENT: Duration = Duration::from_secs(10);

/// Between two tries. The driver tells nobody of a state that has not changed for others to see.
const TRANSIENT_STEP: Duration = Duration::from_millis(50);

/// Asks until an answer is final.
fn insist<T, E>(
    mut ask: impl FnMut() -> Result<T, E>,
    is_final: impl Fn(&T) -> bool,
) -> Result<T, E> {
    loop {
        let answer = ask()?;
        if is_final(&answer) {
            return Ok(answer);
        }
    }
}

/// Attributes of one nest, not yet written.
pub type Values<'a> = Vec<(u16, Value<'a>)>;

/// Writes a nest of a request; nothing if there is nothing in it.
pub fn put_nest(
    writer: &mut Writer<'_>,
    nest: &Nest,
    values: &[(u16, Value<'_>)],
) -> Result<(), Full> {
    if values.is_empty() {
        return Ok(());
    }
    let open = writer.begin(nest.nr | NESTED)?;
    for (nr, value) in values {
        nest.attr(*nr).ok_or(Full)?.put(writer, *value)?;
    }
    writer.end(open)
}

/// Writes a context that names a resource.
pub fn put_resource(writer: &mut Writer<'_>, name: &str) -> Result<(), Full> {
    put_nest(
        writer,
        &CfgContext::NEST,
        &[(2, Value::Text(name.as_bytes()))],
    )
}

impl Kernel {
    /// Opens the driver for a command; complains when there is none.
    pub fn open(load: bool) -> Result<Self, i32> {
        driver(load).map_err(complain)
    }

    /// Asks for a change. "Retry after next state change", says the stock driver while two nodes shake hands; that
    /// is what this does, for a while.
    pub fn change(
        &mut self,
        command: Command,
        header: Header,
        build: impl Fn(&mut Writer<'_>) -> Result<(), Full>,
    ) -> Result<Message, Error> {
        let until = Instant::now() + TRANSIENT;
        insist(
            || self.0.request(command, header, &build),
            |reply| {
                let settled = reply.header.ret_code() != IN_TRANSIENT_STATE;
                if !settled {
                    std::thread::sleep(TRANSIENT_STEP);
                }
                settled || Instant::now() >= until
            },
        )
    }

    /// The state of one minor.
    pub fn status(&mut self, minor: u32) -> Result<Message, i32> {
        let reply = self
            .0
            .request(Command::GetStatus, Header::request(minor, 0), |_| Ok(()))
            .map_err(complain)?;
        match report(&reply, &minor.to_string()) {
            0 => Ok(reply),
            exit => Err(exit),
        }
    }

    /// Whether that minor exists.
    pub fn knows(&mut self, minor: u32) -> bool {
        let reply = self
            .0
            .request(Command::GetStatus, Header::request(minor, 0), |_| Ok(()));
        reply.is_ok_and(|reply| reply.header.ret_code() == NO_ERROR)
    }

    /// The states of all minors.
    pub fn all(&mut self) -> Result<Vec<Message>, Error> {
        self.0
            .dump(Command::GetStatus, Header::request(NO_MINOR, 0), |_| Ok(()))
    }

    /// A dump that is about one resource, or about all.
    pub fn list(
        &mut self,
        command: Command,
        resource: Option<&str>,
    ) -> Result<Vec<Message>, Error> {
        self.0.dump(
            command,
            Header::request(NO_MINOR, 0),
            |writer| match resource {
                Some(name) => put_resource(writer, name),
                None => Ok(()),
            },
        )
    }
}

/// Prints why the kernel was not asked.
pub fn complain(error: Error) -> i32 {
    eprintln!("{error}");
    EXIT_LOCAL
}

/// Prints what a reply says; returns the exit code.
pub fn report(reply: &Message, object: &str) -> i32 {
    let ret = reply.header.ret_code();
    let exit = exit_code(ret);
    let info = reply.info();
    if exit != 0 {
        match code(ret) {
            Some(text) if ret > 100 => eprintln!("{object}: Failure: ({ret}) {text}"),
            Some(text) => eprintln!("{object}: State change failed: ({ret}) {text}"),
            None => eprintln!("{object}: Unknown return code {ret} from the kernel"),
        }
    }
    if !info.is_empty() {
        eprintln!("additional info from kernel:");
        info.iter().for_each(|line| eprintln!("{line}"));
    }
    exit
}

/// A minor as it may be written: `0`, `minor-0`, `/dev/drbd0`, `drbd0`, or any device node of ours.
pub fn minor_operand(text: &str) -> Option<u32> {
    let digits = ["minor-", "/dev/drbd", "drbd"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    if let Ok(minor) = digits.parse::<u32>() {
        return Some(minor);
    }
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let meta = std::fs::metadata(text).ok()?;
    let rdev = meta.rdev();
    let major = (rdev >> 8) & 0xfff;
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00);
    (meta.file_type().is_block_device() && major == 147).then(|| u32::try_from(minor).ok())?
}

/// The lower disk that a minor is attached to, if it is and a driver is there.
pub fn attached_to(minor: u32) -> Option<String> {
    let mut kernel = driver(false).ok()?;
    let reply = kernel
        .0
        .request(Command::GetStatus, Header::request(minor, 0), |_| Ok(()))
        .ok()?;
    let state = StateWord(reply.get::<StateInfo>()?.current_state);
    if state.disk_number() == DISKLESS {
        return None;
    }
    Some(
        reply
            .get::<DiskConf>()
            .map(|conf| conf.backing_dev.to_string())
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::{insist, minor_operand};

    #[test]
    fn what_is_refused_for_a_moment_is_asked_again() {
        let mut answers = vec![1, -18, -18];
        let got = insist(|| answers.pop().ok_or("no more"), |code| *code != -18);
        assert_eq!(got, Ok(1));
        let mut broken = vec![1, -18];
        let got = insist(
            || match broken.pop() {
                Some(-18) => Err("gone"),
                _ => Ok(1),
            },
            |_| false,
        );
        assert_eq!(got, Err("gone"));
        // Not final, but the time is over.
        assert_eq!(insist(|| Ok::<_, ()>(-18), |_| true), Ok(-18));
    }

    #[test]
    fn minors_in_all_forms() {
        for text in ["3", "minor-3", "/dev/drbd3", "drbd3"] {
            assert_eq!(minor_operand(text), Some(3));
        }
        for text in ["", "r0", "-1", "/dev/null", "drbd", "3x"] {
            assert_eq!(minor_operand(text), None, "{text}");
        }
    }
}
