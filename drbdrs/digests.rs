// SPDX-License-Identifier: GPL-2.0-only

//! Digests of data: which algorithm is for what, and computing them.
//!
//! The names are options of the connection, and may change while it is up. The algorithm behind a name is found when
//! the option is set (that may load a module), and again where it is needed first, from then on kept.

use crate::{prelude::*, receiver::Arrived, resource::Resource};
use drbd_core::{
    config::{text::Text, NetConf},
    wire::MAX_DIGEST_SIZE,
};
use kernel_ext::{
    block::{Bio, PageVec},
    crypto::{Hasher, Shash},
};

const SIZE: usize = MAX_DIGEST_SIZE as usize;

/// What digests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// `verify-alg`
    Verify,
    /// `csums-alg`
    Checksums,
}

impl Use {
    fn name(self, conf: &NetConf) -> Text<64> {
        match self {
            Self::Verify => conf.verify_alg,
            Self::Checksums => conf.csums_alg,
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Verify => "verify-alg",
            Self::Checksums => "csums-alg",
        }
    }
}

/// A digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    bytes: [u8; SIZE],
    length: u8,
}

impl Digest {
    /// A digest of `length` bytes that `fill` writes.
    ///
    /// # Errors
    ///
    /// `EPROTO` when it is too long, and those of `fill`.
    pub(crate) fn fill(length: usize, fill: impl FnOnce(&mut [u8]) -> Result) -> Result<Self> {
        let mut digest = Self {
            bytes: [0; SIZE],
            length: u8::try_from(length).map_err(|_| EPROTO)?,
        };
        fill(digest.bytes.get_mut(..length).ok_or(EPROTO)?)?;
        Ok(digest)
    }

    /// Its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

/// The algorithms of a connection.
#[pin_data]
pub(crate) struct Digests {
    #[pin]
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    verify: Option<(Text<64>, Arc<Shash>)>,
    checksums: Option<(Text<64>, Arc<Shash>)>,
}

impl Digests {
    /// None is known.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { known <- new_mutex!(Known::default()) })
    }
}

/// Finds an algorithm by its name in the configuration.
///
/// # Errors
///
/// `ENOENT` when the kernel does not have it; `ENOMEM`.
pub(crate) fn find(name: &Text<64>) -> Result<Shash> {
    let name = name.as_str().ok_or(ENOENT)?;
    let name = CString::try_from_fmt(fmt!("{}", name))?;
    Shash::new(&name, None)
}

/// The algorithm that is configured for `what`. May sleep.
///
/// # Errors
///
/// `ENOENT` when none is configured or the kernel does not have it; `ENOMEM`.
pub(crate) fn algorithm(resource: &Resource, what: Use) -> Result<Arc<Shash>> {
    let name = {
        let shared = resource.shared.lock();
        let conf = shared.conn.net_conf.as_ref().ok_or(ENOENT)?;
        what.name(conf)
    };
    if name.is_empty() {
        return Err(ENOENT);
    }
    let mut known = resource.connection.digests.known.lock();
    let known = match what {
        Use::Verify => &mut known.verify,
        Use::Checksums => &mut known.checksums,
    };
    if let Some((_, shash)) = known.as_ref().filter(|(of, _)| *of == name) {
        return Ok(shash.clone());
    }
    let found = find(&name).inspect_err(|error| {
        let option = what.option();
        pr_err!(
            "{}: {} {}: the kernel has no such digest ({:?})\n",
            resource.name(),
            option,
            name.as_str().unwrap_or(""),
            error
        );
    })?;
    let shash = Arc::new(found, GFP_KERNEL)?;
    *known = Some((name, shash.clone()));
    Ok(shash)
}

/// The digest of what is in the pages. May sleep.
///
/// # Errors
///
/// As [`algorithm`].
pub(crate) fn of_pages(resource: &Resource, what: Use, pages: &PageVec) -> Result<Digest> {
    let shash = algorithm(resource, what)?;
    let mut hasher = shash.begin()?;
    pages.for_each(|part| hasher.update(part))?;
    Digest::fill(shash.digest_size(), |digest| hasher.finish(digest))
}

/// How many bytes of data a packet carries that may have their digest in front of them.
pub(crate) fn data_bytes(packet: &Arrived<'_>) -> u32 {
    let digest = packet.integrity.map_or(0, |shash| shash.digest_size());
    let digest = u32::try_from(digest).unwrap_or(u32::MAX);
    packet.payload.saturating_sub(digest)
}

/// Receives the digest that comes before the data, if there is one.
pub(crate) fn receive(packet: &Arrived<'_>) -> Result<Option<Digest>> {
    let Some(shash) = packet.integrity else {
        return Ok(None);
    };
    let receive = |bytes: &mut [u8]| packet.stream.recv_exact(bytes);
    Digest::fill(shash.digest_size(), receive).map(Some)
}

/// Whether the data that were received are those that were sent; that they are not is an error.
pub(crate) fn check_pages(
    packet: &Arrived<'_>,
    digest: Option<&Digest>,
    sector: u64,
    pages: &PageVec,
) -> Result {
    check(packet, digest, sector, |hasher| {
        pages.for_each(|part| hasher.update(part))
    })
}

/// As [`check_pages`], for data in a bio.
pub(crate) fn check_bio(
    packet: &Arrived<'_>,
    digest: Option<&Digest>,
    sector: u64,
    bio: &Bio,
) -> Result {
    check(packet, digest, sector, |hasher| {
        bio.for_each(|part| hasher.update(part))
    })
}

fn check(
    packet: &Arrived<'_>,
    digest: Option<&Digest>,
    sector: u64,
    add: impl FnOnce(&mut Hasher<'_>) -> Result,
) -> Result {
    let (Some(theirs), Some(shash)) = (digest, packet.integrity) else {
        return Ok(());
    };
    let mut hasher = shash.begin()?;
    add(&mut hasher)?;
    let ours = Digest::fill(shash.digest_size(), |bytes| hasher.finish(bytes))?;
    if ours == *theirs {
        return Ok(());
    }
    pr_err!(
        "{}/{}: Digest integrity check FAILED: {}s +{}; the connection is given up and what was not confirmed is resynced\n",
        packet.resource.name(),
        packet.vnr,
        sector,
        data_bytes(packet)
    );
    Err(EIO)
}

/// How long a digest for `what` is, in bytes. May sleep.
///
/// # Errors
///
/// As [`algorithm`].
pub(crate) fn length(resource: &Resource, what: Use) -> Result<usize> {
    Ok(algorithm(resource, what)?.digest_size())
}
