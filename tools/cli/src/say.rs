// SPDX-License-Identifier: GPL-2.0-only

//! Output that may fail. What is said on the standard error is lost when nobody can take it, and the work goes on: a full
//! disk below a log must not stop `up` half-way. What is printed is what was asked for: a reader that went away ends the
//! program as SIGPIPE would, and anything else is told.

use std::fmt::Arguments;
use std::io::{stderr, stdout, ErrorKind, Write as _};

/// As of a program that SIGPIPE ended.
const EXIT_PIPE: i32 = 128 + 13;
const EXIT_OUTPUT: i32 = 20;

/// To the standard output.
pub fn out(text: Arguments<'_>) {
    match stdout().write_fmt(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(EXIT_PIPE),
        Err(error) => {
            let why = crate::os_error(&error);
            err(format_args!("cannot write the output: {why}\n"));
            std::process::exit(EXIT_OUTPUT)
        }
    }
}

/// To the standard error.
pub fn err(text: Arguments<'_>) {
    // There is nobody to tell.
    let _ = stderr().write_fmt(text);
}

// In place of those of the standard library, which panic.
macro_rules! print {
    ($($text:tt)*) => { $crate::say::out(format_args!($($text)*)) };
}
macro_rules! println {
    () => { $crate::say::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::say::out(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprint {
    ($($text:tt)*) => { $crate::say::err(format_args!($($text)*)) };
}
macro_rules! eprintln {
    () => { $crate::say::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::say::err(format_args!("{}\n", format_args!($($text)*))) };
}
