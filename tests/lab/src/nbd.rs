// SPDX-License-Identifier: GPL-2.0-only

//! The server through which QEMU reaches a [`Disk`]: the NBD protocol, as much of it as QEMU speaks to a plain export.

use crate::disk::Disk;
use crate::socket::Listener;
use crate::Result;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
/// Has flags, flush, FUA, trim, write zeroes.
const FLAGS: u16 = 1 | 4 | 8 | 0x20 | 0x40;
const MAX_REQUEST: u32 = 32 << 20;

/// Serves one disk to whoever connects; the next connection is served when QEMU was started again.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Serves `disk` at the unix socket `path`.
    pub fn new(path: &Path, disk: Arc<Disk>) -> Result<Server> {
        let listener = Listener::new(path, move |stream| {
            let disk = disk.clone();
            disk.attach(true);
            thread::spawn(move || {
                // An error here is QEMU that was killed in the middle of a request: what a power cut looks like.
                let _ = serve(stream, &disk);
                disk.attach(false);
            });
        })?;
        Ok(Server { listener })
    }

    /// The socket to connect to.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }
}

struct Peer {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Peer {
    fn u16(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.from.read_exact(&mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn bytes(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > MAX_REQUEST {
            return Err(malformed("a request that is too long"));
        }
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn option_reply(&mut self, option: u32, kind: u32, payload: &[u8]) -> io::Result<()> {
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend_from_slice(&option.to_be_bytes());
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        reply.extend_from_slice(payload);
        self.to.write_all(&reply)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn serve(stream: UnixStream, disk: &Disk) -> io::Result<()> {
    let mut peer = Peer {
        from: BufReader::with_capacity(256 << 10, stream.try_clone()?),
        to: stream,
    };
    if negotiate(&mut peer, disk.size())? {
        while transmit(&mut peer, disk)? {}
    }
    Ok(())
}

/// The fixed newstyle handshake; false if the client only wanted to look.
fn negotiate(peer: &mut Peer, size: u64) -> io::Result<bool> {
    const FIXED_NEWSTYLE: u16 = 1;
    const NO_ZEROES: u16 = 2;
    const ABORT: u32 = 2;
    const INFO: u32 = 6;
    const GO: u32 = 7;
    const ACK: u32 = 1;
    const REP_INFO: u32 = 3;
    const UNSUPPORTED: u32 = 1 << 31 | 1;
    let mut hello = b"NBDMAGIC".to_vec();
    hello.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    hello.extend_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    peer.to.write_all(&hello)?;
    peer.u32()?; // the client's flags: nothing in them matters here
    loop {
        if peer.u64()? != OPTION_MAGIC {
            return Err(malformed("not an option"));
        }
        let option = peer.u32()?;
        let length = peer.u32()?;
        peer.bytes(length)?; // any export name is this disk
        match option {
            GO | INFO => {
                let mut export = 0u16.to_be_bytes().to_vec();
                export.extend_from_slice(&size.to_be_bytes());
                export.extend_from_slice(&FLAGS.to_be_bytes());
                peer.option_reply(option, REP_INFO, &export)?;
                let mut blocks = 3u16.to_be_bytes().to_vec();
                for value in [512u32, 4096, MAX_REQUEST] {
                    blocks.extend_from_slice(&value.to_be_bytes());
                }
                peer.option_reply(option, REP_INFO, &blocks)?;
                peer.option_reply(option, ACK, &[])?;
                if option == GO {
                    return Ok(true);
                }
            }
            ABORT => {
                peer.option_reply(option, ACK, &[])?;
                return Ok(false);
            }
            _ => peer.option_reply(option, UNSUPPORTED, &[])?,
        }
    }
}

/// One request; false when the client says goodbye.
fn transmit(peer: &mut Peer, disk: &Disk) -> io::Result<bool> {
    const EINVAL: u32 = 22;
    if peer.u32()? != REQUEST {
        return Err(malformed("not a request"));
    }
    let flags = peer.u16()?;
    let command = peer.u16()?;
    let cookie = peer.u64()?;
    let offset = peer.u64()?;
    let length = peer.u32()?;
    let fua = flags & 1 != 0;
    let inside = offset
        .checked_add(u64::from(length))
        .is_some_and(|end| end <= disk.size());
    let mut data = Vec::new();
    let result = match command {
        0 if inside && length <= MAX_REQUEST => {
            data = vec![0; length as usize];
            disk.serve_read(&mut data, offset)
        }
        1 => {
            let bytes = peer.bytes(length)?;
            if inside {
                disk.serve_write(&bytes, offset, fua)
            } else {
                Err(io::Error::from_raw_os_error(EINVAL as i32))
            }
        }
        2 => return Ok(false),
        3 => disk.serve_flush(),
        4 | 6 if inside => disk.serve_zero(offset, u64::from(length), fua),
        _ => Err(io::Error::from_raw_os_error(EINVAL as i32)),
    };
    let error = result
        .as_ref()
        .err()
        .map_or(0, |e| e.raw_os_error().map_or(EINVAL, |n| n as u32));
    if error != 0 {
        data.clear();
    }
    let mut reply = SIMPLE_REPLY.to_be_bytes().to_vec();
    reply.extend_from_slice(&error.to_be_bytes());
    reply.extend_from_slice(&cookie.to_be_bytes());
    reply.extend_from_slice(&data);
    peer.to.write_all(&reply)?;
    Ok(true)
}
