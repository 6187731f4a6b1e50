// SPDX-License-Identifier: GPL-2.0-only

//! A plugin of QEMU (`-plugin libdrbd_icount.so,at=SOCKET`) that counts the instructions which the guest executes.
//!
//! Whoever connects to the socket gets the count until then, as decimal text, and the end of the stream. The count of one
//! load differs little from boot to boot: it says what the wall clock of an emulated guest cannot.

#![forbid(unsafe_code)]

use qemu_plugin::{
    register, Args, HasCallbacks, Info, PluginId, Register, Result, TranslationBlock,
};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU64, Ordering};

static EXECUTED: AtomicU64 = AtomicU64::new(0);

struct Counter;

impl Register for Counter {
    fn register(&mut self, _: PluginId, args: &Args, _: &Info) -> Result<()> {
        let path = args.raw.iter().find_map(|word| word.strip_prefix("at="));
        let path = path.ok_or_else(|| std::io::Error::other("no at=SOCKET"))?;
        let socket = UnixListener::bind(path)?;
        std::thread::spawn(move || {
            for mut stream in socket.incoming().flatten() {
                // Who asked and went does not need it any more.
                let _ = write!(stream, "{}", EXECUTED.load(Ordering::Relaxed));
            }
        });
        Ok(())
    }
}

impl HasCallbacks for Counter {
    fn on_translation_block_translate(
        &mut self,
        _: PluginId,
        block: TranslationBlock,
    ) -> Result<()> {
        let instructions = block.size() as u64;
        block.register_execute_callback(move |_| {
            EXECUTED.fetch_add(instructions, Ordering::Relaxed);
        });
        Ok(())
    }
}

register!(Counter);
