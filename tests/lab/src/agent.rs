// SPDX-License-Identifier: GPL-2.0-only

//! The library's end of the agent in a guest: commands, files, signals.

use crate::error::At;
use crate::frame::{Exec, Frame, Kind};
use crate::{Error, Result};
use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The link to the agent of one node; it goes on over power cuts (commands then end with an error).
#[derive(Clone, Default)]
pub struct Agent {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// A lock of its own: while a long write waits for the guest, the guest's answers are still taken.
    port: Mutex<Option<UnixStream>>,
}

#[derive(Default)]
struct State {
    /// Whose frames count: the number of the link in use. A link that was hung up speaks to nobody.
    link: u64,
    ready: bool,
    next_id: u32,
    running: HashMap<u32, Sender<Frame>>,
}

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// The exit code; 128 + N if signal N ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Itself if the exit code is 0, else an error that quotes what was said.
    pub fn success(self) -> Result<Output> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(Error::new(format!(
            "`{}` ended with {}:\n{}{}",
            self.command,
            self.code,
            self.text(),
            self.errors()
        )))
    }
}

fn locked(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(|e| e.into_inner())
}

impl Shared {
    fn set_port(&self, port: Option<UnixStream>) {
        *self.port.lock().unwrap_or_else(|e| e.into_inner()) = port;
    }

    /// Ends the link in use, and all commands with it: whoever waits learns that the node is gone.
    fn next_link(&self, state: &mut State) -> u64 {
        state.link += 1;
        state.ready = false;
        state.running.clear();
        self.changed.notify_all();
        state.link
    }
}

impl Agent {
    /// Speaks with the agent at the other end until it is gone or hung up.
    pub(crate) fn follow(&self, stream: UnixStream) {
        let Ok(port) = stream.try_clone() else { return };
        let link = {
            let mut state = locked(&self.shared);
            self.shared.set_port(Some(port));
            self.shared.next_link(&mut state)
        };
        let mut reader = BufReader::with_capacity(128 << 10, stream);
        while let Ok(Some(frame)) = Frame::read(&mut reader) {
            let mut state = locked(&self.shared);
            if state.link != link {
                return;
            }
            match frame.kind {
                Kind::Hello => {
                    state.ready = true;
                    self.shared.changed.notify_all();
                }
                Kind::Exit => {
                    if let Some(command) = state.running.remove(&frame.id) {
                        let _ = command.send(frame);
                    }
                }
                _ => {
                    if let Some(command) = state.running.get(&frame.id) {
                        let _ = command.send(frame);
                    }
                }
            }
        }
        let mut state = locked(&self.shared);
        if state.link == link {
            self.shared.set_port(None);
            self.shared.next_link(&mut state);
        }
    }

    /// The other end is known to be gone: nothing of it is heard any more, not even that it was ready once.
    pub(crate) fn hang_up(&self) {
        let mut state = locked(&self.shared);
        self.shared.set_port(None);
        self.shared.next_link(&mut state);
    }

    /// Waits until the agent is ready; false if it is not within `limit`, or as soon as `gave_up` says so.
    pub(crate) fn wait_ready(&self, limit: Duration, mut gave_up: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        let mut state = locked(&self.shared);
        while !state.ready {
            if start.elapsed() > limit || gave_up() {
                return false;
            }
            let pause = Duration::from_millis(50);
            state = self
                .shared
                .changed
                .wait_timeout(state, pause)
                .map_or_else(|e| e.into_inner().0, |w| w.0);
        }
        true
    }

    /// Whether commands can be run.
    pub fn ready(&self) -> bool {
        locked(&self.shared).ready
    }

    fn open(&self, kind: Kind, payload: Vec<u8>, name: &str) -> Result<Process> {
        let (sender, output) = channel();
        let mut state = locked(&self.shared);
        if !state.ready {
            return Err(Error::new(format!("`{name}`: the node is off")));
        }
        state.next_id = state.next_id.wrapping_add(1);
        let id = state.next_id;
        state.running.insert(id, sender);
        drop(state);
        let input = Input {
            agent: self.clone(),
            id,
            name: name.to_owned(),
        };
        input.send(kind, payload)?;
        Ok(Process { input, output })
    }

    /// Starts a process in the guest.
    pub fn spawn(&self, exec: &Exec) -> Result<Process> {
        self.open(Kind::Exec, exec.to_bytes(), &exec.args.join(" "))
    }

    /// Writes a file (or a device) in the guest; folders are made.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32, limit: Duration) -> Result<()> {
        let mut head = mode.to_le_bytes().to_vec();
        head.extend_from_slice(path.as_bytes());
        let process = self.open(Kind::Put, head, &format!("put {path}"))?;
        for chunk in bytes.chunks(32 << 10) {
            process.input.write(chunk)?;
        }
        process.input.close()?;
        process.wait(limit)?.success()?;
        Ok(())
    }

    /// Reads a file of the guest.
    pub fn get(&self, path: &str, limit: Duration) -> Result<Vec<u8>> {
        let process = self.open(Kind::Get, path.as_bytes().to_vec(), &format!("get {path}"))?;
        Ok(process.wait(limit)?.success()?.stdout)
    }
}

