// SPDX-License-Identifier: GPL-2.0-only

//! The agent: commands that arrive as frames on the virtio-serial port.
//!
//! One thread reads the port and never blocks on a command. Each process has a thread that waits for its output and
//! its end at once (its pidfd), so that a daemon which keeps the output open does not hide that the command is over.

use crate::frame::{Exec, Frame, Kind};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{tcsetwinsize, Winsize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK: usize = 32 * 1024;

type Port = Arc<Mutex<File>>;
type Running = Arc<Mutex<HashMap<u32, Job>>>;

/// What the reader of the port needs of a command that runs.
struct Job {
    stdin: Option<Sender<Vec<u8>>>,
    group: Option<Pid>,
    terminal: Option<Arc<OwnedFd>>,
}

/// Never returns in a healthy guest; process 1 restarts the guest if it does.
pub fn run() {
    let mut reader = match open_port() {
        Ok(port) => port,
        Err(e) => return eprintln!("lab: no port to the library: {e}"),
    };
    let port = match reader.try_clone() {
        Ok(copy) => Arc::new(Mutex::new(copy)),
        Err(e) => return eprintln!("lab: {e}"),
    };
    let release = rustix::system::uname().release().to_bytes().to_vec();
    send(&port, &Frame::new(Kind::Hello, 0, release));
    let running = Running::default();
    loop {
        match Frame::read(&mut reader) {
            Ok(Some(frame)) => handle(frame, &port, &running),
            // Nobody holds the other end.
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(e) => return eprintln!("lab: the port failed: {e}"),
        }
    }
}

fn open_port() -> io::Result<File> {
    let start = Instant::now();
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")?.flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == "lab" {
                let device = Path::new("/dev").join(entry.file_name());
                return OpenOptions::new().read(true).write(true).open(device);
            }
        }
        if start.elapsed() > Duration::from_secs(60) {
            return Err(io::Error::other("no virtio port is named 'lab'"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn send(port: &Port, frame: &Frame) {
    if let Ok(mut port) = port.lock() {
        if let Err(e) = frame.write(&mut *port) {
            eprintln!("lab: cannot answer: {e}");
        }
    }
}

fn handle(frame: Frame, port: &Port, running: &Running) {
    let id = frame.id;
    match frame.kind {
        Kind::Exec => {
            let result = match Exec::from_bytes(&frame.payload) {
                Some(exec) => start(id, &exec, port, running),
                None => Err(io::Error::other("a malformed command")),
            };
            if let Err(e) = result {
                refuse(id, &e, port);
            }
        }
        Kind::Stdin | Kind::Kill | Kind::Resize => {
            let mut jobs = running.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(job) = jobs.get_mut(&id) {
                job.on(&frame);
            }
        }
        Kind::Put => put(id, &frame.payload, port, running),
        Kind::Get => {
            let path = String::from_utf8_lossy(&frame.payload).into_owned();
            let port = port.clone();
            thread::spawn(move || match get(id, &path, &port) {
                Ok(()) => send(&port, &Frame::exit(id, 0)),
                Err(e) => refuse(id, &io::Error::other(format!("{path}: {e}")), &port),
            });
        }
        Kind::Hello | Kind::Stdout | Kind::Stderr | Kind::Exit => {}
    }
}

impl Job {
    fn on(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Stdin if frame.payload.is_empty() => self.stdin = None,
            Kind::Stdin => {
                if let Some(stdin) = &self.stdin {
                    // A process that is gone does not read; its exit is on the way.
                    let _ = stdin.send(frame.payload.clone());
                }
            }
            Kind::Kill => {
                if let (Some(group), Some(signal)) =
                    (self.group, Signal::from_named_raw(frame.int()))
                {
                    let _ = kill_process_group(group, signal);
                }
            }
            _ => {
                if let (Some(terminal), [r0, r1, c0, c1]) = (&self.terminal, &frame.payload[..]) {
                    resize(
                        terminal,
                        u16::from_le_bytes([*r0, *r1]),
                        u16::from_le_bytes([*c0, *c1]),
                    );
                }
            }
        }
    }
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let _ = tcsetwinsize(terminal, size);
}

/// 127, as a shell says "not found".
fn refuse(id: u32, error: &io::Error, port: &Port) {
    send(
        port,
        &Frame::new(Kind::Stderr, id, format!("lab: {error}\n")),
    );
    send(port, &Frame::exit(id, 127));
}

fn start(id: u32, exec: &Exec, port: &Port, running: &Running) -> io::Result<()> {
    let (program, args) = exec
        .args
        .split_first()
        .ok_or_else(|| io::Error::other("an empty command"))?;
    let mut terminal = None;
    let mut command = if let Some((rows, columns)) = exec.terminal {
        let (master, slave) = open_terminal()?;
        resize(&master, rows, columns);
        terminal = Some(Arc::new(master));
        // setsid gives the process its controlling terminal, and a session of its own.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(args);
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        command.env("TERM", "xterm");
        command
    } else {
        let mut command = Command::new(program);
        let input = if exec.stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command
            .args(args)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0).env("TERM", "linux");
        command
    };
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.env("HOME", "/root").current_dir("/root");
    let mut child = command
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run '{program}': {e}")))?;
    drop(command);

    let group = Pid::from_raw(child.id() as i32);
    let stdin = match (&terminal, child.stdin.take()) {
        (Some(master), _) => Some(feed(File::from(master.try_clone()?))),
        (None, Some(pipe)) => Some(feed(File::from(OwnedFd::from(pipe)))),
        (None, None) => None,
    };
    let job = Job {
        stdin,
        group,
        terminal: terminal.clone(),
    };
    running
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .insert(id, job);
    let (port, running) = (port.clone(), running.clone());
    thread::spawn(move || {
        let code = attend(id, &mut child, terminal.as_deref(), &port);
        running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&id);
        send(&port, &Frame::exit(id, code));
    });
    Ok(())
}

