// SPDX-License-Identifier: GPL-2.0-only

//! Child processes that do not outlive this one.
//!
//! The kernel kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), so all are started by one
//! thread that never ends. `setpriv` sets it: that needs no unsafe code here.

use crate::error::At;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, OnceLock};
use std::thread;

type Job = (Command, Sender<std::io::Result<Child>>);

/// Starts `command` so that it dies with this process. It reads and says nothing.
pub fn spawn(command: &Command) -> Result<Child> {
    start(command, Stdio::null(), Stdio::null())
}

/// Starts `command` so that it dies with this process; what it says is appended to the file `log`.
pub fn spawn_logged(command: &Command, log: &Path) -> Result<Child> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .at(log.display())?;
    start(command, file.try_clone()?.into(), file.into())
}

fn start(command: &Command, stdout: Stdio, stderr: Stdio) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let gone = || Error::new("the thread that starts processes is gone");
    let (answer, result) = channel();
    let mut tied = tied(command);
    tied.stdout(stdout).stderr(stderr);
    let job = (tied, answer);
    starter
        .lock()
        .map_err(|_| gone())?
        .send(job)
        .map_err(|_| gone())?;
    result
        .recv()
        .map_err(|_| gone())?
        .at(format!("{:?}", command.get_program()))
}

fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied.stdin(Stdio::null());
    tied
}
