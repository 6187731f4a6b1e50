// SPDX-License-Identifier: GPL-2.0-only

//! How long a large configuration takes: `cargo run --release -p drbd-config --example speed [RESOURCES]`. Fails when 1,000
//! resources take more than 100 ms.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// For 1,000 resources.
const ALLOWED: Duration = Duration::from_millis(100);
const TIMES: usize = 10;

fn configuration(resources: usize) -> String {
    let mut text = String::from(
        "global { usage-count no; }\ncommon { net { protocol C; verify-alg crc32c; } }\n",
    );
    for number in 0..resources {
        let (port, disk) = (7000 + number, number % 26);
        let disk = char::from(b'a' + u8::try_from(disk).unwrap_or_default());
        let _ = write!(
            text,
            "# the mirror of department {number}\nresource r{number} {{\n\
             \x20   net {{ timeout 40; after-sb-0pri discard-zero-changes; shared-secret \"secret {number}\"; }}\n\
             \x20   disk {{ resync-rate 30M; on-io-error detach; }}\n\
             \x20   volume 0 {{ device minor {}; disk /dev/vg{disk}/lv{number}; meta-disk internal; }}\n\
             \x20   volume 1 {{ device minor {}; disk /dev/vg{disk}/log{number}; meta-disk internal; }}\n\
             \x20   on alpha {{ address 10.0.0.1:{port}; }}\n\
             \x20   on beta {{ address 10.0.0.2:{port}; }}\n}}\n",
            2 * number,
            2 * number + 1,
        );
    }
    text
}

fn main() {
    let resources = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let text = configuration(resources);
    let mut best = Duration::MAX;
    for _ in 0..TIMES {
        let start = Instant::now();
        let loaded = drbd_config::from_text("speed.conf", &text);
        best = best.min(start.elapsed());
        assert!(!loaded.is_broken(), "{}", loaded.report());
        assert_eq!(loaded.config.resources.len(), resources);
    }
    println!(
        "{resources} resources ({} KiB) parsed and checked in {:.1} ms, the best of {TIMES}",
        text.len() / 1024,
        best.as_secs_f64() * 1000.0
    );
    let allowed = ALLOWED.mul_f64((resources as f64 / 1000.0).max(1.0));
    if best > allowed {
        eprintln!("that is more than {allowed:?}");
        std::process::exit(1);
    }
}
