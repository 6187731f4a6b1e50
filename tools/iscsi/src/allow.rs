// SPDX-License-Identifier: GPL-2.0-only

//! IET's `initiators.allow`: who may log in to which target. Each line is a target, or `ALL`, and then names of
//! initiators, or `ALL`. The lines of a target count; where it has none, those of `ALL`; where there are none either,
//! nobody is let in.

use std::fs;
use std::path::Path;

use drbd_say::os_error;

use crate::parse::bad_name;

/// What the file says. Without a file everybody is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<(String, Vec<String>)>>);

const ALL: &str = "ALL";

impl Allowed {
    /// Reads the file; without a path, the one beside the configuration, where ietd looks, if there is one.
    pub fn read(path: Option<&str>, config: &str) -> Result<Allowed, String> {
        let beside = Path::new(config).with_file_name("initiators.allow");
        let path = match path {
            Some(path) => path.to_owned(),
            None if beside.exists() => beside.display().to_string(),
            None => return Ok(Allowed::default()),
        };
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {}", os_error(&e)))?;
        Allowed::of(&text)
            .map_err(|(line, problem)| format!("configuration refused: {path}:{line}: {problem}"))
    }

    /// From a text; what the kernel's target cannot express is an error, with its line.
    pub fn of(text: &str) -> Result<Allowed, (usize, String)> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
            let target = words.next().unwrap_or_default();
            let names: Vec<String> = words.map(str::to_owned).collect();
            let bad = names
                .iter()
                .find(|name| *name != ALL && bad_name(name).is_some());
            if let Some(name) = bad {
                let problem = format!(
                    "'{name}' is no name of an initiator; the kernel's target knows full names only: for addresses \
                     use nftables, for patterns list the names"
                );
                return Err((number + 1, problem));
            }
            lines.push((target.to_owned(), names));
        }
        Ok(Allowed(Some(lines)))
    }

    /// Who may log in to a target; `None` is everybody.
    pub fn to(&self, iqn: &str) -> Option<Vec<String>> {
        let lines = self.0.as_ref()?;
        let of = |target: &str| {
            lines
                .iter()
                .filter(|line| line.0 == target)
                .collect::<Vec<_>>()
        };
        let own = of(iqn);
        let own = if own.is_empty() { of(ALL) } else { own };
        let mut names: Vec<String> = Vec::new();
        for name in own.into_iter().flat_map(|line| &line.1) {
            if name == ALL {
                return None;
            }
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_its_initiators() {
        let allowed = Allowed::of(
            "# who\niqn.2026-01.a.b:one iqn.2026-01.x.y:esx1, iqn.2026-01.x.y:esx2\n\
             iqn.2026-01.a.b:two ALL\nALL iqn.2026-01.x.y:backup\n",
        )
        .unwrap();
        let one = allowed.to("iqn.2026-01.a.b:one").unwrap();
        assert_eq!(one, ["iqn.2026-01.x.y:esx1", "iqn.2026-01.x.y:esx2"]);
        assert_eq!(allowed.to("iqn.2026-01.a.b:two"), None);
        let other = allowed.to("iqn.2026-01.a.b:other").unwrap();
        assert_eq!(other, ["iqn.2026-01.x.y:backup"]);
        let none = Allowed::of("iqn.2026-01.a.b:one ALL\n").unwrap();
        assert_eq!(none.to("iqn.2026-01.a.b:other"), Some(Vec::new()));
        assert_eq!(Allowed::default().to("iqn.2026-01.a.b:one"), None);
    }

    #[test]
    fn what_the_kernel_cannot_express_is_refused_with_its_line() {
        let (line, problem) = Allowed::of("ALL ALL\n\nALL 10.0.0.0/8\n").unwrap_err();
        assert_eq!(line, 3);
        assert!(problem.contains("nftables"));
    }
}
