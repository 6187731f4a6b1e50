// SPDX-License-Identifier: GPL-2.0-only

//! File name patterns for `include`: `*`, `?` and `[...]` in any component, hidden files only where the dot is
//! written, matches in order.

use std::path::{Component, Path, PathBuf};

/// Whether the text has a character that makes it a pattern.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The existing paths that match.
pub fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = match component {
            Component::Normal(name) => name.to_string_lossy().into_owned(),
            other => {
                found.iter_mut().for_each(|path| path.push(other));
                continue;
            }
        };
        if !is_pattern(&name) {
            found.iter_mut().for_each(|path| path.push(&name));
            continue;
        }
        found = found
            .iter()
            .flat_map(|directory| entries(directory, &name))
            .collect();
    }
    found.retain(|path| path.exists());
    found
}

fn entries(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let mut names: Vec<String> = std::fs::read_dir(listed)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') || pattern.starts_with('.'))
        .filter(|name| matches(pattern, name))
        .collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// Whether a whole name matches.
fn matches(pattern: &str, name: &str) -> bool {
    let mut chars = pattern.chars();
    let Some(first) = chars.next() else {
        return name.is_empty();
    };
    let rest = chars.as_str();
    let mut name_chars = name.chars();
    match first {
        '*' => name
            .char_indices()
            .map(|(at, _)| at)
            .chain([name.len()])
            .any(|at| matches(rest, &name[at..])),
        '?' => name_chars.next().is_some() && matches(rest, name_chars.as_str()),
        '[' => match rest.find(']') {
            Some(end) => {
                let (set, rest) = (&rest[..end], &rest[end + 1..]);
                let in_set = |c| in_set(set, c);
                name_chars.next().is_some_and(in_set) && matches(rest, name_chars.as_str())
            }
            None => name_chars.next() == Some('[') && matches(rest, name_chars.as_str()),
        },
        _ => name_chars.next() == Some(first) && matches(rest, name_chars.as_str()),
    }
}

fn in_set(set: &str, c: char) -> bool {
    let (set, negated) = match set.strip_prefix(['!', '^']) {
        Some(set) => (set, true),
        None => (set, false),
    };
    let chars: Vec<char> = set.chars().collect();
    let mut found = false;
    let mut at = 0;
    while at < chars.len() {
        if chars.get(at + 1) == Some(&'-') && at + 2 < chars.len() {
            found |= (chars[at]..=chars[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= chars[at] == c;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        assert!(matches("*.res", "r0.res") && !matches("*.res", "r0.conf"));
        assert!(matches("r?.r*", "r1.res") && !matches("r?.res", "r.res"));
        assert!(matches("r[0-4].res", "r3.res") && !matches("r[0-4].res", "r5.res"));
        assert!(matches("r[!0]", "r1") && !matches("r[!0]", "r0"));
    }
}
