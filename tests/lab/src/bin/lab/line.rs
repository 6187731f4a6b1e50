// SPDX-License-Identifier: GPL-2.0-only

//! What the command line may say. The client reads it for help and mistakes, the daemon to do it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use drbd_lab::{Error, Fault, PowerCut, Result};
use std::path::PathBuf;

/// A lab of virtual machines from the shell.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    arg_required_else_help = true,
    subcommand_value_name = "WORD",
    subcommand_help_heading = "Words",
    after_help = "NODE is n1, n2, ... or a host name; `all` stands for every node in exec, sh, put, insmod, and in what\n\
                  takes several. `lab help WORD` says what a word takes."
)]
pub(crate) struct Line {
    /// Where the lab's control and logs are.
    #[arg(long, env = "DRBDRS_LAB", default_value = ".build/lab")]
    pub(crate) dir: PathBuf,
    #[command(subcommand)]
    pub(crate) word: Word,
}

/// The words.
#[derive(Debug, Subcommand)]
pub(crate) enum Word {
    /// Start nodes n1, n2, ... with a spare disk /dev/sdb each.
    Up(Machines),
    /// Switch all off; nothing is left but the logs in DIR.
    Down,
    /// Nodes, links, disks.
    Status,
    /// Run a program in a node (standard input is passed on when it is not a terminal).
    #[command(alias = "run", override_usage = "lab exec NODE -- CMD ARG...")]
    Exec {
        /// Where.
        node: String,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// A shell in a node, or a script run by it.
    Sh {
        /// Where.
        node: String,
        /// What to run.
        #[arg(allow_hyphen_values = true)]
        script: Option<String>,
    },
    /// Copy a file into a node.
    Put {
        /// Where to.
        node: String,
        /// A file here.
        file: PathBuf,
        /// Its name there.
        path: String,
    },
    /// Copy a file out of a node.
    Get {
        /// Where from.
        node: String,
        /// Its name there.
        path: String,
        /// A file here.
        file: PathBuf,
    },
    /// Copy a module into a node and load it.
    Insmod {
        /// Where.
        node: String,
        /// A file here.
        file: PathBuf,
        /// The module's parameters.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        parameters: Vec<String>,
    },
    /// The node's console.
    Log {
        /// Whose.
        node: String,
        /// Only the last ones.
        lines: Option<usize>,
    },
    /// Fail if a console has a BUG, WARNING, hung task, KFENCE or slab report.
    Check,
    /// Power-cut, and on again.
    Reset {
        #[command(flatten)]
        nodes: Nodes,
        #[command(flatten)]
        cache: Cache,
    },
    /// Switch nodes off, as when the power fails.
    PowerCut {
        #[command(flatten)]
        nodes: Nodes,
        #[command(flatten)]
        cache: Cache,
    },
    /// Switch nodes on.
    Start(Nodes),
    /// Stop the processors of nodes.
    Freeze(Nodes),
    /// Let frozen nodes go on.
    Thaw(Nodes),
    /// Pull the cable of the replication link; plug it in.
    Cable {
        /// Whose.
        node: String,
        /// Which.
        end: End,
    },
    /// Frames between A and B vanish.
    Cut(Link),
    /// Frames arrive later.
    Delay {
        #[command(flatten)]
        link: Link,
        /// By how many milliseconds.
        #[arg(value_name = "MS")]
        delay_ms: u64,
    },
    /// Frames are lost.
    Lose {
        #[command(flatten)]
        link: Link,
        /// How many.
        percent: f64,
    },
    /// All links are well again.
    Heal,
    /// A disk fails.
    Fail {
        /// Whose.
        node: String,
        /// Which, as sdb.
        disk: String,
        /// What of it.
        how: How,
    },
    /// Compare a disk of n1 and n2 byte by byte, from outside.
    Compare {
        /// Which, as sdb.
        disk: String,
    },
    /// What `up` leaves running.
    #[command(hide = true)]
    Daemon(Machines),
}

/// The nodes of a lab.
#[derive(Args, Clone, Debug)]
pub(crate) struct Machines {
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) nodes: usize,
    /// The spare disk: 128M, 1G.
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = size)]
    pub(crate) disk: u64,
    /// Of each, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub(crate) memory: u32,
    /// Processors of each.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) cpus: u32,
    /// Disks that forget nothing in a power cut.
    #[arg(long)]
    pub(crate) plain: bool,
    /// Kernels that do not look for their mistakes: faster.
    #[arg(long)]
    pub(crate) no_detectors: bool,
    /// More words for the kernel's command line.
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) kernel_args: String,
}