fn open_terminal() -> io::Result<(OwnedFd, File)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let name = name.to_string_lossy().into_owned();
    let no_ctty = rustix::fs::OFlags::NOCTTY.bits() as i32;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(no_ctty)
        .open(name)?;
    Ok((master, slave))
}

/// A writer of its own, so that a process which does not read its input blocks nobody else.
fn feed(mut to: File) -> Sender<Vec<u8>> {
    let (sender, receiver): (_, Receiver<Vec<u8>>) = channel();
    thread::spawn(move || {
        for bytes in receiver {
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    sender
}

/// Forwards the output until the process ends; returns its exit code.
fn attend(id: u32, child: &mut Child, terminal: Option<&OwnedFd>, port: &Port) -> i32 {
    let mut outputs: Vec<(Kind, File)> = Vec::new();
    if let Some(copy) = terminal.and_then(|master| master.try_clone().ok()) {
        outputs.push((Kind::Stdout, File::from(copy)));
    }
    if let Some(pipe) = child.stdout.take() {
        outputs.push((Kind::Stdout, File::from(OwnedFd::from(pipe))));
    }
    if let Some(pipe) = child.stderr.take() {
        outputs.push((Kind::Stderr, File::from(OwnedFd::from(pipe))));
    }
    for (_, file) in &outputs {
        let _ = rustix::io::ioctl_fionbio(file, true);
    }
    let pidfd =
        Pid::from_raw(child.id() as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let Some(pidfd) = pidfd else {
        return child.wait().ok().and_then(|s| s.code()).unwrap_or(127);
    };
    loop {
        let mut fds: Vec<PollFd> = Vec::with_capacity(3);
        fds.push(PollFd::new(&pidfd, PollFlags::IN));
        fds.extend(
            outputs
                .iter()
                .map(|(_, file)| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)),
        );
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        outputs.retain_mut(|(kind, file)| drain(id, *kind, file, port));
        if ended {
            break;
        }
    }
    match child.wait() {
        Ok(status) => status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(_) => 127,
    }
}

/// Sends what is there; false at the end of the stream.
fn drain(id: u32, kind: Kind, file: &mut File, port: &Port) -> bool {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return false,
            Ok(n) => send(port, &Frame::new(kind, id, &buffer[..n])),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn put(id: u32, payload: &[u8], port: &Port, running: &Running) {
    let (sender, receiver): (_, Receiver<Vec<u8>>) = channel();
    let job = Job {
        stdin: Some(sender),
        group: None,
        terminal: None,
    };
    running
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .insert(id, job);
    let (head, path) = payload.split_at(payload.len().min(4));
    let mode = head
        .iter()
        .rev()
        .fold(0, |mode, byte| mode << 8 | u32::from(*byte));
    let path = String::from_utf8_lossy(path).into_owned();
    let (port, running) = (port.clone(), running.clone());
    thread::spawn(move || {
        let result = store(&path, mode, receiver);
        running
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&id);
        match result {
            Ok(()) => send(&port, &Frame::exit(id, 0)),
            Err(e) => refuse(id, &io::Error::other(format!("{path}: {e}")), &port),
        }
    });
}

fn store(path: &str, mode: u32, bytes: Receiver<Vec<u8>>) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder)?;
    }
    // A regular file is replaced (it may be a program that runs); a device is written.
    let device = fs::metadata(path).is_ok_and(|m| !m.is_file());
    if !device {
        let _ = fs::remove_file(path);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(!device)
        .truncate(!device)
        .open(path)?;
    for chunk in bytes {
        file.write_all(&chunk)?;
    }
    if !device {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.sync_all()
}

fn get(id: u32, path: &str, port: &Port) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        send(port, &Frame::new(Kind::Stdout, id, &buffer[..n]));
    }
}
