// SPDX-License-Identifier: GPL-2.0-only

//! The replication link: an Ethernet switch in user space, whose ports are QEMU processes.
//!
//! QEMU's `-netdev stream` sends each frame with a big-endian `u32` length before it. A frame goes from the reader of
//! its port, through the conditions of each (from, to) pair, to the queue of every other port (or only of the one that
//! owns the destination address), and the writer of that port sends it when it is due. A port that does not read (a
//! frozen guest) loses frames when its queue is full, as on a real switch; it never holds up the others.

use crate::disk::Lot;
use crate::socket::Listener;
use crate::Result;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const QUEUE_LIMIT: usize = 8 << 20;
const MAX_FRAME: usize = 256 << 10;

/// What happens to frames from one port to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Frames vanish silently.
    pub cut: bool,
    /// Frames arrive this much later.
    pub delay: Duration,
    /// Of a million frames so many vanish.
    pub loss_per_million: u32,
}

impl Conditions {
    /// All is well, but late.
    pub fn late(delay: Duration) -> Conditions {
        Conditions {
            delay,
            ..Conditions::default()
        }
    }
}

/// What went from one port to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames delivered.
    pub frames: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Frames that vanished: cut, lost, or the queue was full.
    pub dropped: u64,
}

/// A switch; clones are the same switch.
#[derive(Clone)]
pub struct Switch {
    shared: Arc<Shared>,
}

struct Shared {
    ports: Vec<Port>,
    fabric: Mutex<Fabric>,
}

struct Fabric {
    conditions: HashMap<(usize, usize), Conditions>,
    traffic: HashMap<(usize, usize), Traffic>,
    owners: HashMap<[u8; 6], usize>,
    lot: Lot,
}

#[derive(Default)]
struct Port {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By due time, then by arrival; and the port that each comes from.
    frames: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    arrivals: u64,
    bytes: usize,
    stream: Option<UnixStream>,
    closed: bool,
}

/// The sockets of a switch; the switch stops when they are dropped.
pub struct Sockets {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Switch {
    /// A switch with one port for each path. `seed` decides which frames are lost.
    pub fn new(paths: &[PathBuf], seed: u64) -> Result<(Switch, Sockets)> {
        let fabric = Fabric {
            conditions: HashMap::new(),
            traffic: HashMap::new(),
            owners: HashMap::new(),
            lot: Lot::new(seed),
        };
        let ports = paths.iter().map(|_| Port::default()).collect();
        let shared = Arc::new(Shared {
            ports,
            fabric: Mutex::new(fabric),
        });
        let mut listeners = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let to_reader = shared.clone();
            listeners.push(Listener::new(path, move |stream| {
                to_reader.plug(index, stream)
            })?);
            let to_writer = shared.clone();
            thread::spawn(move || to_writer.write_port(index));
        }
        Ok((
            Switch {
                shared: shared.clone(),
            },
            Sockets { listeners, shared },
        ))
    }

    /// The conditions from port `from` to port `to`.
    pub fn conditions(&self, from: usize, to: usize) -> Conditions {
        locked(&self.shared.fabric)
            .conditions
            .get(&(from, to))
            .copied()
            .unwrap_or_default()
    }

    /// Sets the conditions from port `from` to port `to` (not back).
    pub fn set(&self, from: usize, to: usize, conditions: Conditions) {
        locked(&self.shared.fabric)
            .conditions
            .insert((from, to), conditions);
    }

    /// Frames from `from` no longer reach `to`; those on their way are lost.
    pub fn cut(&self, from: usize, to: usize) {
        self.set(
            from,
            to,
            Conditions {
                cut: true,
                ..self.conditions(from, to)
            },
        );
        let lost = self.shared.ports.get(to).map_or(0, |port| {
            let mut queue = locked(&port.queue);
            let before = queue.frames.len();
            let mut bytes = 0;
            queue.frames.retain(|_, (sender, frame)| {
                bytes += if *sender == from { frame.len() } else { 0 };
                *sender != from
            });
            queue.bytes = queue.bytes.saturating_sub(bytes);
            before - queue.frames.len()
        });
        let mut fabric = locked(&self.shared.fabric);
        fabric.traffic.entry((from, to)).or_default().dropped += lost as u64;
    }

    /// No frame passes between the two, in neither direction: a black hole, the carrier stays up.
    pub fn cut_both(&self, a: usize, b: usize) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Every pair is well again.
    pub fn heal_all(&self) {
        locked(&self.shared.fabric).conditions.clear();
    }

