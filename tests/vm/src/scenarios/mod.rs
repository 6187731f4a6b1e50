// SPDX-License-Identifier: GPL-2.0-only

//! The scenarios.

use crate::cluster::{Module::*, Setup, Tools};
use crate::runner::Scenario;

mod acknowledged;
mod cycles;
mod disks;
mod hostile;
mod metadata;
mod protocols;
mod sync;
mod walkthrough;

/// Ours with ours, by our tools.
const OURS: Setup = Setup::new(Drbdrs, Drbdrs, Tools::Drbdrs);
/// Ours with ours, by the stock tools.
const OURS_STOCK_TOOLS: Setup = Setup::new(Drbdrs, Drbdrs, Tools::Stock);
/// Ours first, against the stock driver.
const AGAINST_STOCK: Setup = Setup::new(Drbdrs, Stock, Tools::Stock);
/// The stock driver first, against ours.
const STOCK_AGAINST: Setup = Setup::new(Stock, Drbdrs, Tools::Stock);
/// The stock driver by our tools.
const STOCK_OUR_TOOLS: Setup = Setup::new(Stock, Stock, Tools::Drbdrs);

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "walkthrough",
            setups: &[OURS, OURS_STOCK_TOOLS, AGAINST_STOCK, STOCK_OUR_TOOLS],
            run: walkthrough::run,
        },
        Scenario {
            name: "full_sync",
            setups: &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            run: sync::full,
        },
        Scenario {
            name: "bitmap_resync",
            setups: &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            run: sync::bitmap,
        },
        Scenario {
            name: "pause_and_rate",
            setups: &[OURS, AGAINST_STOCK],
            run: sync::pause,
        },
        Scenario {
            name: "black_hole_a",
            setups: &[OURS, AGAINST_STOCK],
            run: protocols::a,
        },
        Scenario {
            name: "black_hole_b",
            setups: &[OURS, STOCK_AGAINST],
            run: protocols::b,
        },
        Scenario {
            name: "black_hole_c",
            setups: &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            run: protocols::c,
        },
        Scenario {
            name: "primary_power_cut",
            setups: &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            run: acknowledged::primary_power_cut,
        },
        Scenario {
            name: "secondary_power_cut",
            setups: &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            run: acknowledged::secondary_power_cut,
        },
        Scenario {
            name: "both_power_cut",
            setups: &[OURS, AGAINST_STOCK],
            run: acknowledged::both_power_cut,
        },
        Scenario {
            name: "link_loss",
            setups: &[OURS, AGAINST_STOCK],
            run: acknowledged::link_loss,
        },
        Scenario {
            name: "metadata_exchange",
            setups: &[OURS_STOCK_TOOLS, AGAINST_STOCK],
            run: metadata::exchange,
        },
        Scenario {
            name: "failing_disk",
            setups: &[OURS, AGAINST_STOCK],
            run: disks::failing,
        },
        Scenario {
            name: "hostile_port",
            setups: &[OURS, AGAINST_STOCK],
            run: hostile::port,
        },
        Scenario {
            name: "cycles",
            setups: &[OURS, AGAINST_STOCK],
            run: cycles::run,
        },
    ]
}
