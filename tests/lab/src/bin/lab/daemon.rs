// SPDX-License-Identifier: GPL-2.0-only

//! The daemon: holds a lab, and does what clients say until one says `down`.

use crate::client::control;
use crate::line::{Line, Machines, Word};
use crate::verbs;
use drbd_lab::frame::{Exec, Frame, Kind};
use drbd_lab::{DiskBack, Error, Input, Lab, LabConfig, Process, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// A lab that many clients use.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Lab>>);

impl Shared {
    pub(crate) fn lab(&self) -> MutexGuard<'_, Lab> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A client: where the answer goes.
pub(crate) struct Client {
    stream: UnixStream,
}

impl Client {
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.put(Kind::Stdout, text.as_bytes())
    }

    pub(crate) fn put(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(32 << 10) {
            Frame::new(kind, 0, chunk).write(&mut self.stream)?;
        }
        Ok(())
    }

    /// Passes the output of a command on to its end; returns its exit code.
    pub(crate) fn relay(&mut self, process: &Process) -> Result<i32> {
        loop {
            let frame = process.next(Duration::from_secs(7 * 86400))?;
            if frame.kind == Kind::Exit {
                return Ok(frame.int());
            }
            if let Err(e) = self.put(frame.kind, &frame.payload) {
                // The person has gone (^C): the command goes too.
                let _ = process.kill(9);
                return Err(e);
            }
        }
    }

    /// Passes the client's input on to a command, from another thread; an absent client kills it.
    pub(crate) fn feed(&self, input: Input) -> Result<()> {
        let mut from = self.stream.try_clone()?;
        thread::spawn(move || {
            while let Ok(Some(frame)) = Frame::read(&mut from) {
                let passed = match frame.kind {
                    Kind::Stdin if frame.payload.is_empty() => input.close(),
                    Kind::Stdin => input.write(&frame.payload),
                    _ => Ok(()),
                };
                if passed.is_err() {
                    return;
                }
            }
            let _ = input.kill(1);
        });
        Ok(())
    }
}

fn configure(machines: &Machines) -> LabConfig {
    let mut config = LabConfig::nodes(machines.nodes, machines.disk);
    for node in &mut config.nodes {
        node.memory_mib = machines.memory;
        node.cpus = machines.cpus;
        node.detectors = !machines.no_detectors;
        node.kernel_args.clone_from(&machines.kernel_args);
        if machines.plain {
            node.disks.iter_mut().for_each(|d| d.back = DiskBack::File);
        }
    }
    config
}

/// Runs until a client says `down`.
pub(crate) fn run(dir: &Path, machines: &Machines) -> Result<()> {
    let config = configure(machines).logs(dir);
    for old in fs::read_dir(dir)?.flatten() {
        let name = old.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".console") || name.ends_with(".qemu") {
            fs::remove_file(old.path())?;
        }
    }
    let shared = Shared(Arc::new(Mutex::new(Lab::start(config)?)));
    let socket = std::env::temp_dir().join(format!("drbdrs-lab-{}.control", std::process::id()));
    let listener = UnixListener::bind(&socket)?;
    let link = control(dir);
    let _ = fs::remove_file(&link);
    symlink(&socket, &link)?;
    let (done, ended) = std::sync::mpsc::channel();
    let clients = shared.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (shared, done) = (clients.clone(), done.clone());
            thread::spawn(move || {
                if let Some(last) = serve(stream, &shared) {
                    let _ = done.send(last);
                }
            });
        }
    });
    let mut last = ended
        .recv()
        .map_err(|_| Error::new("the daemon lost its clients"))?;
    let _ = fs::remove_file(&link);
    let _ = fs::remove_file(&socket);
    let mut lab = shared.lab();
    for index in 0..lab.len() {
        lab.node_mut(index).power_cut(drbd_lab::PowerCut::Keep)?;
    }
    lab.clean_up();
    Ok(Frame::exit(0, 0).write(&mut last.stream)?)
}

/// One client; it comes back if it said `down`.
fn serve(stream: UnixStream, shared: &Shared) -> Option<Client> {
    let mut client = Client { stream };
    let request = Frame::read(&mut client.stream).ok().flatten();
    let exec = request.and_then(|frame| Exec::from_bytes(&frame.payload))?;
    let code = match Line::of(&exec.args) {
        Ok(Line {
            word: Word::Down, ..
        }) => return Some(client),
        Ok(line) => match verbs::run(&line.word, &exec, shared, &mut client) {
            Ok(code) => code,
            Err(e) => {
                let _ = client.put(Kind::Stderr, format!("lab: {e}\n").as_bytes());
                125
            }
        },
        Err(wrong) => {
            let _ = client.put(Kind::Stderr, wrong.to_string().as_bytes());
            wrong.exit_code()
        }
    };
    let _ = Frame::exit(0, code).write(&mut client.stream);
    None
}