    /// Whether a QEMU is connected to a port.
    pub fn plugged(&self, port: usize) -> bool {
        self.shared
            .ports
            .get(port)
            .is_some_and(|p| locked(&p.queue).stream.is_some())
    }

    /// What went from `from` to `to` since the switch was made.
    pub fn traffic(&self, from: usize, to: usize) -> Traffic {
        locked(&self.shared.fabric)
            .traffic
            .get(&(from, to))
            .copied()
            .unwrap_or_default()
    }
}

impl Sockets {
    /// The socket of a port.
    pub fn path(&self, port: usize) -> Option<&Path> {
        self.listeners.get(port).map(Listener::path)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.listeners.clear();
        for port in &self.shared.ports {
            locked(&port.queue).closed = true;
            port.filled.notify_all();
        }
    }
}

impl Shared {
    /// A QEMU connects: it is the port from now on.
    fn plug(self: &Arc<Shared>, index: usize, stream: UnixStream) {
        let (Ok(reader), Some(port)) = (stream.try_clone(), self.ports.get(index)) else {
            return;
        };
        let mut queue = locked(&port.queue);
        queue.frames.clear();
        queue.bytes = 0;
        queue.stream = Some(stream);
        drop(queue);
        let shared = self.clone();
        thread::spawn(move || shared.read_port(index, reader));
    }

