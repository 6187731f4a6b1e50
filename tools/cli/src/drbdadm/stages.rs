// SPDX-License-Identifier: GPL-2.0-only

//! `up` and `adjust` of several resources: first everything is made, then all disks are attached, then all connect. A
//! disk may name a volume of another resource (`resync-after`), which has to be there by then.

use super::steps::Step;
use super::target::{remember, Selected};
use super::{execute, plan, Command, Line, EXIT_CONFIG};

/// When a step's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Objects of the kernel come and go.
    Objects,
    /// Disks.
    Disks,
    /// Connections.
    Connections,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Objects, Self::Disks, Self::Connections];

    fn of(step: &Step) -> Self {
        match step.args.first().map_or("", String::as_str) {
            "new-resource" | "new-minor" | "resource-options" | "detach" | "del-minor" => {
                Self::Objects
            }
            "connect" | "disconnect" | "net-options" => Self::Connections,
            _ => Self::Disks,
        }
    }
}

/// The steps of one resource that belong to a stage, in their order.
pub fn part(steps: &[Step], stage: Stage) -> Vec<Step> {
    steps
        .iter()
        .filter(|step| Stage::of(step) == stage)
        .cloned()
        .collect()
}

/// Runs such a command; a resource of which a step fails is left, the others go on.
pub fn run(command: &Command, line: &Line, all: &[Selected<'_>]) -> i32 {
    let mut worst = 0;
    let mut plans = Vec::new();
    for selected in all {
        match plan(command, line, selected) {
            Ok(steps) => plans.push((selected, steps, 0)),
            Err(text) => {
                eprintln!("drbdadm: {text}");
                worst = EXIT_CONFIG;
            }
        }
    }
    if command.name == "adjust-with-progress" && !line.dry_run {
        for (selected, steps, _) in &plans {
            let count = steps.len();
            println!("adjusting {}: {count} steps", selected.resource.name);
        }
    }
    for stage in Stage::ALL {
        for (_, steps, exit) in plans.iter_mut().filter(|(_, _, exit)| *exit == 0) {
            *exit = execute(line, &part(steps, stage), true);
        }
    }
    for (selected, _, exit) in plans {
        if exit == 0 && !line.dry_run {
            remember(command.name, selected);
        }
        worst = worst.max(exit);
    }
    worst
}
