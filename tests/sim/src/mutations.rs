// SPDX-License-Identifier: GPL-2.0-only

//! The table of bugs (`mutations.txt`) that the simulator and the unit tests must notice.

/// One change of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The file, from the top of the source.
    pub path: String,
    /// What must be there, once.
    pub old: String,
    /// What comes in its place.
    pub new: String,
}

impl Change {
    /// The file with the change made.
    ///
    /// # Errors
    ///
    /// What is to be replaced is not there, or not only once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.old).count() {
            1 => Ok(source.replacen(&self.old, &self.new, 1)),
            found => Err(format!(
                "what is to be replaced is {found} times in {}",
                self.path
            )),
        }
    }
}

/// One bug, as changes of the source; mostly one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    /// Its name.
    pub name: String,
    /// What it does.
    pub why: String,
    /// The bug of DRBD that it is modelled on; empty: none.
    pub drbd: String,
    /// The changes.
    pub changes: Vec<Change>,
}

impl Mutation {
    /// A number that changes with the bug.
    pub fn digest(&self) -> u64 {
        let texts = |change: &Change| [&change.path, &change.old, &change.new].map(String::clone);
        self.changes
            .iter()
            .flat_map(texts)
            .flat_map(String::into_bytes)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }
}

/// Reads the table.
pub fn parse(table: &str) -> Vec<Mutation> {
    let mut list: Vec<Mutation> = Vec::new();
    let (mut first_old, mut first_new) = (true, true);
    for line in table.lines() {
        let entry = line.strip_prefix('[').and_then(|l| l.split_once("] "));
        if let Some((name, _)) = entry {
            list.push(Mutation {
                name: name.into(),
                ..Mutation::default()
            });
        }
        let Some(last) = list.last_mut() else {
            continue;
        };
        let path = entry.map(|(_, path)| path);
        if let Some(path) = path.or(line.strip_prefix("& ")) {
            last.changes.push(Change {
                path: path.into(),
                ..Change::default()
            });
            (first_old, first_new) = (true, true);
            continue;
        }
        let Some(change) = last.changes.last_mut() else {
            continue;
        };
        let (to, first, text) = match line.split_at_checked(1) {
            Some(("-", text)) => (&mut change.old, &mut first_old, text),
            Some(("+", text)) => (&mut change.new, &mut first_new, text),
            Some(("#", text)) => {
                match text.trim().strip_prefix("DRBD:") {
                    Some(text) => last.drbd = text.trim().into(),
                    None => last.why = text.trim().into(),
                }
                continue;
            }
            _ => continue,
        };
        // A pattern may begin or end within a line.
        if !std::mem::replace(first, false) {
            to.push('\n');
        }
        to.push_str(text);
    }
    list
}

/// The table of this source.
pub fn table() -> Vec<Mutation> {
    parse(include_str!("../mutations.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_can_be_put_in() {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let table = table();
        assert!(table.len() >= 60, "{}", table.len());
        let mut bad = Vec::new();
        for (at, bug) in table.iter().enumerate() {
            let twice = table[..at].iter().any(|other| other.name == bug.name);
            assert!(!twice && !bug.why.is_empty(), "{}", bug.name);
            for change in &bug.changes {
                let path = top.join(&change.path);
                let source = std::fs::read_to_string(path).expect("a source file");
                let wrong = change.apply(&source).err();
                bad.extend(wrong.map(|wrong| format!("{}: {wrong}", bug.name)));
            }
        }
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }

    #[test]
    fn forty_are_modelled_on_bugs_of_drbd() {
        let of_drbd = table().iter().filter(|bug| !bug.drbd.is_empty()).count();
        assert!(of_drbd >= 40, "{of_drbd}");
    }

    #[test]
    fn the_table_is_read() {
        let list = parse(
            "# head\n\n[a] b/c.rs\n# why\n# DRBD: 8.4 has it\n-old\n-er\n+new\n\n[d] e\n# f\n-g\n& h\n-i\n+j\n",
        );
        assert_eq!(list.len(), 2);
        let (first, second) = (&list[0], &list[1]);
        assert_eq!((&*first.why, &*first.drbd), ("why", "8.4 has it"));
        assert_eq!(first.changes[0].old, "old\ner");
        let applied = first.changes[0].apply("x\nold\ner\ny\n");
        assert_eq!(applied, Ok("x\nnew\ny\n".into()));
        assert!(first.changes[0].apply("x\n").is_err());
        assert_eq!((&*second.why, &*second.drbd), ("f", ""));
        let change = |path: &str, old: &str, new: &str| Change {
            path: path.into(),
            old: old.into(),
            new: new.into(),
        };
        assert_eq!(
            second.changes,
            [change("e", "g", ""), change("h", "i", "j")]
        );
    }
}
