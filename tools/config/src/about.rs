// SPDX-License-Identifier: GPL-2.0-only

//! One line about each option and statement of drbd.conf, for its man page. Type, range, default and unit stand in the
//! tables.

/// Option, and what it is for.
static ABOUT: &[(&str, &str)] = &[
    // disk
    ("size", "Use only so much of the disk; 0 is all of it."),
    ("max-bio-bvecs", "Accepted and without effect: the block layer splits requests."),
    ("on-io-error", "What happens when the lower disk fails a request."),
    ("fencing", "What a primary does when it loses its peer: nothing, call fence-peer, or also freeze its I/O."),
    ("resync-rate", "The rate of a resync while c-plan-ahead is 0, and the first rate of the controller."),
    ("resync-after", "Resync only when that resource (RESOURCE/VOLUME) has finished."),
    ("al-extents", "Size of the activity log in extents of 4 MiB: how much is resynced after a crash."),
    ("c-plan-ahead", "How far the controller of the resync rate plans ahead; 0 is a fixed rate."),
    ("c-delay-target", "The delay on the link that the controller aims for while c-fill-target is 0."),
    ("c-fill-target", "The amount under way that the controller aims for."),
    ("c-max-rate", "The highest rate that the controller chooses."),
    ("c-min-rate", "The rate below which a resync does not yield to the application; 0 is never to yield."),
    ("disk-barrier", "Order writes by barriers, where the disk has them."),
    ("disk-flushes", "Order writes by flushes of the disk's cache; switch it off only for a cache that survives a power cut."),
    ("disk-drain", "Order writes by waiting until those before are done."),
    ("md-flushes", "Flush the disk's cache behind writes of metadata."),
    ("disk-timeout", "Give a disk up that answers nothing for so long; 0 is never. A disk that answers later can corrupt memory."),
    ("read-balancing", "Which of two good disks a read goes to."),
    ("al-updates", "Keep the activity log; without it a crash of a primary is followed by a resync of everything."),
    ("discard-zeroes-if-aligned", "Pass discards on to a disk that reads as zeroes behind aligned ones only."),
    ("rs-discard-granularity", "Resync blocks of zeroes of that size as discards; 0 is never."),
    ("disable-write-same", "Do not offer WRITE SAME."),
    // options
    ("cpu-mask", "CPUs for the threads of the resource, as a hexadecimal mask."),
    ("on-no-data-accessible", "What happens to I/O while neither disk has good data."),
    // net
    ("shared-secret", "Proves to the peer who this node is; needs cram-hmac-alg."),
    ("cram-hmac-alg", "The digest of that proof, as the kernel names it (sha256)."),
    ("data-integrity-alg", "A digest with every block of data; costs CPU, and reports buffers that change under way."),
    ("verify-alg", "The digest of the online verification."),
    ("csums-alg", "Resync sends what differs by this digest only."),
    ("protocol", "When a write is complete: A in the send buffer, B at the peer, C on both disks."),
    ("connect-int", "Time between two attempts to connect."),
    ("timeout", "The peer is gone when it leaves something unanswered for so long."),
    ("ping-int", "Ask whether the peer is there after so much silence."),
    ("ping-timeout", "The answer to that must come within."),
    ("sndbuf-size", "Size of the send buffer; 0 leaves it to the kernel."),
    ("rcvbuf-size", "Size of the receive buffer; 0 leaves it to the kernel."),
    ("ko-count", "Drop a peer that left a request unanswered for so many timeouts; 0 is never."),
    ("max-buffers", "Pages for what the peer sends."),
    ("max-epoch-size", "Most writes between two barriers."),
    ("unplug-watermark", "Accepted and without effect: the block layer no longer plugs."),
    ("after-sb-0pri", "Split brain while no node is primary."),
    ("after-sb-1pri", "Split brain while one node is primary."),
    ("after-sb-2pri", "Split brain while both nodes are primary."),
    ("rr-conflict", "What happens when the roles contradict the data that has to be resynced."),
    ("on-congestion", "What happens when the link cannot take what is written; other than block is for protocol A."),
    ("congestion-fill", "The amount under way that counts as congestion; 0 is never."),
    ("congestion-extents", "Active extents that count as congestion."),
    ("allow-two-primaries", "Both nodes may be primary, for a file system that is made for it."),
    ("tcp-cork", "Tell the kernel where a message ends, so that it sends full packets."),
    ("always-asbp", "Apply the after-sb policies even where the histories say that nobody knows what is newer."),
    ("use-rle", "Compress bitmaps."),
    ("csums-after-crash-only", "Use csums-alg only behind the crash of a primary."),
    ("socket-check-timeout", "How long a new socket may take to prove that the peer is there; 0 is ping-timeout."),
    // startup
    ("wfc-timeout", "How long wait-connect waits at boot; 0 is for ever."),
    ("degr-wfc-timeout", "The same for a node that was alone when it went down."),
    ("outdated-wfc-timeout", "The same while the peer's data was outdated."),
    ("wait-after-sb", "Wait on behind a split brain."),
    ("stacked-timeouts", "The stacked resource waits as the lower one does."),
    ("become-primary-on", "Who becomes primary at boot: names of nodes, or both."),
    // handlers
    ("pri-on-incon-degr", "This node is primary, its data is bad, and the peer is gone."),
    ("pri-lost-after-sb", "This node was primary and lost a split brain."),
    ("pri-lost", "This node is primary, and should become secondary for the peer's data."),
    ("fence-peer", "Make sure that the peer does not become primary; its exit code says what came of it."),
    ("unfence-peer", "The peer is up to date again."),
    ("local-io-error", "The lower disk failed; for on-io-error call-local-io-error."),
    ("initial-split-brain", "A split brain was found, and may yet be resolved."),
    ("split-brain", "A split brain was found, and is not resolved."),
    ("before-resync-source", "A resync from this node is about to begin; an exit code other than 0 ends the connection."),
    ("before-resync-target", "A resync to this node is about to begin; an exit code other than 0 ends the connection."),
    ("after-resync-target", "A resync to this node has ended."),
    ("out-of-sync", "A verification found differences."),
    // global
    ("usage-count", "Kept, and without effect: nothing is ever sent anywhere."),
    ("minor-count", "Devices that the module reserves memory for."),
    ("dialog-refresh", "How often a countdown is shown anew; 0 is never."),
    ("disable-ip-verification", "Do not check that addresses are this node's."),
    ("udev-always-use-vnr", "Names below by-res always have a volume's number."),
    ("cmd-timeout-short", "How long a short command of drbdsetup may take."),
    ("cmd-timeout-medium", "How long most commands may take."),
    ("cmd-timeout-long", "How long a long command may take."),
];

/// What the option is for; empty for what only DRBD 9's driver knows.
pub fn about(name: &str) -> &'static str {
    let found = ABOUT.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{only_nine, Section, GLOBAL};

    #[test]
    fn every_option_has_a_line() {
        use Section::{Disk, Handlers, Net, Options, Startup};
        let sections = [Disk, Net, Options, Startup, Handlers];
        let rows = sections.iter().flat_map(|section| section.rows());
        let mut names: Vec<&str> = rows
            .filter(|row| !only_nine(row))
            .map(|row| row.name)
            .collect();
        names.extend(GLOBAL.iter().map(|row| row.name));
        let nine = ["quorum-lost", "disconnected"];
        for name in &names {
            assert!(!about(name).is_empty() || nine.contains(name), "{name}");
        }
        for (name, _) in ABOUT {
            assert!(names.contains(name), "{name} is no option");
        }
    }
}
