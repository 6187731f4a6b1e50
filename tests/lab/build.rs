// SPDX-License-Identifier: GPL-2.0-only

//! Links the guest agent statically, for the library to carry: a guest needs no file of this machine.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    for watched in ["agent", "src/frame.rs", "build.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let var = |name: &str| {
        env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by cargo"))
    };
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(var("OUT_DIR"));
    let target = var("TARGET");
    let status = Command::new(var("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            &target,
            "--manifest-path",
        ])
        .arg(here.join("agent/Cargo.toml"))
        .arg("--target-dir")
        .arg(out.join("agent"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\u{1f}-Copt-level=s\u{1f}-Cstrip=symbols",
        )
        // The wrapper (clippy) and the job server are the outer build's.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_MAKEFLAGS")
        .status()
        .unwrap_or_else(|e| panic!("cannot run cargo for the guest agent: {e}"));
    assert!(
        status.success(),
        "the guest agent (tests/lab/agent) does not build: is libc6-dev (libc.a) installed?"
    );
    let agent = out
        .join("agent")
        .join(target)
        .join("release/drbd-lab-agent");
    println!("cargo:rustc-env=LAB_AGENT={}", agent.display());
}
