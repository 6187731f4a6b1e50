// SPDX-License-Identifier: GPL-2.0-only

//! What is behind the path of a unit: a mirror, something that lies on one, or a disk or file of this node alone. What
//! looks like the one and is the other is refused: a mirror that is not known for one has no policy, and its two paths
//! would both serve, with locks that do not know of each other.

use std::path::PathBuf;

use crate::drbd::{plain, Lower, Mirrors, Replicated};
use crate::machine::{Block, Machine, Node, DRBD};

/// What is wrong, and what to do.
pub type Refusal = (String, String);

/// What is behind a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The mirror.
    pub mirror: Option<Replicated>,
    /// Its device is what was named; else there is something in between.
    pub is_mirror: bool,
    /// It is a block device; unknown without a look.
    pub is_device: Option<bool>,
    /// It is a file of no bytes.
    pub is_empty: bool,
    /// The devices that take part, itself first. Empty if none is known.
    pub stack: Vec<Block>,
    /// Where it really is: the same for all names of one thing.
    pub place: String,
}

impl Behind {
    fn mirror(device: &Replicated) -> Behind {
        Behind {
            mirror: Some(device.clone()),
            is_mirror: true,
            is_device: Some(true),
            place: format!("drbd{}", device.minor),
            ..Behind::default()
        }
    }

    /// Whether one of the two contains the other.
    pub fn overlaps(&self, other: &Behind) -> bool {
        let has = |one: &Behind, two: &Behind| {
            two.stack
                .first()
                .is_some_and(|device| one.stack.contains(device))
        };
        self.place == other.place || has(self, other) || has(other, self)
    }
}

/// Looks.
pub fn look(mirrors: &Mirrors, machine: &Machine, path: &str) -> Result<Behind, Refusal> {
    let behind = match machine.node(path) {
        Node::Block(block) => block_device(mirrors, machine, path, block)?,
        Node::File {
            path: real,
            size,
            on,
        } => file(mirrors, machine, path, real, size, on.as_ref())?,
        Node::Other(what) => {
            return Err((
                format!("'{path}' is {what}"),
                "name a block device or a file".to_owned(),
            ));
        }
        node => by_name(mirrors, path, node == Node::Missing)?,
    };
    lower_disk(mirrors, machine, path, &behind)?;
    Ok(behind)
}

fn by_name(mirrors: &Mirrors, path: &str, missing: bool) -> Result<Behind, Refusal> {
    let found = mirrors.by_name(path);
    if let Some(device) = found.map_err(|problem| (problem, mirrors.advice()))? {
        return Ok(Behind::mirror(device));
    }
    if missing {
        let advice = if path.starts_with("/dev/") {
            "is the disk attached, and the volume group active? 'lsblk' shows what there is"
                .to_owned()
        } else {
            format!("make it first: truncate -s 10G {path}")
        };
        return Err((format!("there is no {path}"), advice));
    }
    Ok(Behind {
        place: plain(path),
        ..Behind::default()
    })
}

fn block_device(
    mirrors: &Mirrors,
    machine: &Machine,
    path: &str,
    block: Block,
) -> Result<Behind, Refusal> {
    let (major, minor) = block.number;
    let stack = machine.stack(&block);
    if major == DRBD {
        let device = mirrors.by_minor(minor);
        let device =
            device.ok_or_else(|| (mirrors.unknown(path, Some(minor)), mirrors.advice()))?;
        return Ok(Behind {
            stack,
            ..Behind::mirror(device)
        });
    }
    if let Ok(Some(device)) = mirrors.by_name(path) {
        return Err((
            format!(
                "'{path}' is {} here, not the mirror of resource {}",
                block.name, device.resource
            ),
            "remove it, and 'drbdadm up' makes it anew; or name the device otherwise in drbd.conf"
                .to_owned(),
        ));
    }
    let mirror = below(mirrors, machine, path, &stack)?;
    Ok(Behind {
        mirror,
        is_device: Some(true),
        place: block.name,
        stack,
        ..Behind::default()
    })
}

