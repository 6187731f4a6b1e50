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
mod tools;
mod walkthrough;

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

const fn scenario(name: &'static str, setups: &'static [Setup], run: Run) -> Scenario {
    Scenario {
        name,
        setups,
        control: true,
        run,
    }
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "walkthrough",
            &[OURS, OURS_STOCK_TOOLS, AGAINST_STOCK, STOCK_OUR_TOOLS],
            walkthrough::run,
        ),
        scenario(
            "full_sync",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            sync::full,
        ),
        scenario(
            "bitmap_resync",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            sync::bitmap,
        ),
        scenario(
            "pause_and_rate",
            &[OURS_STOCK_TOOLS, AGAINST_STOCK],
            sync::pause,
        ),
        scenario("black_hole_a", &[OURS, AGAINST_STOCK], protocols::a),
        scenario("black_hole_b", &[OURS, STOCK_AGAINST], protocols::b),
        scenario(
            "black_hole_c",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            protocols::c,
        ),
        scenario(
            "primary_power_cut",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            acknowledged::primary_power_cut,
        ),
        scenario(
            "secondary_power_cut",
            &[OURS, AGAINST_STOCK, STOCK_AGAINST],
            acknowledged::secondary_power_cut,
        ),
        scenario(
            "both_power_cut",
            &[OURS, AGAINST_STOCK],
            acknowledged::both_power_cut,
        ),
        scenario("link_loss", &[OURS, AGAINST_STOCK], acknowledged::link_loss),
        scenario(
            "metadata_exchange",
            &[OURS_STOCK_TOOLS, AGAINST_STOCK],
            metadata::exchange,
        ),
        scenario("failing_disk", &[OURS, AGAINST_STOCK], disks::failing),
        Scenario {
            control: false,
            ..scenario("hostile_port", &[OURS, AGAINST_STOCK], hostile::port)
        },
        Scenario {
            control: false,
            ..scenario(
                "tools_compared",
                &[AGAINST_STOCK_OUR_TOOLS, STOCK_OUR_TOOLS],
                tools::compared,
            )
        },
        scenario("cycles", &[OURS, AGAINST_STOCK], cycles::run),
    ]
}
