// SPDX-License-Identifier: GPL-2.0-only

//! Which protocol version and which features both sides speak.

/// The versions this side speaks, oldest and youngest.
pub const VERSIONS: (u32, u32) = (86, 101);

/// Features on the wire: bits of P_CONNECTION_FEATURES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Discards travel as P_TRIM.
    pub const TRIM: Self = Self(1);
    /// Resync tells blocks of zeros from data.
    pub const THIN_RESYNC: Self = Self(2);
    /// P_SIZES carries queue limits, requests may be large, and "same generation, a primary is there" is
    /// solved on both sides.
    pub const WSAME: Self = Self(4);
    /// Write-zeroes travel as P_ZEROES.
    pub const WZEROES: Self = Self(8);

    /// All features of `other`?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The features this side speaks.
pub const FEATURES: Features =
    Features(Features::TRIM.0 | Features::THIN_RESYNC.0 | Features::WSAME.0 | Features::WZEROES.0);

/// What both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The protocol version.
    pub version: u32,
    /// The features.
    pub features: Features,
}

/// The two sides have no version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// What the peer speaks, oldest and youngest.
    pub peer: (u32, u32),
}

/// From the peer's P_CONNECTION_FEATURES.
pub fn negotiate(
    peer_min: u32,
    peer_max: u32,
    peer_features: u32,
) -> Result<Negotiated, Incompatible> {
    let (min, max) = VERSIONS;
    // Very old peers name one version only.
    let peer_max = if peer_max == 0 { peer_min } else { peer_max };
    if max < peer_min || min > peer_max {
        return Err(Incompatible {
            peer: (peer_min, peer_max),
        });
    }
    let features = Features(FEATURES.0 & peer_features);
    Ok(Negotiated {
        version: max.min(peer_max),
        features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_common_version_and_the_common_features() {
        let ok = |version, features| {
            Ok(Negotiated {
                version,
                features: Features(features),
            })
        };
        assert_eq!(negotiate(86, 101, 0xf), ok(101, 0xf));
        assert_eq!(negotiate(86, 101, 0), ok(101, 0));
        assert_eq!(negotiate(86, 121, 0xff), ok(101, 0xf));
        assert_eq!(negotiate(86, 95, 1), ok(95, 1));
        assert_eq!(negotiate(90, 0, 3), ok(90, 3));
    }

    #[test]
    fn no_version_in_common() {
        for peer in [(118, 124), (80, 85), (80, 0), (u32::MAX, u32::MAX), (0, 0)] {
            assert!(negotiate(peer.0, peer.1, u32::MAX).is_err(), "{peer:?}");
        }
    }
}
