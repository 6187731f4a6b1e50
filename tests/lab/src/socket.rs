// SPDX-License-Identifier: GPL-2.0-only

//! A listening unix socket with a thread that hands every connection on, closed with its owner.

use crate::error::At;
use crate::Result;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Accepts until it is dropped.
pub(crate) struct Listener {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `path`; `serve` is called for each connection, on the accepting thread.
    pub(crate) fn new(
        path: &Path,
        mut serve: impl FnMut(UnixStream) + Send + 'static,
    ) -> Result<Listener> {
        let socket = UnixListener::bind(path).at(path.display())?;
        let closing = Arc::new(AtomicBool::new(false));
        let seen = closing.clone();
        let thread = thread::spawn(move || {
            for stream in socket.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(stream) = stream {
                    serve(stream);
                }
            }
        });
        Ok(Listener {
            path: path.to_owned(),
            closing,
            thread: Some(thread),
        })
    }

    /// The path to connect to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // A connection of our own ends the accept.
        if UnixStream::connect(&self.path).is_ok() {
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
