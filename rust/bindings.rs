// SPDX-License-Identifier: GPL-2.0-only

//! Our own bindgen run: the items that `kernel::bindings` lacks, and that crate's items beside them.
#![allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

pub(crate) use kernel::bindings::*;

include!(concat!(env!("KX_OBJ"), "/rust/bindings_generated.rs"));