    fn read_port(&self, from: usize, stream: UnixStream) {
        let mut stream = BufReader::with_capacity(256 << 10, stream);
        let mut head = [0; 4];
        while stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes(head) as usize;
            if length > MAX_FRAME {
                return;
            }
            let mut frame = Vec::with_capacity(length + 4);
            frame.extend_from_slice(&head);
            frame.resize(length + 4, 0);
            let Some(body) = frame.get_mut(4..) else {
                return;
            };
            if stream.read_exact(body).is_err() {
                return;
            }
            self.forward(from, &frame);
        }
    }

    fn forward(&self, from: usize, frame: &[u8]) {
        let address = |at: usize| {
            frame
                .get(at..at + 6)
                .and_then(|a| <[u8; 6]>::try_from(a).ok())
        };
        let (Some(destination), Some(source)) = (address(4), address(10)) else {
            return;
        };
        let now = Instant::now();
        let mut fabric = locked(&self.fabric);
        fabric.owners.insert(source, from);
        let only = fabric.owners.get(&destination).copied();
        for to in (0..self.ports.len()).filter(|to| *to != from && only.is_none_or(|o| o == *to)) {
            let conditions = fabric
                .conditions
                .get(&(from, to))
                .copied()
                .unwrap_or_default();
            let lost = conditions.loss_per_million > 0
                && fabric.lot.draw() % 1_000_000 < u64::from(conditions.loss_per_million);
            let sent =
                !conditions.cut && !lost && self.enqueue(from, to, now + conditions.delay, frame);
            let traffic = fabric.traffic.entry((from, to)).or_default();
            if sent {
                traffic.frames += 1;
                traffic.bytes += frame.len() as u64 - 4;
            } else {
                traffic.dropped += 1;
            }
        }
    }

    fn enqueue(&self, from: usize, to: usize, due: Instant, frame: &[u8]) -> bool {
        let Some(port) = self.ports.get(to) else {
            return false;
        };
        let mut queue = locked(&port.queue);
        if queue.stream.is_none() || queue.bytes + frame.len() > QUEUE_LIMIT {
            return false;
        }
        let arrival = queue.arrivals;
        queue.arrivals += 1;
        queue.bytes += frame.len();
        queue.frames.insert((due, arrival), (from, frame.to_vec()));
        drop(queue);
        port.filled.notify_one();
        true
    }

    fn write_port(&self, index: usize) {
        let Some(port) = self.ports.get(index) else {
            return;
        };
        let mut queue = locked(&port.queue);
        while !queue.closed {
            let now = Instant::now();
            let mut bytes = Vec::new();
            // All that is due goes out in one call.
            while let Some(entry) = queue.frames.first_entry().filter(|e| e.key().0 <= now) {
                bytes.extend_from_slice(&entry.get().1);
                entry.remove();
                if bytes.len() > 128 << 10 {
                    break;
                }
            }
            if !bytes.is_empty() {
                queue.bytes = queue.bytes.saturating_sub(bytes.len());
                let stream = queue.stream.as_ref().and_then(|s| s.try_clone().ok());
                drop(queue);
                let sent = stream.is_some_and(|mut s| s.write_all(&bytes).is_ok());
                queue = locked(&port.queue);
                if !sent {
                    queue.frames.clear();
                    queue.bytes = 0;
                }
                continue;
            }
            queue = match queue.frames.keys().next().map(|key| key.0) {
                Some(due) => {
                    let pause = due.saturating_duration_since(now);
                    port.filled
                        .wait_timeout(queue, pause)
                        .map_or_else(|e| e.into_inner().0, |w| w.0)
                }
                None => port.filled.wait(queue).unwrap_or_else(|e| e.into_inner()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame from machine `from` to machine `to`, with the stream's length before it.
    fn frame(from: u8, to: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = (14 + text.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&[2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0]);
        frame.extend_from_slice(text);
        frame
    }

    struct Rig {
        switch: Switch,
        _sockets: Sockets,
        a: UnixStream,
        b: UnixStream,
    }

    fn rig(name: &str) -> Rig {
        let path =
            |i: u8| std::env::temp_dir().join(format!("lab-sw-{}-{name}{i}", std::process::id()));
        let (switch, sockets) = Switch::new(&[path(0), path(1)], 1).unwrap();
        let connect = |port| UnixStream::connect(sockets.path(port).unwrap()).unwrap();
        let (a, b) = (connect(0), connect(1));
        for stream in [&a, &b] {
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
        }
        while !(switch.plugged(0) && switch.plugged(1)) {
            thread::yield_now();
        }
        Rig {
            switch,
            _sockets: sockets,
            a,
            b,
        }
    }

    fn receive(stream: &mut UnixStream, like: &[u8]) -> Vec<u8> {
        let mut got = vec![0; like.len()];
        stream.read_exact(&mut got).unwrap();
        got
    }

    #[test]
    fn one_direction_can_be_cut() {
        let mut rig = rig("cut");
        rig.switch.cut(0, 1);
        rig.a.write_all(&frame(1, 2, b"gone")).unwrap();
        let back = frame(2, 1, b"back");
        rig.b.write_all(&back).unwrap();
        assert_eq!(receive(&mut rig.a, &back), back);
        let dropped = || rig.switch.traffic(0, 1).dropped;
        let start = Instant::now();
        while dropped() == 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        rig.switch.heal_all();
        let after = frame(1, 2, b"after");
        rig.a.write_all(&after).unwrap();
        assert_eq!(receive(&mut rig.b, &after), after);
    }

    #[test]
    fn a_cut_takes_what_is_on_its_way() {
        let mut rig = rig("way");
        let slow = Conditions::late(Duration::from_secs(3600));
        rig.switch.set(0, 1, slow);
        rig.a.write_all(&frame(1, 2, b"on its way")).unwrap();
        let start = Instant::now();
        while rig.switch.traffic(0, 1).frames == 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
        rig.switch.cut(0, 1);
        assert_eq!(rig.switch.traffic(0, 1).dropped, 1);
        assert!(locked(&rig.switch.shared.ports[1].queue).frames.is_empty());
    }

    #[test]
    fn a_delay_delays_and_keeps_the_order() {
        let mut rig = rig("delay");
        let delay = Duration::from_millis(300);
        rig.switch.set(
            0,
            1,
            Conditions {
                delay,
                ..Conditions::default()
            },
        );
        let start = Instant::now();
        for n in 0..5u8 {
            rig.a.write_all(&frame(1, 2, &[n])).unwrap();
        }
        for n in 0..5u8 {
            let expected = frame(1, 2, &[n]);
            assert_eq!(receive(&mut rig.b, &expected), expected);
        }
        assert!(start.elapsed() >= delay);
    }

    #[test]
    fn loss_is_about_what_was_asked() {
        let mut rig = rig("loss");
        let before = rig.switch.traffic(0, 1);
        rig.switch.set(
            0,
            1,
            Conditions {
                loss_per_million: 500_000,
                ..Conditions::default()
            },
        );
        for _ in 0..1000 {
            rig.a.write_all(&frame(1, 2, b"x")).unwrap();
        }
        let start = Instant::now();
        loop {
            let now = rig.switch.traffic(0, 1);
            if now.frames + now.dropped == before.frames + before.dropped + 1000 {
                assert!(
                    (300..700).contains(&(now.dropped - before.dropped)),
                    "{now:?}"
                );
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
    }
}
