// SPDX-License-Identifier: GPL-2.0-only

//! The command's side: starts the daemon, passes words and input on, prints the answer.

use crate::line::{Machines, Word};
use drbd_lab::frame::{Exec, Frame, Kind};
use drbd_lab::{Error, Result};
use rustix::termios::{self, OptionalActions, Termios};
use std::fs;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Where the daemon of the lab in `dir` listens: a link, because a socket's path must be short.
pub(crate) fn control(dir: &Path) -> PathBuf {
    dir.join("control")
}

fn connect(dir: &Path) -> Result<UnixStream> {
    let socket = fs::read_link(control(dir)).and_then(UnixStream::connect);
    socket.map_err(|_| {
        Error::new(format!(
            "no lab is up in {}: start one with `lab up`",
            dir.display()
        ))
    })
}

/// Starts a daemon and waits until its nodes are up.
pub(crate) fn up(dir: &Path, machines: &Machines) -> Result<u8> {
    if connect(dir).is_ok() {
        return Err(Error::new(format!(
            "a lab is up in {} already: `lab down` ends it",
            dir.display()
        )));
    }
    fs::create_dir_all(dir)?;
    let dir = fs::canonicalize(dir)?;
    let log = dir.join("daemon.log");
    let said = fs::File::create(&log)?;
    let mut daemon = Command::new("setsid")
        .arg(std::env::current_exe()?)
        .arg("--dir")
        .arg(&dir)
        .arg("daemon")
        .args(machines.words())
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()?;
    loop {
        if connect(&dir).is_ok() {
            return send(&dir, &Word::Status, &["status".to_owned()]);
        }
        if daemon.try_wait()?.is_some() {
            let why = fs::read_to_string(&log).unwrap_or_default();
            return Err(Error::new(format!("the lab did not come up:\n{why}")));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A terminal that is raw until this is dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> Result<Raw> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(std::io::Error::from)?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Sends a word, as it was written, to the daemon and prints its answer; returns the exit code.
pub(crate) fn send(dir: &Path, word: &Word, args: &[String]) -> Result<u8> {
    let mut stream = connect(dir)?;
    let stdin_terminal = std::io::stdin().is_terminal();
    let shell = matches!(word, Word::Sh { script: None, .. });
    let size = termios::tcgetwinsize(std::io::stdin()).ok();
    let terminal = size
        .filter(|_| shell && stdin_terminal)
        .map(|s| (s.ws_row, s.ws_col));
    let takes_input = shell || matches!(word, Word::Exec { .. });
    let stdin = terminal.is_some() || (takes_input && !stdin_terminal);
    // Paths mean what they mean here, not where the daemon was started.
    let exec = Exec {
        terminal,
        stdin,
        args: absolute(word, args),
    };
    Frame::new(Kind::Exec, 0, exec.to_bytes()).write(&mut stream)?;
    let _raw = terminal.map(|_| Raw::new()).transpose()?;
    if stdin {
        let mut to = stream.try_clone()?;
        thread::spawn(move || {
            let mut buffer = [0; 16384];
            loop {
                let n = std::io::stdin().read(&mut buffer).unwrap_or(0);
                let frame = Frame::new(Kind::Stdin, 0, buffer.get(..n).unwrap_or(&[]));
                if frame.write(&mut to).is_err() || n == 0 {
                    return;
                }
            }
        });
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    while let Some(frame) = Frame::read(&mut stream)? {
        match frame.kind {
            Kind::Exit => return Ok(u8::try_from(frame.int()).unwrap_or(255)),
            Kind::Stderr => err.write_all(&frame.payload)?,
            _ => {
                out.write_all(&frame.payload)?;
                out.flush()?;
            }
        }
    }
    Err(Error::new("the lab went down"))
}

/// The host's file in put, get and insmod by its full name.
fn absolute(word: &Word, args: &[String]) -> Vec<String> {
    let file = match word {
        Word::Put { file, .. } | Word::Get { file, .. } | Word::Insmod { file, .. } => file,
        _ => return args.to_vec(),
    };
    let Ok(full) = std::path::absolute(file) else {
        return args.to_vec();
    };
    let last = matches!(word, Word::Get { .. });
    let is = |arg: &String| Path::new(arg) == file;
    let at = if last {
        args.iter().rposition(is)
    } else {
        args.iter().skip(2).position(is).map(|at| at + 2)
    };
    let mut args = args.to_vec();
    if let Some(arg) = at.and_then(|at| args.get_mut(at)) {
        *arg = full.display().to_string();
    }
    args
}
