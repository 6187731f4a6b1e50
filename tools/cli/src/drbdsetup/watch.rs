// SPDX-License-Identifier: GPL-2.0-only

//! `drbdsetup status --watch`: the status, drawn anew every second; below it a bar for each resync with rate and
//! remaining time, and in words why something waits. [`screen`] puts it on the terminal.

mod screen;

use std::collections::{HashMap, VecDeque};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use drbd_genl::Error;
use ratatui::style::{Color, Style as Look};
use ratatui::text::Line;

use super::kernel::{complain, Kernel};
use super::status::{
    blocked, lines, percent_done, pictures, reasons_of_resource, reasons_of_resync,
};
use super::status::{Picture, Style};
use crate::names::{has_progress, replication};
use screen::{Row, Screen};

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(15);
/// Between two drawings.
const TURN: Duration = Duration::from_secs(1);

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

/// How far a resync is, in figures.
fn figures(out_of_sync: u64, size: u64, rate: Option<u64>) -> String {
    let done = percent_done(out_of_sync, size);
    let left = format!("{done}%, {} MiB left", out_of_sync / 2048);
    match rate {
        Some(rate) => format!(
            "{left}, {} KiB/s, {} to go",
            rate / 2,
            clock(out_of_sync / rate)
        ),
        None => format!("{left}, no progress measured yet"),
    }
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
    fn below(&mut self, picture: &Picture, color: bool, now: Duration) -> Vec<Row> {
        let mut rows = Vec::new();
        let waits = |text: String| Row::plain(format!("  ! {text}"));
        for reason in reasons_of_resource(&picture.info) {
            rows.push(waits(why_io(reason).to_owned()));
        }
        for (volume, _, _, statistics) in &picture.devices {
            let why = match blocked(statistics) {
                "no" => continue,
                "upper" => "new requests wait for room in the activity log or the socket",
                _ => "the disk below does not take more requests",
            };
            rows.push(waits(format!("volume {volume}: {why}")));
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
            let (left, size) = (statistics.out_of_sync, picture.size_of(*volume));
            let reasons = reasons_of_resync(info);
            let shade = if reasons.is_empty() {
                Color::Green
            } else {
                Color::Yellow
            };
            rows.push(Row::Bar {
                name: format!("  volume {volume} {}:", replication(info.repl_state)),
                done: size.saturating_sub(left) as f64 / size.max(1) as f64,
                figures: figures(left, size, rate(history)),
                style: if color {
                    Look::new().fg(shade)
                } else {
                    Look::new()
                },
            });
            for reason in reasons {
                rows.push(waits(format!("volume {volume}: {}", why_resync(reason))));
            }
        }
        rows
    }

    fn rows(&mut self, pictures: &[Picture], style: Style, now: Duration) -> Vec<Row> {
        let mut rows = Vec::new();
        for picture in pictures {
            for line in lines(picture, style) {
                let spans = line.into_iter().map(|piece| {
                    let paint = if style.color { piece.paint } else { "" };
                    Row::span(piece.text, paint)
                });
                rows.push(Row::Text(Line::from_iter(spans)));
            }
            rows.extend(self.below(picture, style.color, now));
            rows.push(Row::plain(""));
        }
        if pictures.is_empty() {
            rows.push(Row::plain("No resource is configured: drbdadm up"));
        }
        rows.push(Row::plain("q or Ctrl-C ends."));
        rows
    }
}

/// Draws until it is interrupted, or the driver or the terminal goes away.
pub fn run(kernel: &mut Kernel, wanted: Option<&str>, style: Style) -> i32 {
    if !io::stdout().is_terminal() {
        eprintln!("drbdsetup status: --watch needs a terminal; for programs there are events2 and metrics");
        return super::EXIT_LOCAL;
    }
    match follow(|| pictures(kernel, wanted), style) {
        Ok(()) => 0,
        Err(error) => complain(error),
    }
}

