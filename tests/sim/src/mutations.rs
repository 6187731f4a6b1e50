// SPDX-License-Identifier: GPL-2.0-only

//! The table of bugs (`mutations.txt`) that the simulator and the unit tests must notice.

/// One bug, as a change of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    /// Its name.
    pub name: String,
    /// The file, from the top of the source.
    pub path: String,
    /// What it does.
    pub why: String,
    /// What must be there, once.
    pub old: String,
    /// What comes in its place.
    pub new: String,
}

impl Mutation {
    /// The file with the bug in it.
    ///
    /// # Errors
    ///
    /// What is to be replaced is not there, or not only once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.old).count() {
            1 => Ok(source.replacen(&self.old, &self.new, 1)),
            found => Err(format!(
                "{}: what is to be replaced is {found} times in {}",
                self.name, self.path
            )),
        }
    }

    /// A number that changes with the bug.
    pub fn digest(&self) -> u64 {
        let all = [&self.path, &self.old, &self.new].map(|text| text.bytes());
        all.into_iter()
            .flatten()
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
        if let Some((name, path)) = line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
            list.push(Mutation {
                name: name.into(),
                path: path.into(),
                ..Mutation::default()
            });
            (first_old, first_new) = (true, true);
            continue;
        }
        let Some(last) = list.last_mut() else {
            continue;
        };
        let (to, first, text) = match line.split_at_checked(1) {
            Some(("-", text)) => (&mut last.old, &mut first_old, text),
            Some(("+", text)) => (&mut last.new, &mut first_new, text),
            Some(("#", text)) => {
                last.why = text.trim().into();
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
            let source = std::fs::read_to_string(top.join(&bug.path)).expect("a source file");
            bad.extend(bug.apply(&source).err());
        }
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }

    #[test]
    fn the_table_is_read() {
        let list = parse("# head\n\n[a] b/c.rs\n# why\n-old\n-er\n+new\n\n[d] e\n# f\n-g\n");
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].old, "old\ner");
        assert_eq!(list[0].apply("x\nold\ner\ny\n"), Ok("x\nnew\ny\n".into()));
        assert!(list[0].apply("x\n").is_err());
        assert_eq!((list[1].new.as_str(), list[1].why.as_str()), ("", "f"));
    }
}