impl Machines {
    /// As words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--nodes={}", self.nodes),
            format!("--disk={}", self.disk),
            format!("--memory={}", self.memory),
            format!("--cpus={}", self.cpus),
            format!("--kernel-args={}", self.kernel_args),
        ];
        words.extend(self.plain.then(|| "--plain".to_owned()));
        words.extend(self.no_detectors.then(|| "--no-detectors".to_owned()));
        words
    }
}

/// Some nodes.
#[derive(Args, Debug)]
pub(crate) struct Nodes {
    /// Which, or `all`.
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<String>,
}

/// What becomes of what the disks have not flushed.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct Cache {
    /// What was not flushed stays (the default).
    #[arg(long)]
    keep: bool,
    /// It goes.
    #[arg(long)]
    drop: bool,
    /// Each sector of it stays or goes.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
}

impl Cache {
    pub(crate) fn cut(&self) -> PowerCut {
        match self.random {
            Some(seed) => PowerCut::Random(seed),
            None if self.drop => PowerCut::Drop,
            None => PowerCut::Keep,
        }
    }
}

/// An end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum End {
    /// Pulled.
    Out,
    /// Plugged in.
    In,
}

/// The link between two nodes.
#[derive(Args, Debug)]
pub(crate) struct Link {
    /// From here.
    pub(crate) a: String,
    /// To there.
    pub(crate) b: String,
    /// Only frames from A to B.
    #[arg(long)]
    pub(crate) one_way: bool,
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum How {
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// Both.
    All,
    /// Nothing is answered.
    Stall,
    /// It is well again.
    None,
}

impl From<How> for Fault {
    fn from(how: How) -> Fault {
        match how {
            How::Reads => Fault::Reads,
            How::Writes => Fault::Writes,
            How::All => Fault::All,
            How::Stall => Fault::Stall,
            How::None => Fault::None,
        }
    }
}

fn size(text: &str) -> Result<u64> {
    let no_size = || Error::new("no size: 128M, 1G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..) {
        Some("") => 0,
        Some("K" | "k" | "KiB") => 10,
        Some("M" | "m" | "MiB") => 20,
        Some("G" | "g" | "GiB") => 30,
        _ => return Err(no_size()),
    };
    let number: u64 = digits.parse().map_err(|_| no_size())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| Error::new("too much"))
}

impl Line {
    /// What words that came without the program's name say.
    pub(crate) fn of(words: &[String]) -> std::result::Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("lab").chain(words.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> std::result::Result<Word, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let line = Line::of(&words).map_err(|error| error.to_string());
        line.map(|line| line.word)
    }

    #[test]
    fn a_command_in_a_node_is_left_alone() {
        for (text, expected) in [
            ("exec n1 -- ls -l -- x", "ls -l -- x"),
            ("exec n1 ls --help", "ls --help"),
            ("run all cat", "cat"),
        ] {
            let Ok(Word::Exec { command, .. }) = word(text) else {
                panic!("{text}");
            };
            assert_eq!(command.join(" "), expected);
        }
    }

    #[test]
    fn what_up_says_reaches_the_daemon() {
        let text = "up --nodes 3 --disk 1G --plain --kernel-args --quiet";
        let Ok(Word::Up(machines)) = word(text) else {
            panic!("{text}");
        };
        let words = format!("daemon {}", machines.words().join(" "));
        let Ok(Word::Daemon(same)) = word(&words) else {
            panic!("{words}");
        };
        assert_eq!(format!("{machines:?}"), format!("{same:?}"));
        assert_eq!((same.nodes, same.disk, same.plain), (3, 1 << 30, true));
        assert!(word("up --disk 1X").unwrap_err().contains("no size"));
    }

    #[test]
    fn power_links_and_disks() {
        let Ok(Word::PowerCut { nodes, cache }) = word("power-cut n1 n2 --random=7") else {
            panic!();
        };
        assert_eq!(nodes.nodes, ["n1", "n2"]);
        assert!(matches!(cache.cut(), PowerCut::Random(7)));
        assert!(word("reset n1 --keep --drop").is_err());
        assert!(
            matches!(word("lose n1 n2 0.5 --one-way"), Ok(Word::Lose { link, percent }) if link.one_way && percent == 0.5)
        );
        assert!(word("cable n1 off").unwrap_err().contains("out, in"));
        assert!(word("cble n1 out").unwrap_err().contains("'cable'"));
    }
}
