// SPDX-License-Identifier: GPL-2.0-only

//! Output that may fail. What is said on the standard error is lost when nobody can take it, and the work goes on: a full
//! disk below a log must not stop `up` half-way. What is printed is what was asked for: a reader that went away ends the
//! program as SIGPIPE would, and anything else is told.
//!
//! `#[macro_use] extern crate drbd_say;` puts these macros in place of those of the standard library, which panic.
#![forbid(unsafe_code)]

use std::fmt::Arguments;
use std::io::{stderr, stdout, Error, ErrorKind, Write as _};

/// As of a program that SIGPIPE ended.
const EXIT_PIPE: i32 = 128 + 13;
const EXIT_OUTPUT: i32 = 20;

/// To the standard output.
pub fn out(text: Arguments<'_>) {
    printed(stdout().write_fmt(text));
}

/// What became of something that was asked for: a reader that went away, or an error, ends the program.
pub fn printed(result: std::io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(EXIT_PIPE),
        Err(error) => {
            err(format_args!(
                "cannot write the output: {}\n",
                os_error(&error)
            ));
            std::process::exit(EXIT_OUTPUT)
        }
    }
}

/// To the standard error.
pub fn err(text: Arguments<'_>) {
    // There is nobody to tell.
    let _ = stderr().write_fmt(text);
}

/// Of work under way, to the standard output: lost when nobody can take it.
pub fn note(text: Arguments<'_>) {
    let _ = stdout().write_fmt(text);
}

/// An operating system's error without Rust's " (os error N)".
pub fn os_error(error: &Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What was asked for: [`out`].
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::out(format_args!($($text)*)) };
}

/// A line of what was asked for: [`out`].
#[macro_export]
macro_rules! println {
    () => { $crate::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// A complaint: [`err`].
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => { $crate::err(format_args!($($text)*)) };
}

/// A complaint of one line: [`err`].
#[macro_export]
macro_rules! eprintln {
    () => { $crate::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::err(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line about work under way: [`note`](note()).
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => { $crate::note(format_args!("{}\n", format_args!($($text)*))) };
}
