// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup status --watch`: the status, drawn anew every second; below it a bar for each resync with rate and
//! remaining time, and in words why something waits.

use std::collections::{HashMap, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use super::kernel::{complain, Kernel};
use super::status::{
    blocked, percent_done, pictures, reasons_of_resource, reasons_of_resync, text,
};
use super::status::{Picture, Style};
use crate::names::{has_progress, replication};

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(15);
const BAR: u64 = 40;

/// How much was out of sync when, of one volume.
type History = VecDeque<(Duration, u64)>;

/// What was seen before.
#[derive(Default)]
pub struct Watch {
    histories: HashMap<(String, u32), History>,
}

/// Sectors a second that a history shows; none while it is too short, or nothing gets less.
fn rate(history: &History) -> Option<u64> {
    let (first, last) = (history.front()?, history.back()?);
    let passed = last.0.checked_sub(first.0)?.as_millis();
    let done = u128::from(first.1.checked_sub(last.1)?) * 1000;
    u64::try_from(done.checked_div(passed)?)
        .ok()
        .filter(|rate| *rate > 0)
}

fn clock(seconds: u64) -> String {
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// One resync as a line.
fn bar(out_of_sync: u64, size: u64, rate: Option<u64>) -> String {
    let done = size.saturating_sub(out_of_sync);
    let full = u128::from(done) * u128::from(BAR);
    let full = full.checked_div(u128::from(size)).unwrap_or(0);
    let full = usize::try_from(full).unwrap_or(0);
    let mut line = format!(
        "[{}{}] {}%, {} MiB left",
        "=".repeat(full),
        ".".repeat(usize::try_from(BAR).unwrap_or(0).saturating_sub(full)),
        percent_done(out_of_sync, size),
        out_of_sync / 2048
    );
    line += &match rate {
        Some(rate) => format!(", {} KiB/s, {} to go", rate / 2, clock(out_of_sync / rate)),
        None => ", no progress measured yet".to_owned(),
    };
    line
}

fn why_resync(reason: &str) -> &'static str {
    match reason {
        "user" => "paused here: drbdadm resume-sync",
        "peer" => "paused by the peer: drbdadm resume-sync there",
        _ => "waits for the resync of another resource (resync-after)",
    }
}

fn why_io(reason: &str) -> &'static str {
    match reason {
        "user" => "I/O is suspended by hand: drbdadm resume-io",
        "no-data" => "I/O is suspended: no up-to-date disk is reachable; attach or connect one",
        _ => "I/O is suspended until the peer is fenced: see the fence-peer handler's output in the log",
    }
}

impl Watch {
    /// What is below the status of a resource. `now` counts from the start.
    pub fn below(&mut self, picture: &Picture, now: Duration) -> String {
        let mut out = String::new();
        for reason in reasons_of_resource(&picture.info) {
            out += &format!("  ! {}\n", why_io(reason));
        }
        for (volume, _, _, statistics) in &picture.devices {
            match blocked(statistics) {
                "no" => {}
                "upper" => out += &format!("  ! volume {volume}: new requests wait for room in the activity log or the socket\n"),
                _ => out += &format!("  ! volume {volume}: the disk below does not take more requests\n"),
            }
        }
        for (volume, info, statistics) in &picture.peer_devices {
            let key = (picture.name.clone(), *volume);
            if !has_progress(info.repl_state) {
                self.histories.remove(&key);
                continue;
            }
            let history = self.histories.entry(key).or_default();
            history.push_back((now, statistics.out_of_sync));
            while history.len() > 2
                && history
                    .front()
                    .is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
            {
                history.pop_front();
            }
            let line = bar(
                statistics.out_of_sync,
                picture.size_of(*volume),
                rate(history),
            );
            out += &format!(
                "  volume {volume} {}: {line}\n",
                replication(info.repl_state)
            );
            for reason in reasons_of_resync(info) {
                out += &format!("  ! volume {volume}: {}\n", why_resync(reason));
            }
        }
        out
    }

