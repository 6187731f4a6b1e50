// SPDX-License-Identifier: GPL-2.0-only

//! What the command line may say. Help, the man page and completion come out of the same words, by [`command`].

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};

/// Exports mirrored disks by the kernel's iSCSI target.
///
/// Reads ietd.conf, as the iSCSI Enterprise Target had it, and drbd.conf, and makes the kernel's own target of them:
/// every line is mapped, warned about or refused. Both nodes show the same disk; the one that is primary serves.
#[derive(Debug, Parser)]
#[command(
    name = "drbd-iscsi",
    version,
    arg_required_else_help = true,
    args_override_self = true,
    subcommand_value_name = "COMMAND"
)]
pub(crate) struct Line {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// How.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The commands.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Verb {
    /// What would be exported, and every step of it.
    Plan,
    /// Export it; repeating changes nothing.
    Apply,
    /// Take down everything that drbd-iscsi has exported.
    Remove,
    /// What is exported, and who serves.
    Status,
    /// Apply, and again whenever a mirror changes, until stopped.
    Follow,
    /// Before a promotion: until the first node of drbd.conf exports, or for a minute.
    WaitTurn,
    /// This node serves, from now on (say 'standby' on the other first).
    Active,
    /// This node's path stays, and serves nothing.
    Standby,
    /// The plan as targetcli's saveconfig.json.
    Json,
}

/// The options of all commands.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The exports: ietd.conf (/etc/iet/ietd.conf, or /etc/ietd.conf).
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<String>,
    /// The mirrors: drbd.conf (/etc/drbd.conf).
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) drbd_conf: Option<String>,
    /// IET's initiators.allow: names, one per line behind the target.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) initiators: Option<String>,
    /// Where to listen: IP, IP:PORT or [IP]:PORT, several times if needed (everywhere, port 3260).
    #[arg(long = "portal", global = true, value_name = "PORTAL", value_parser = portal)]
    pub(crate) portals: Vec<String>,
    /// Where the peer listens, likewise (its address in drbd.conf).
    #[arg(long = "peer-portal", global = true, value_name = "PORTAL", value_parser = portal)]
    pub(crate) peer_portals: Vec<String>,
    /// Both nodes serve at once; then there are no SCSI locks.
    #[arg(long, global = true)]
    pub(crate) both_active: bool,
    /// Which node this is (uname -n).
    #[arg(long, global = true, value_name = "NAME|NUMBER", value_hint = ValueHint::Hostname)]
    pub(crate) node: Option<String>,
    /// Warnings are errors.
    #[arg(long, global = true)]
    pub(crate) strict: bool,
    /// A folder in place of /sys/kernel/config/target.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<String>,
    /// A file in place of /proc/drbd.
    #[arg(long = "proc", global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) proc_drbd: Option<String>,
}

/// `IP`, `IP:PORT` or `[IP]:PORT`, as `IP:PORT`.
pub(crate) fn portal(text: &str) -> Result<String, String> {
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Ok(std::net::SocketAddr::new(ip, 3260).to_string());
    }
    let socket: Result<std::net::SocketAddr, _> = text.parse();
    let problem = |_| "no portal: write IP, IP:PORT or [IP]:PORT".to_owned();
    socket.map(|s| s.to_string()).map_err(problem)
}

/// The whole of it, for the man page and the completion of shells.
pub fn command() -> clap::Command {
    Line::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        let words = std::iter::once("drbd-iscsi").chain(text.split(' '));
        Line::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn options_stand_anywhere() {
        command().debug_assert();
        let said = line("--strict plan --portal 10.0.0.1 --portal=[::1]:99 --config a --config b")
            .unwrap();
        assert!(matches!(said.verb, Verb::Plan) && said.options.strict);
        assert_eq!(said.options.portals, ["10.0.0.1:3260", "[::1]:99"]);
        assert_eq!(said.options.config.as_deref(), Some("b"));
        assert!(matches!(line("wait-turn").unwrap().verb, Verb::WaitTurn));
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        for (text, meant) in [
            ("exprot", "unrecognized subcommand 'exprot'"),
            ("plna", "similar subcommand exists: 'plan'"),
            (
                "plan --protal 1.2.3.4",
                "similar argument exists: '--portal'",
            ),
            ("plan --portal here", "write IP, IP:PORT or [IP]:PORT"),
            ("plan --config", "a value is required for '--config <FILE>'"),
            ("plan again", "unexpected argument 'again'"),
        ] {
            let told = line(text).unwrap_err();
            assert!(told.contains(meant), "{told}");
        }
    }
}