/// The error is that of who was asked: a terminal that went away ends it as a person does.
fn follow(mut ask: impl FnMut() -> Result<Vec<Picture>, Error>, style: Style) -> Result<(), Error> {
    let start = Instant::now();
    let mut watch = Watch::default();
    let mut pictures = ask()?;
    let Ok(mut screen) = Screen::new() else {
        return Ok(());
    };
    loop {
        let rows = watch.rows(&pictures, style, start.elapsed());
        let goes_on = screen.show(&rows).and_then(|()| screen.wait(TURN));
        if !goes_on.unwrap_or(false) {
            return Ok(());
        }
        pictures = ask()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbdsetup::status::example;

    fn below(watch: &mut Watch, picture: &Picture, seconds: u64) -> String {
        let rows = watch.below(picture, false, Duration::from_secs(seconds));
        screen::tests::shown(&rows, 120, 30, false)
    }

    #[test]
    fn a_resync_has_a_bar_a_rate_and_an_end() {
        let mut watch = Watch::default();
        let mut picture = example();
        let first = below(&mut watch, &picture, 0);
        assert!(first.contains("[========...."), "{first}");
        assert!(first.contains("no progress measured yet"), "{first}");
        picture.peer_devices[0].2.out_of_sync -= 2 * 2000;
        let second = below(&mut watch, &picture, 2);
        assert!(second.contains("1000 KiB/s, 0:00:11 to go"), "{second}");
        // What is long ago does not count.
        for second in 10..40 {
            below(&mut watch, &picture, second);
        }
        let stuck = below(&mut watch, &picture, 40);
        assert!(stuck.contains("no progress measured yet"), "{stuck}");
    }

    #[test]
    fn what_waits_says_why() {
        let mut watch = Watch::default();
        let mut picture = example();
        picture.peer_devices[0].1.susp_dependency = 1;
        picture.info.susp_nod = true;
        picture.devices[0].3.lower_blocked = true;
        let text = below(&mut watch, &picture, 0);
        assert!(text.contains("resync-after"), "{text}");
        assert!(text.contains("no up-to-date disk"), "{text}");
        assert!(text.contains("the disk below"), "{text}");
        assert_eq!(clock(3_723), "1:02:03");
    }

    #[test]
    fn a_whole_screen() {
        let rows = Watch::default().rows(&[example()], Style::default(), Duration::ZERO);
        assert_eq!(
            screen::tests::shown(&rows, 100, 24, false),
            "ra role:Primary\n  disk:UpToDate\n  peer role:Secondary\n    replication:SyncSource \
             peer-disk:Inconsistent done:19.09\n  volume 0 SyncSource: [======.......................] 19.09%, 12 MiB left, no \
             progress measured yet\n\nq or Ctrl-C ends.\n"
        );
        let none = Watch::default().rows(&[], Style::default(), Duration::ZERO);
        let text = screen::tests::shown(&none, 100, 24, false);
        assert!(
            text.starts_with("No resource is configured: drbdadm up\n"),
            "{text}"
        );
    }

    /// Set where [`terminals`] starts [`draws`] in a terminal.
    const DRAW: &str = "DRBD_WATCH_DRAW";

    /// Draws until it is ended.
    #[test]
    fn draws() {
        let style = Style {
            color: true,
            ..Style::default()
        };
        if std::env::var_os(DRAW).is_some() {
            follow(|| Ok(two()), style).unwrap();
        }
    }

    /// A resync that goes on, and one that is paused before it has begun.
    fn two() -> Vec<Picture> {
        let mut paused = example();
        paused.name = "rb".into();
        let (_, info, statistics) = &mut paused.peer_devices[0];
        (info.repl_state, info.susp_user) = (20, 1);
        statistics.out_of_sync = paused.devices[0].3.size;
        vec![example(), paused]
    }

    /// In a terminal of 24 lines and 100 columns, whose keys are `typed` after a second.
    fn terminal(setting: &str, typed: &str) -> String {
        let test = std::env::current_exe().unwrap();
        let inside = format!(
            "stty rows 24 cols 100; {DRAW}=1 {setting} {} -q --nocapture drbdsetup::watch::tests::draws; stty -a",
            test.display()
        );
        let typing =
            format!("(sleep 1; printf '{typed}'; sleep 1) | script -q -c \"$0\" /dev/null");
        let output = std::process::Command::new("timeout")
            .args(["20", "bash", "-c", &typing, &inside])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn terminals() {
        let words = "ra role:\u{1b}|volume 0 SyncSource: [\u{1b}|====|.....] 19.09%, 12 MiB left|\
                     volume 0 PausedSyncS: [....|0.00%, 15 MiB left|! volume 0: paused here: drbdadm resume-sync";
        let there = |drawn: &str| words.split('|').all(|word| drawn.contains(word));
        for (setting, typed) in [
            ("TERM=xterm LC_ALL=C", "q"),
            ("TERM=xterm LC_ALL=C", "\\003"),
            // In the background, where keys are not for it; ended by a signal.
            ("TERM=xterm LC_ALL=C timeout 1", ""),
        ] {
            let drawn = terminal(setting, typed);
            assert!(there(&drawn), "{setting}: {drawn:?}");
            let (_, after) = drawn.split_once("\u{1b}[?1049l").unwrap_or_default();
            assert!(
                after.contains("\u{1b}[?25h"),
                "the cursor is back: {drawn:?}"
            );
            assert!(
                after.contains(" icanon") && after.contains(" echo "),
                "{drawn:?}"
            );
        }
        let blocks = terminal("TERM=xterm LC_ALL=C.UTF-8", "q");
        assert!(blocks.contains("\u{2588}\u{2588}\u{2588}"), "{blocks:?}");
        let dumb = terminal("TERM=dumb timeout 3", "");
        assert!(
            dumb.contains("SyncSource: [======...") && !dumb.contains('\u{1b}'),
            "{dumb:?}"
        );
        assert_eq!(dumb.matches("ra role:Primary").count(), 1, "{dumb:?}");
    }
}
