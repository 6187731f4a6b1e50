// SPDX-License-Identifier: GPL-2.0-only

//! The frames between the library and the agent in a guest (and between the `lab` command and its daemon).
//!
//! A frame is a little-endian `u32` length of what follows, one byte of kind, a `u32` that names the command it
//! belongs to, and a payload. A command is opened by [`Kind::Exec`], [`Kind::Put`] or [`Kind::Get`], gets
//! [`Kind::Stdin`] frames (an empty one is the end) and answers with [`Kind::Stdout`] and [`Kind::Stderr`] frames and
//! exactly one [`Kind::Exit`]. Commands run side by side; frames of different commands interleave.

use std::io::{self, Read, Write};

/// No frame is longer. Writers split, readers refuse.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Start a process; the payload is an [`Exec`].
    Exec = 1,
    /// Bytes for the standard input of a process or for the file of a put; empty: the end.
    Stdin = 2,
    /// Send a signal (`i32`) to the process group.
    Kill = 3,
    /// Write a file: `u32` mode, then the path.
    Put = 4,
    /// Read a file: the path.
    Get = 5,
    /// The size of the terminal: `u16` rows, `u16` columns.
    Resize = 6,
    /// The agent is ready; the payload is the kernel's release.
    Hello = 16,
    /// Standard output of a process, or bytes of the file of a get.
    Stdout = 17,
    /// Standard error, or the reason why a command could not be done.
    Stderr = 18,
    /// The end of a command: `i32` exit code (128 + signal if a signal ended it).
    Exit = 19,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [
            Exec, Stdin, Kill, Put, Get, Resize, Hello, Stdout, Stderr, Exit,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The command it belongs to.
    pub id: u32,
    /// Its content.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame.
    pub fn new(kind: Kind, id: u32, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            kind,
            id,
            payload: payload.into(),
        }
    }

    /// The end of command `id`.
    pub fn exit(id: u32, code: i32) -> Frame {
        Frame::new(Kind::Exit, id, code.to_le_bytes())
    }

    /// The `i32` at the start of the payload.
    pub fn int(&self) -> i32 {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(&self.payload) {
            *to = *from;
        }
        i32::from_le_bytes(bytes)
    }

    /// Reads one frame; `None` at a clean end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        let mut have = 0;
        while have < head.len() {
            match from.read(&mut head[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = Kind::from_byte(head[4]);
        let id = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
        let (Some(kind), Some(len)) = (kind, len.checked_sub(5)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame"));
        };
        if len > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame that is too long",
            ));
        }
        let mut payload = vec![0; len];
        from.read_exact(&mut payload)?;
        Ok(Some(Frame { kind, id, payload }))
    }

    /// Writes the frame in one call, so that a lock around it is held shortly.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(9 + self.payload.len());
        bytes.extend_from_slice(&(self.payload.len() as u32 + 5).to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        to.write_all(&bytes)?;
        to.flush()
    }
}

/// A process to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Give it a terminal (with this many rows and columns).
    pub terminal: Option<(u16, u16)>,
    /// [`Kind::Stdin`] frames follow; else its standard input is empty.
    pub stdin: bool,
    /// The program and its arguments.
    pub args: Vec<String>,
}

impl Exec {
    /// As the payload of a [`Kind::Exec`] frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (rows, columns) = self.terminal.unwrap_or((0, 0));
        let mut bytes = vec![u8::from(self.terminal.is_some()) | u8::from(self.stdin) << 1];
        bytes.extend_from_slice(&rows.to_le_bytes());
        bytes.extend_from_slice(&columns.to_le_bytes());
        for arg in &self.args {
            bytes.extend_from_slice(&(arg.len() as u32).to_le_bytes());
            bytes.extend_from_slice(arg.as_bytes());
        }
        bytes
    }

    /// From the payload of a [`Kind::Exec`] frame.
    pub fn from_bytes(bytes: &[u8]) -> Option<Exec> {
        let (head, mut rest) = bytes.split_at_checked(5)?;
        let rows = u16::from_le_bytes([head[1], head[2]]);
        let columns = u16::from_le_bytes([head[3], head[4]]);
        let mut args = Vec::new();
        while !rest.is_empty() {
            let (len, tail) = rest.split_at_checked(4)?;
            let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
            let (arg, tail) = tail.split_at_checked(len)?;
            args.push(String::from_utf8_lossy(arg).into_owned());
            rest = tail;
        }
        let terminal = (head[0] & 1 != 0).then_some((rows, columns));
        Some(Exec {
            terminal,
            stdin: head[0] & 2 != 0,
            args,
        })
    }
}