    fn screen(&mut self, pictures: &[Picture], style: Style, now: Duration) -> String {
        let mut out = String::new();
        for picture in pictures {
            out += text(picture, style).trim_end_matches('\n');
            out.push('\n');
            out += &self.below(picture, now);
            out.push('\n');
        }
        if pictures.is_empty() {
            out += "No resource is configured: drbdadm up\n";
        }
        out + "Ctrl-C ends.\n"
    }
}

/// As much of a screen as fits, and how much does not: what scrolls could not be drawn over.
fn fitting(screen: &str, rows: usize) -> String {
    let lines: Vec<&str> = screen.lines().collect();
    if lines.len() < rows || rows < 2 {
        return screen.to_owned();
    }
    let shown = rows - 2;
    let mut out = String::new();
    for line in &lines[..shown] {
        out += line;
        out.push('\n');
    }
    let more = lines.len() - shown;
    out + &format!("... {more} more lines: name a resource, or make the terminal higher\n")
}

/// Draws until it is interrupted, or the driver or the terminal goes away.
pub fn run(kernel: &mut Kernel, wanted: Option<&str>, style: Style) -> i32 {
    if !std::io::stdout().is_terminal() {
        eprintln!("drbdsetup status: --watch needs a terminal; for programs there are events2 and metrics");
        return super::EXIT_LOCAL;
    }
    let start = Instant::now();
    let mut watch = Watch::default();
    let mut clear = "\x1b[2J";
    loop {
        let pictures = match pictures(kernel, wanted) {
            Ok(pictures) => pictures,
            Err(error) => return complain(error),
        };
        let screen = watch.screen(&pictures, style, start.elapsed());
        let rows = tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        let screen = fitting(&screen, rows).replace('\n', "\x1b[K\n");
        let mut out = std::io::stdout().lock();
        let drawn = write!(out, "{clear}\x1b[H{screen}\x1b[J").and_then(|()| out.flush());
        if drawn.is_err() {
            return 0;
        }
        clear = "";
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdsetup::status::example;

    #[test]
    fn a_resync_has_a_bar_a_rate_and_an_end() {
        let mut watch = Watch::default();
        let mut picture = example();
        let first = watch.below(&picture, Duration::from_secs(0));
        assert!(first.contains("[=======......"), "{first}");
        assert!(first.contains("no progress measured yet"), "{first}");
        picture.peer_devices[0].2.out_of_sync -= 2 * 2000;
        let second = watch.below(&picture, Duration::from_secs(2));
        assert!(second.contains("1000 KiB/s, 0:00:11 to go"), "{second}");
        // What is long ago does not count.
        for second in 10..40 {
            watch.below(&picture, Duration::from_secs(second));
        }
        let stuck = watch.below(&picture, Duration::from_secs(40));
        assert!(stuck.contains("no progress measured yet"), "{stuck}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(fitting("a\nb\n", 3), "a\nb\n");
        assert_eq!(fitting("a\nb\n", 0), "a\nb\n");
        let cut = fitting("a\nb\nc\nd\n", 4);
        assert!(cut.starts_with("a\nb\n... 2 more lines"), "{cut}");
        assert_eq!(cut.lines().count(), 3);
    }

    #[test]
    fn what_waits_says_why() {
        let mut watch = Watch::default();
        let mut picture = example();
        picture.peer_devices[0].1.susp_dependency = 1;
        picture.info.susp_nod = true;
        picture.devices[0].3.lower_blocked = true;
        let text = watch.below(&picture, Duration::ZERO);
        assert!(text.contains("resync-after"), "{text}");
        assert!(text.contains("no up-to-date disk"), "{text}");
        assert!(text.contains("the disk below"), "{text}");
        assert_eq!(clock(3_723), "1:02:03");
    }
}
