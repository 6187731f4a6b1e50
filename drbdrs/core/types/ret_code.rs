// SPDX-License-Identifier: GPL-2.0-only

//! Results of configuration commands.

/// Declares the results with DRBD's numbers.
macro_rules! codes {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal; )+) => {
        /// The result of a netlink command (8.4: `enum drbd_ret_code`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum RetCode {
            $( $(#[$doc])* $variant = $number, )+
        }

        impl RetCode {
            /// From the number in a netlink reply.
            pub const fn from_wire(number: i32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$variant), )+
                    _ => None,
                }
            }

            /// The number in a netlink reply.
            pub const fn to_wire(self) -> i32 {
                self as i32
            }
        }
    };
}

codes! {
    /// Done.
    NoError = 101;
    /// The local address is in use or not ours.
    LocalAddr = 102;
    /// The peer address is in use.
    PeerAddr = 103;
    /// The disk cannot be opened.
    OpenDisk = 104;
    /// The metadata device cannot be opened.
    OpenMdDisk = 105;
    /// The disk is no block device.
    DiskNotBdev = 107;
    /// The metadata device is no block device.
    MdNotBdev = 108;
    /// The disk is too small.
    DiskTooSmall = 111;
    /// The metadata device is too small.
    MdDiskTooSmall = 112;
    /// The disk is in use.
    BdclaimDisk = 114;
    /// The metadata device is in use.
    BdclaimMdDisk = 115;
    /// No such metadata index.
    MdIdxInvalid = 116;
    /// The metadata cannot be read or written.
    IoMdDisk = 118;
    /// There is no valid metadata.
    MdInvalid = 119;
    /// Unknown authentication algorithm.
    AuthAlg = 120;
    /// The authentication algorithm is no keyed hash.
    AuthAlgNd = 121;
    /// Out of memory.
    Nomem = 122;
    /// A primary cannot discard its data.
    DiscardImpossible = 123;
    /// There is a disk already.
    DiskConfigured = 124;
    /// There is a connection already.
    NetConfigured = 125;
    /// A required attribute is missing.
    MandatoryTag = 126;
    /// No such minor, or out of range.
    MinorInvalid = 127;
    /// Interrupted by a signal.
    Intr = 129;
    /// No resize during a resync.
    ResizeResync = 130;
    /// Needs a primary.
    NoPrimary = 131;
    /// No such device to sync after.
    ResyncAfter = 132;
    /// The devices would sync after each other in a circle.
    ResyncAfterCycle = 133;
    /// The resync is paused already.
    PauseIsSet = 134;
    /// The resync is not paused.
    PauseIsClear = 135;
    /// Unknown command.
    PacketNr = 137;
    /// Needs a disk.
    NoDisk = 138;
    /// Needs protocol C.
    NotProtoC = 139;
    /// No memory for the bitmap.
    NomemBitmap = 140;
    /// Unknown integrity algorithm.
    IntegrityAlg = 141;
    /// The integrity algorithm is no hash.
    IntegrityAlgNd = 142;
    /// The CPU mask cannot be read.
    CpuMaskParse = 143;
    /// Unknown checksum algorithm.
    CsumsAlg = 144;
    /// The checksum algorithm is no hash.
    CsumsAlgNd = 145;
    /// Unknown verify algorithm.
    VerifyAlg = 146;
    /// The verify algorithm is no hash.
    VerifyAlgNd = 147;
    /// Not while a checksum based resync runs.
    CsumsResyncRunning = 148;
    /// Not while a verify runs.
    VerifyRunning = 149;
    /// The disk does not have the generation in use.
    DataNotCurrent = 150;
    /// Not while connected.
    Connected = 151;
    /// Not permitted.
    Perm = 152;
    /// Needs protocol 93.
    NeedApv93 = 153;
    /// Fencing resource-and-stonith needs protocol B or C.
    StonithAndProtA = 154;
    /// The congestion policy needs protocol A.
    CongNotProtoA = 155;
    /// Still paused for another device.
    PicAfterDep = 156;
    /// Still paused for the peer.
    PicPeerDep = 157;
    /// No such resource.
    ResNotKnown = 158;
    /// The resource is in use.
    ResInUse = 159;
    /// The minor is configured.
    MinorConfigured = 160;
    /// The minor or the volume exists already.
    MinorOrVolumeExists = 161;
    /// The request makes no sense.
    InvalidRequest = 162;
    /// Needs protocol 100.
    NeedApv100 = 163;
    /// Needs allow-two-primaries.
    NeedAllowTwoPri = 164;
    /// The metadata is not clean: the activity log must be applied first.
    MdUnclean = 165;
    /// No new metadata layout while connected.
    MdLayoutConnected = 166;
    /// The activity log is too big.
    MdLayoutTooBig = 167;
    /// The activity log is too small.
    MdLayoutTooSmall = 168;
    /// The metadata does not fit.
    MdLayoutNoFit = 169;
    /// The device would shrink.
    ImplicitShrink = 170;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_8_4s() {
        assert_eq!(RetCode::NoError.to_wire(), 101);
        assert_eq!(RetCode::MdUnclean.to_wire(), 165);
        let known = (0..1000).filter_map(RetCode::from_wire).count();
        assert_eq!(known, 63);
        assert!((0..1000).all(|n| RetCode::from_wire(n).is_none_or(|c| c.to_wire() == n)));
    }
}
