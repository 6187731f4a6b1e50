// SPDX-License-Identifier: GPL-2.0-only

//! The scenarios.

use crate::cluster::{Module::*, Setup, Tools};
use crate::runner::Scenario;

mod acknowledged;
mod boot_service;
mod congestion;
mod cycles;
mod discards;
mod disks;
mod external;
mod failures;
mod freeze;
mod group;
mod handlers;
mod hostile;
mod integrity;
mod log_shape;
mod metadata;
mod named;
mod ocf;
mod protocols;
mod read_balance;
mod resize;
mod resources;
mod san;
mod san_fencing;
mod san_ocfs2;
mod san_service;
mod split_brain;
mod sync;
mod tools;
mod transcript;
mod two_primaries;
mod verify;
mod walkthrough;
mod watched;
mod write_order;

/// Ours with ours, by our tools.
const OURS: Setup = Setup::new(Drbdrs, Drbdrs, Tools::Drbdrs);
/// Ours with ours, by the stock tools.
const OURS_STOCK_TOOLS: Setup = Setup::new(Drbdrs, Drbdrs, Tools::Stock);
/// Ours first, against the stock driver.
const AGAINST_STOCK: Setup = Setup::new(Drbdrs, Stock, Tools::Stock);
/// The stock driver first, against ours.
const STOCK_AGAINST: Setup = Setup::new(Stock, Drbdrs, Tools::Stock);
/// Ours first, against the stock driver, by our tools.
const AGAINST_STOCK_OUR_TOOLS: Setup = Setup::new(Drbdrs, Stock, Tools::Drbdrs);
/// The stock driver by our tools.
const STOCK_OUR_TOOLS: Setup = Setup::new(Stock, Stock, Tools::Drbdrs);

type Run = fn(Setup, &std::path::Path) -> drbd_lab::Result<()>;

const fn scenario(
    name: &'static str,
    setups: &'static [Setup],
    long: &'static [Setup],
    run: Run,
) -> Scenario {
    Scenario {
        name,
        setups,
        long,
        control: true,
        fault: false,
        run,
    }
}

/// A scenario in which something fails.
const fn fault(
    name: &'static str,
    setups: &'static [Setup],
    long: &'static [Setup],
    run: Run,
) -> Scenario {
    Scenario {
        fault: true,
        ..scenario(name, setups, long, run)
    }
}

