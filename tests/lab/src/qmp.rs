// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's monitor, as much of it as the lab needs: one command at a time, events are skipped.

use crate::error::At;
use crate::{Error, Result};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A monitor that is ready for commands.
pub struct Monitor {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Monitor {
    /// Greets the QEMU at the other end.
    pub fn new(stream: UnixStream) -> Result<Monitor> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut monitor = Monitor {
            from: BufReader::new(stream.try_clone()?),
            to: stream,
        };
        monitor.next()?; // the greeting
        monitor.command("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.from.read_line(&mut line).at("QEMU's monitor")? == 0 {
            return Err(Error::new("QEMU's monitor is closed: the node is off"));
        }
        serde_json::from_str(&line).at("QEMU's monitor")
    }

    /// Runs a command and returns its result.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        writeln!(
            self.to,
            "{}",
            json!({ "execute": name, "arguments": arguments })
        )
        .at(name)?;
        loop {
            let answer = self.next().at(name)?;
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(Error::new(format!("QEMU refuses {name}: {error}")));
            }
        }
    }
}