/// The way into a command that runs in a guest: its input, signals, the size of its terminal.
#[derive(Clone)]
pub struct Input {
    agent: Agent,
    id: u32,
    name: String,
}

impl Input {
    fn send(&self, kind: Kind, payload: Vec<u8>) -> Result<()> {
        // Written under the lock: frames of different commands must not mix.
        let mut port = self
            .agent
            .shared
            .port
            .lock()
            .unwrap_or_else(|e| e.into_inner());
        let port = port
            .as_mut()
            .ok_or_else(|| Error::new(format!("`{}`: the node is off", self.name)))?;
        Frame::new(kind, self.id, payload)
            .write(port)
            .at(&self.name)
    }

    /// Feeds its standard input.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        bytes
            .chunks(32 << 10)
            .try_for_each(|chunk| self.send(Kind::Stdin, chunk.to_vec()))
    }

    /// The end of its standard input.
    pub fn close(&self) -> Result<()> {
        self.send(Kind::Stdin, Vec::new())
    }

    /// Sends a signal (a number) to its process group.
    pub fn kill(&self, signal: i32) -> Result<()> {
        self.send(Kind::Kill, signal.to_le_bytes().to_vec())
    }

    /// Tells its terminal how large it is.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let mut size = rows.to_le_bytes().to_vec();
        size.extend_from_slice(&columns.to_le_bytes());
        self.send(Kind::Resize, size)
    }
}

/// A command that runs in a guest. Dropped, it goes on, unheard.
pub struct Process {
    input: Input,
    output: Receiver<Frame>,
}

impl Process {
    /// The way into it; clones may be used by other threads.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Sends a signal (a number) to its process group.
    pub fn kill(&self, signal: i32) -> Result<()> {
        self.input.kill(signal)
    }

    /// The next frame of output, or the exit; an error after `limit` or when the node is gone.
    pub fn next(&self, limit: Duration) -> Result<Frame> {
        self.output.recv_timeout(limit).map_err(|e| match e {
            RecvTimeoutError::Timeout => Error::new(format!(
                "`{}` said nothing for {} s",
                self.input.name,
                limit.as_secs()
            )),
            RecvTimeoutError::Disconnected => Error::new(format!(
                "`{}`: the node went off while it ran",
                self.input.name
            )),
        })
    }

    /// Whether it has ended or said something; never waits.
    pub fn try_next(&self) -> Option<Frame> {
        self.output.try_recv().ok()
    }

    /// Waits for its end; after `limit` it is killed and that is an error.
    pub fn wait(self, limit: Duration) -> Result<Output> {
        let start = Instant::now();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let left = limit.saturating_sub(start.elapsed());
            let frame = match self.output.recv_timeout(left) {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.kill(9);
                    let said = [stdout, stderr].concat();
                    let said = String::from_utf8_lossy(&said).into_owned();
                    return Err(Error::new(format!(
                        "`{}` did not end within {} s; it said:\n{said}",
                        self.input.name,
                        limit.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(format!(
                        "`{}`: the node went off while it ran",
                        self.input.name
                    )));
                }
            };
            match frame.kind {
                Kind::Stdout => stdout.extend_from_slice(&frame.payload),
                Kind::Exit => {
                    let code = frame.int();
                    return Ok(Output {
                        command: self.input.name.clone(),
                        code,
                        stdout,
                        stderr,
                    });
                }
                _ => stderr.extend_from_slice(&frame.payload),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of a new link, which has said that it is ready.
    fn link(agent: &Agent) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let follower = agent.clone();
        std::thread::spawn(move || follower.follow(ours));
        Frame::new(Kind::Hello, 0, Vec::new())
            .write(&mut theirs)
            .unwrap();
        theirs
    }

    #[test]
    fn a_link_that_was_hung_up_is_not_taken_for_the_next_one() {
        let agent = Agent::default();
        let limit = Duration::from_secs(10);
        let old = link(&agent);
        assert!(agent.wait_ready(limit, || false));
        let command = agent.open(Kind::Get, Vec::new(), "get").unwrap();
        // The power goes. The kernel has not told yet that the socket is closed.
        agent.hang_up();
        assert!(!agent.ready());
        assert!(command.wait(limit).is_err());
        assert!(agent.open(Kind::Get, Vec::new(), "get").is_err());
        let mut new = link(&agent);
        assert!(agent.wait_ready(limit, || false));
        // Now the end of the old one is seen, which ends nothing of the new one.
        drop(old);
        let _command = agent.open(Kind::Get, Vec::new(), "get").unwrap();
        let frame = Frame::read(&mut new).unwrap().unwrap();
        assert!(frame.kind == Kind::Get);
        assert!(agent.ready());
    }
}