/// The mirror that all of a stack of devices lies on, if there is one in it.
fn below(
    mirrors: &Mirrors,
    machine: &Machine,
    path: &str,
    stack: &[Block],
) -> Result<Option<Replicated>, Refusal> {
    let bottoms = stack.iter().filter(|device| machine.is_bottom(device));
    let (mirrored, others): (Vec<&Block>, Vec<&Block>) =
        bottoms.partition(|device| device.number.0 == DRBD);
    let list = |devices: &[&Block]| {
        let names = devices.iter().map(|device| format!("/dev/{}", device.name));
        names.collect::<Vec<_>>().join(" and ")
    };
    match (mirrored.as_slice(), others.as_slice()) {
        ([], _) => Ok(None),
        ([one], []) => {
            let device = mirrors.by_minor(one.number.1);
            let unknown = || {
                let unknown = mirrors.unknown(&format!("/dev/{}", one.name), Some(one.number.1));
                (
                    format!("'{path}' lies on a mirror: {unknown}"),
                    mirrors.advice(),
                )
            };
            Ok(Some(device.ok_or_else(unknown)?.clone()))
        }
        (some, []) => Err((
            format!("'{path}' lies on several mirrors: {}", list(some)),
            "their roles may differ, and one decides who serves: put it on one of them".to_owned(),
        )),
        (some, others) => Err((
            format!(
                "'{path}' lies on the mirror {} and on {}, which is not mirrored",
                list(some),
                list(others)
            ),
            "the other node has not got all of it: put it on the mirror alone".to_owned(),
        )),
    }
}

fn file(
    mirrors: &Mirrors,
    machine: &Machine,
    path: &str,
    real: PathBuf,
    size: u64,
    on: Option<&Block>,
) -> Result<Behind, Refusal> {
    if let Ok(Some(device)) = mirrors.by_name(path) {
        return Err((
            format!(
                "'{path}' is a file, not the mirror of resource {}",
                device.resource
            ),
            "remove it, and 'drbdadm up' makes the device".to_owned(),
        ));
    }
    let stack = on.map(|on| machine.stack(on)).unwrap_or_default();
    let mirror = below(mirrors, machine, path, &stack)?;
    if let Some(device) = mirror.as_ref().filter(|device| device.two_primaries) {
        return Err((
            format!(
                "'{path}' lies in a file system on {}, which both nodes may have mounted",
                device.device
            ),
            format!(
                "caches and locks of two nodes would not know of each other: export {} itself",
                device.device
            ),
        ));
    }
    Ok(Behind {
        mirror,
        is_device: Some(false),
        is_empty: size == 0,
        place: real.display().to_string(),
        // Not that of the device: several files in a file system do not overlap.
        ..Behind::default()
    })
}

/// Refuses what belongs to a mirror.
fn lower_disk(
    mirrors: &Mirrors,
    machine: &Machine,
    path: &str,
    behind: &Behind,
) -> Result<(), Refusal> {
    for lower in &mirrors.lowers {
        let there = match machine.node(&lower.path) {
            Node::Block(block) => Behind {
                place: block.name.clone(),
                stack: machine.stack(&block),
                ..Behind::default()
            },
            Node::File { path, .. } => Behind {
                place: path.display().to_string(),
                ..Behind::default()
            },
            _ => match mirrors.by_name(&lower.path) {
                Ok(Some(device)) => Behind::mirror(device),
                _ => Behind {
                    place: plain(&lower.path),
                    ..Behind::default()
                },
            },
        };
        let same = there.place == behind.place || plain(path) == plain(&lower.path);
        if same || behind.overlaps(&there) {
            return Err(not_beside_the_mirror(path, lower, same));
        }
    }
    Ok(())
}

fn not_beside_the_mirror(path: &str, lower: &Lower, same: bool) -> Refusal {
    let Lower {
        resource,
        what,
        device,
        ..
    } = lower;
    let problem = if same {
        format!("'{path}' is the {what} of resource {resource}")
    } else {
        format!(
            "'{path}' and the {what} of resource {resource}, {}, have blocks in common",
            lower.path
        )
    };
    let advice =
        format!("what is written there is not mirrored and destroys the mirror: export {device}");
    (problem, advice)
}

#[cfg(test)]
mod tests;
