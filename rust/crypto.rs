// SPDX-License-Identifier: GPL-2.0-only

//! Checksums and keyed digests.

use crate::{bindings, block::NoIo};
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    sync::atomic::{Acquire, Atomic, Release},
};

/// The CRC-32C of some bytes, continued from `crc`, without a final inversion.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The bytes are there during the call.
    unsafe { bindings::crc32c(crc, bytes.as_ptr().cast(), bytes.len()) }
}

/// Fills a buffer with random bytes that nobody can guess.
pub fn random_bytes(buffer: &mut [u8]) {
    // SAFETY: The buffer may be written.
    unsafe { bindings::get_random_bytes(buffer.as_mut_ptr().cast(), buffer.len()) };
}

/// A digest algorithm of the kernel, with its key if it takes one.
///
/// # Invariants
///
/// `tfm` is a digest that is ours. Each of `states` has room for one of its states, which belongs to the hasher that
/// made `busy` 1.
pub struct Shash {
    tfm: NonNull<bindings::crypto_shash>,
    states: [State; STATES],
}

/// Digests of one `Shash` that can always be begun: one of what is sent, one of what is received.
const STATES: usize = 2;

/// Memory for a state.
struct State {
    memory: KVec<u64>,
    busy: Atomic<usize>,
}

// SAFETY: A digest is not changed after its key was set; what changes is in a `Hasher`.
unsafe impl Send for Shash {}
// SAFETY: As above.
unsafe impl Sync for Shash {}

impl Shash {
    /// Finds an algorithm by its name: `crc32c`, `sha1`, `hmac(sha256)`... May load a module.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the kernel has no such algorithm; `EINVAL` when the key does not suit it; `ENOMEM`.
    pub fn new(name: &CStr, key: Option<&[u8]>) -> Result<Self> {
        // SAFETY: The name is a C string.
        let tfm = from_err_ptr(unsafe { bindings::crypto_alloc_shash(name.as_char_ptr(), 0, 0) })?;
        // INVARIANT: Just made for us; there is no hasher yet.
        let mut shash = Self {
            tfm: NonNull::new(tfm).ok_or(ENOENT)?,
            states: core::array::from_fn(|_| State {
                memory: KVec::new(),
                busy: Atomic::new(0),
            }),
        };
        let words = shash.state_words();
        for state in &mut shash.states {
            state.memory = KVec::from_elem(0u64, words, GFP_KERNEL)?;
        }
        if let Some(key) = key {
            let length = u32::try_from(key.len()).map_err(|_| EINVAL)?;
            // SAFETY: The digest by the type invariant; the key is there during the call.
            to_result(unsafe { bindings::crypto_shash_setkey(tfm, key.as_ptr(), length) })?;
        }
        Ok(shash)
    }

    /// Bytes of a digest.
    pub fn digest_size(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { bindings::kx_shash_digest_bytes(self.tfm.as_ptr()) as usize }
    }

    fn state_words(&self) -> usize {
        // SAFETY: By the type invariant.
        let bytes = unsafe { bindings::kx_shash_state_bytes(self.tfm.as_ptr()) };
        bytes.div_ceil(core::mem::size_of::<u64>())
    }

    /// Begins a digest. Needs memory only if two others are in the making; then it may sleep, but does not start I/O.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn begin(&self) -> Result<Hasher<'_>> {
        let free = |state: &&State| state.busy.xchg(1, Acquire) == 0;
        let memory = match self.states.iter().find(free) {
            Some(state) => Memory::Reserved(state),
            None => {
                let _noio = NoIo::enter();
                Memory::Own(KVec::from_elem(0u64, self.state_words(), GFP_KERNEL)?)
            }
        };
        // INVARIANT: The memory is the hasher's alone, and is begun below before anything else is done with it.
        let hasher = Hasher {
            shash: self,
            memory,
        };
        // SAFETY: The state has the size that the digest asks for, and outlives the hasher's use of it; memory of
        // the kernel's allocator is aligned as the state asks.
        to_result(unsafe { bindings::kx_shash_begin(hasher.state(), self.tfm.as_ptr()) })?;
        Ok(hasher)
    }

    /// The digest of some bytes; `digest` must have [`Shash::digest_size`] bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` when `digest` has another size.
    pub fn digest(&self, bytes: &[u8], digest: &mut [u8]) -> Result {
        let mut hasher = self.begin()?;
        hasher.update(bytes)?;
        hasher.finish(digest)
    }
}

impl Drop for Shash {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kx_shash_free(self.tfm.as_ptr()) };
    }
}

/// Where the state of a digest is.
enum Memory<'a> {
    Reserved(&'a State),
    Own(KVec<u64>),
}

/// A digest in the making.
///
/// # Invariants
///
/// `memory` is ours alone and has room for a state of `shash`, which outlives it.
pub struct Hasher<'a> {
    shash: &'a Shash,
    memory: Memory<'a>,
}

impl Hasher<'_> {
    fn state(&self) -> *mut c_void {
        let memory = match &self.memory {
            Memory::Reserved(state) => &state.memory,
            Memory::Own(memory) => memory,
        };
        memory.as_ptr().cast_mut().cast()
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// What the algorithm says; the software ones do not fail.
    pub fn update(&mut self, bytes: &[u8]) -> Result {
        let length = u32::try_from(bytes.len()).map_err(|_| EINVAL)?;
        // SAFETY: The state by the type invariant; the bytes are there during the call.
        to_result(unsafe { bindings::kx_shash_update(self.state(), bytes.as_ptr(), length) })
    }

    /// Writes the digest.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `digest` has not [`Shash::digest_size`] bytes.
    pub fn finish(self, digest: &mut [u8]) -> Result {
        if digest.len() != self.shash.digest_size() {
            return Err(EINVAL);
        }
        // SAFETY: The state by the type invariant; the digest has the size that will be written.
        to_result(unsafe { bindings::kx_shash_finish(self.state(), digest.as_mut_ptr()) })
    }
}

impl Drop for Hasher<'_> {
    fn drop(&mut self) {
        // SAFETY: The state by the type invariant. It may tell about a key, so it is wiped.
        unsafe { bindings::kx_shash_forget(self.state()) };
        if let Memory::Reserved(state) = &self.memory {
            state.busy.store(0, Release);
        }
    }
}

#[kunit_tests(kernel_ext_crypto)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_that_of_the_standard() {
        assert!(!crc32c(!0, b"123456789") == 0xe306_9283);
    }

    #[test]
    fn a_keyed_digest_is_that_of_the_standard() {
        let hmac = Shash::new(c"hmac(sha256)", Some(b"key")).unwrap();
        let mut digest = [0; 32];
        hmac.digest(b"The quick brown fox jumps over the lazy dog", &mut digest)
            .unwrap();
        assert!(digest[..4] == [0xf7, 0xbc, 0x83, 0xf4]);
        assert!(hmac.digest(b"", &mut digest[..31]) == Err(EINVAL));
        let mut pieces = hmac.begin().unwrap();
        pieces.update(b"The quick brown fox ").unwrap();
        pieces.update(b"jumps over the lazy dog").unwrap();
        let mut again = [0; 32];
        pieces.finish(&mut again).unwrap();
        assert!(again == digest);
    }

    #[test]
    fn an_unknown_algorithm_is_told() {
        assert!(Shash::new(c"no-such-digest", None).err() == Some(ENOENT));
    }
}
