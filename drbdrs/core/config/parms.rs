// SPDX-License-Identifier: GPL-2.0-only

//! The operands of commands: which object, and the arguments that are no configuration.

use super::nest::{bit, nests, Field, Nest, Nested, Refusal, Secrets};
use super::nlattr::{Full, Reader, Writer, NESTED};
use super::table::{
    bytes, flag, number, text, word,
    Unit::{Count, Kib, Sectors},
    Wire::{U32, U64},
};
use super::text::{Bytes, Text};

nests! {
    /// Words for the administrator with a reply.
    pub struct CfgReply = 1 bare {
        /// One line; several attributes are several lines.
        1 info_text: Text<128>, text("info-text", 128);
    }

    /// Which object a command is about.
    pub struct CfgContext = 2 bare {
        /// Volume number within the resource.
        1 volume: Option<u32>, word("volume");
        /// The resource.
        2 resource_name: Option<Text<128>>, text("resource-name", 128);
        /// Our end of the connection, as a `sockaddr`.
        3 my_addr: Option<Bytes<128>>, bytes("my-addr", 128);
        /// The peer's end.
        4 peer_addr: Option<Bytes<128>>, bytes("peer-addr", 128);
    }

    /// `primary`.
    pub struct SetRoleParms = 6 marked {
        /// Take our data as up to date, whatever is known about the peer's.
        1 assume_uptodate: bool, flag("force", false).argument();
    }

    /// `resize`.
    pub struct ResizeParms = 7 marked {
        /// The wanted size (0: what the disks allow).
        1 resize_size: u64, number(U64, "size", (0, 2 << 40), 0, Sectors).argument();
        /// Take the peer as large enough.
        2 resize_force: bool, flag("assume-peer-has-space", false).argument();
        /// Take what was added as equal on both sides.
        3 no_resync: bool, flag("assume-clean", false).argument();
        /// New number of stripes of the activity log (0: as it is).
        4 al_stripes: Option<u32>, number(U32, "al-stripes", (1, 1024), 1, Count).argument();
        /// New size of a stripe.
        5 al_stripe_size: Option<u32>, number(U32, "al-stripe-size-kB", (4, 16_777_216), 32, Kib).argument();
    }

    /// `verify`.
    pub struct StartOvParms = 9 marked {
        /// First sector.
        1 ov_start_sector: Option<u64>, number(U64, "start", (0, 2 << 40), 0, Sectors).argument();
        /// Where to stop.
        2 ov_stop_sector: Option<u64>, number(U64, "stop", (0, 2 << 40), 0, Sectors).argument();
    }

    /// `new-current-uuid`.
    pub struct NewCUuidParms = 10 marked {
        /// Take both sides as equal.
        1 clear_bm: bool, flag("clear-bitmap", false).argument();
    }

    /// The answer to `GET_TIMEOUT_TYPE`.
    pub struct TimeoutParms = 11 bare {
        /// 0 default, 1 degraded, 2 peer outdated.
        1 timeout_type: u32, word("timeout-type");
    }

    /// `disconnect`.
    pub struct DisconnectParms = 12 marked {
        /// Even if the peer then has to be outdated and cannot be.
        1 force_disconnect: bool, flag("force", false).argument();
    }

    /// `detach`.
    pub struct DetachParms = 13 marked {
        /// Do not wait for the disk.
        1 force_detach: bool, flag("force", false).argument();
    }
}