/// All scenarios. The first setups are run for every change, the second ones in the long run.
pub fn all() -> Vec<Scenario> {
    use acknowledged::{
        both_power_cut, demoted, link_loss, primary_power_cut, secondary_power_cut,
    };
    vec![
        scenario(
            "walkthrough",
            &[OURS, STOCK_OUR_TOOLS],
            &[OURS_STOCK_TOOLS, AGAINST_STOCK],
            walkthrough::run,
        ),
        scenario(
            "full_sync",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            &[],
            sync::full,
        ),
        fault(
            "bitmap_resync",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            &[],
            sync::bitmap,
        ),
        Scenario {
            // By its source, the stock driver stays SyncSource.
            control: false,
            ..scenario("slow_source", &[OURS], &[], sync::slow_source)
        },
        fault(
            "disk_returns",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            sync::disk_returns,
        ),
        scenario(
            "pause_and_rate",
            &[OURS_STOCK_TOOLS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            sync::pause,
        ),
        fault(
            "black_hole_a",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            protocols::a,
        ),
        fault(
            "black_hole_b",
            &[STOCK_AGAINST],
            &[OURS, AGAINST_STOCK],
            protocols::b,
        ),
        fault(
            "black_hole_c",
            &[OURS, AGAINST_STOCK],
            &[STOCK_AGAINST],
            protocols::c,
        ),
        fault(
            "primary_power_cut",
            &[OURS, AGAINST_STOCK],
            &[STOCK_AGAINST],
            primary_power_cut,
        ),
        fault(
            "logged_extents",
            &[OURS, STOCK_AGAINST],
            &[AGAINST_STOCK, OURS_STOCK_TOOLS],
            acknowledged::logged_extents,
        ),
        fault(
            "lone_copy",
            &[STOCK_AGAINST],
            &[OURS, AGAINST_STOCK],
            acknowledged::lone_copy,
        ),
        scenario("crash_points", &[OURS], &[], acknowledged::crash_points),
        scenario(
            "cold_extents",
            &[OURS],
            &[AGAINST_STOCK],
            acknowledged::cold_extents,
        ),
        fault(
            "secondary_power_cut",
            &[OURS, AGAINST_STOCK],
            &[STOCK_AGAINST],
            secondary_power_cut,
        ),
        fault("demoted", &[OURS], &[AGAINST_STOCK], demoted),
        fault(
            "both_power_cut",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            both_power_cut,
        ),
        fault(
            "link_loss",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            link_loss,
        ),
        scenario(
            "metadata_exchange",
            &[AGAINST_STOCK],
            &[OURS_STOCK_TOOLS],
            metadata::exchange,
        ),
        scenario("external_cache", &[OURS], &[], external::cache),
        scenario(
            "external_metadata",
            &[AGAINST_STOCK_OUR_TOOLS],
            &[STOCK_AGAINST, OURS],
            external::metadata,
        ),
        fault(
            "failing_disk",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            disks::failing,
        ),
        fault(
            "disk_policies",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            disks::policies,
        ),
        scenario(
            "discards",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            discards::and_zeroes,
        ),
        fault(
            "fenced_failover",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            freeze::fenced_failover,
        ),
        fault(
            "freeze_and_thaw",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            freeze::and_thaw,
        ),
        Scenario {
            // The stock driver takes what it has sent for arrived.
            control: false,
            ..fault(
                "frozen_in_doubt",
                &[AGAINST_STOCK],
                &[OURS],
                freeze::in_doubt,
            )
        },
        Scenario {
            // The stock driver overwrites what one of the two wrote.
            control: false,
            ..fault(
                "missed_end",
                &[OURS],
                &[AGAINST_STOCK],
                split_brain::missed_end,
            )
        },
        scenario("status_cost", &[], &[OURS], tools::status_cost),
        scenario(
            "transcript",
            &[OURS],
            &[OURS_STOCK_TOOLS, STOCK_OUR_TOOLS],
            transcript::standalone,
        ),
        scenario(
            "transcript_connected",
            &[OURS],
            &[OURS_STOCK_TOOLS, STOCK_OUR_TOOLS],
            transcript::connected,
        ),
        Scenario {
            control: false,
            ..scenario("boot_service", &[], &[OURS], boot_service::after_power_cut)
        },
        scenario("ocf_agent", &[OURS], &[OURS_STOCK_TOOLS], ocf::agent),
        fault(
            "more_policies",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            split_brain::more_policies,
        ),
        scenario(
            "send_buffer",
            &[],
            &[OURS, AGAINST_STOCK],
            congestion::send_buffer,
        ),
        fault(
            "stable_data",
            &[],
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            split_brain::stable_data,
        ),
        fault(
            "split_brain",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            split_brain::policies,
        ),
        Scenario {
            control: false,
            ..scenario("injected_faults", &[OURS], &[], failures::injected)
        },
        scenario(
            "scribble",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            failures::scribble,
        ),
        scenario(
            "scribble_million",
            &[],
            &[OURS, STOCK_AGAINST],
            failures::scribble_million,
        ),
        Scenario {
            control: false,
            ..fault("hostile_port", &[AGAINST_STOCK], &[OURS], hostile::port)
        },
        Scenario {
            control: false,
            ..scenario(
                "tools_compared",
                &[STOCK_OUR_TOOLS],
                &[AGAINST_STOCK_OUR_TOOLS],
                tools::compared,
            )
        },
        Scenario {
            control: false,
            ..scenario("two_primaries", &[OURS], &[], two_primaries::overlapping)
        },
        fault(
            "two_primaries_apart",
            &[],
            &[AGAINST_STOCK, STOCK_AGAINST],
            two_primaries::apart,
        ),
        fault(
            "two_primaries_split",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            two_primaries::split_brain,
        ),
        scenario("san_both_active", &[], &[OURS], san::both_active),
        scenario("san_failover_tuned", &[], &[OURS], san::failover_tuned),
        scenario("san_standby_cut", &[], &[OURS], san::standby_cut),
        scenario("san_fenced", &[], &[OURS], san_fencing::frozen),
        scenario("san_fenced_promotion", &[], &[OURS], san_fencing::promoted),
        scenario("san_service", &[], &[OURS], san_service::systemd),
        scenario("san_agent", &[], &[OURS], san_service::agent),
        scenario("san_locks", &[], &[OURS], san::locks),
        scenario("san_conformance", &[], &[OURS], san::conformance),
        scenario("san_counter", &[], &[OURS], san::counter),
        scenario(
            "san_ocfs2",
            &[],
            &[OURS, AGAINST_STOCK_OUR_TOOLS],
            san_ocfs2::both_mounted,
        ),
        fault(
            "verify",
            &[AGAINST_STOCK],
            &[OURS_STOCK_TOOLS, STOCK_AGAINST, OURS],
            verify::online,
        ),
        fault(
            "integrity",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            integrity::checked,
        ),
        scenario(
            "checksums",
            &[STOCK_AGAINST],
            &[OURS_STOCK_TOOLS, AGAINST_STOCK],
            verify::checksums,
        ),
        scenario(
            "san_failover",
            &[OURS],
            &[AGAINST_STOCK_OUR_TOOLS],
            san::failover,
        ),
        scenario(
            "settings_disagree",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            resources::settings_disagree,
        ),
        scenario(
            "secrets",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            resources::secrets,
        ),
        fault(
            "consistency_group",
            &[],
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            group::consistent,
        ),
        scenario(
            "handlers",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            handlers::logged,
        ),
        fault(
            "fence_answers",
            &[],
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            freeze::answers,
        ),
        fault(
            "volumes",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            resources::volumes,
        ),
        scenario(
            "resize_internal",
            &[AGAINST_STOCK],
            &[OURS, STOCK_AGAINST],
            resize::internal,
        ),
        scenario(
            "resize_external",
            &[],
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            resize::external,
        ),
        scenario(
            "grown_offline",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            resize::offline,
        ),
        scenario("grown_unaware", &[OURS], &[], resize::unaware),
        scenario(
            "log_reshaped",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            log_shape::reshaped,
        ),
        scenario("reshape_points", &[OURS], &[], log_shape::points),
        fault(
            "pull_ahead",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            congestion::pull_ahead,
        ),
        Scenario {
            // The stock driver fails it: it may clear the mark of a write that it made while it was ahead.
            control: false,
            ..fault(
                "ahead_and_back",
                &[OURS],
                &[AGAINST_STOCK],
                congestion::ahead_and_back,
            )
        },
        Scenario {
            // The stock driver stays Disconnecting as long as the writer writes.
            control: false,
            ..fault(
                "congestion_disconnect",
                &[],
                &[AGAINST_STOCK, OURS],
                congestion::disconnect,
            )
        },
        scenario(
            "write_order",
            &[OURS],
            &[STOCK_AGAINST, AGAINST_STOCK],
            write_order::methods,
        ),
        scenario(
            "read_balance",
            &[OURS],
            &[AGAINST_STOCK, STOCK_AGAINST],
            read_balance::policies,
        ),
        scenario(
            "compressed_bitmap",
            &[AGAINST_STOCK],
            &[STOCK_AGAINST],
            sync::compressed_bitmap,
        ),
        scenario(
            "thin_resync",
            &[AGAINST_STOCK],
            &[STOCK_AGAINST],
            sync::thin,
        ),
        scenario(
            "resync_after",
            &[OURS],
            &[AGAINST_STOCK],
            resources::resync_after,
        ),
        scenario("ipv6", &[], &[AGAINST_STOCK, OURS], resources::ipv6),
        scenario("cycles", &[AGAINST_STOCK], &[OURS], cycles::dozen),
        Scenario {
            control: false,
            ..scenario("module_named_drbd", &[], &[OURS], named::drbd)
        },
        Scenario {
            control: false,
            ..scenario("status_watched", &[], &[OURS], watched::in_a_terminal)
        },
        Scenario {
            control: false,
            ..scenario("hundred_cycles", &[], &[OURS], cycles::hundred)
        },
    ]
}
