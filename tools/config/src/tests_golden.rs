// SPDX-License-Identifier: GPL-2.0-only

//! The configurations of `tests/golden/config/cases`, each against what the stock tool prints and what we say about it.

use std::path::{Path, PathBuf};

use crate::{dump, from_text, json, Identity, Loaded};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/config/cases");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    cases.sort();
    cases
}

fn load(path: &Path) -> Loaded {
    let name = path.file_name().unwrap().to_string_lossy();
    from_text(&name, &std::fs::read_to_string(path).unwrap())
}

fn printed(loaded: &Loaded) -> String {
    let me = Identity {
        node: "alpha".into(),
        addresses: Vec::new(),
    };
    loaded
        .config
        .resources
        .iter()
        .fold(dump::head(&loaded.config), |text, resource| {
            text + &dump::resource(&loaded.config, resource, &me, false)
        })
}

/// Without the comments, which tell places.
fn body(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn there_are_enough() {
    assert!(cases().len() >= 60, "{}", cases().len());
}

#[test]
fn dumps_are_the_stock_tools() {
    let mut wrong = String::new();
    for path in cases() {
        let Ok(stock) = std::fs::read_to_string(path.with_extension("stock84")) else {
            continue;
        };
        let loaded = load(&path);
        assert!(!loaded.is_broken(), "{}", loaded.report());
        // It forgets this statement.
        let ours = body(&printed(&loaded)).replace("    udev-always-use-vnr;\n", "");
        let stock = body(&stock);
        if ours != stock {
            wrong += &format!("{}: ours\n{ours}stock\n{stock}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// DRBD 9's dump has another form; it must mean the same.
#[test]
fn dumps_of_the_ninth_version_mean_the_same() {
    let mut compared = 0;
    for path in cases() {
        let Ok(stock) = std::fs::read_to_string(path.with_extension("stock9")) else {
            continue;
        };
        let (ours, stock) = (load(&path), from_text("stock", &stock));
        assert!(!ours.is_broken(), "{}", ours.report());
        assert!(!stock.is_broken(), "{}", stock.report());
        let mean = |loaded: &Loaded| json::config(&loaded.config, |_| true)["resources"].clone();
        assert_eq!(mean(&ours), mean(&stock), "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 6, "{compared}");
}

/// The formatter changes neither the meaning nor the comments, and what it wrote it leaves alone.
#[test]
fn formatting_keeps_meaning_and_comments() {
    for path in cases() {
        let loaded = load(&path);
        if loaded.is_broken() {
            continue;
        }
        let written = std::fs::read_to_string(&path).unwrap();
        let formatted = crate::format::text(&written).unwrap();
        assert_eq!(crate::format::text(&formatted).unwrap(), formatted);
        let name = path.file_name().unwrap().to_string_lossy();
        let again = from_text(&name, &formatted);
        assert!(!again.is_broken(), "{}", again.report());
        let mean = |loaded: &Loaded| json::config(&loaded.config, |_| true)["resources"].clone();
        assert_eq!(mean(&again), mean(&loaded), "{}", path.display());
        let marks = |text: &str| text.matches('#').count();
        assert_eq!(marks(&formatted), marks(&written), "{}", path.display());
    }
}

#[test]
fn dumping_and_reading_is_the_identity() {
    for path in cases() {
        let loaded = load(&path);
        if loaded.is_broken() {
            continue;
        }
        let again = from_text("again", &printed(&loaded));
        assert!(!again.is_broken(), "{}", again.report());
        let mean = |loaded: &Loaded| json::config(&loaded.config, |_| true)["resources"].clone();
        assert_eq!(mean(&again), mean(&loaded), "{}", path.display());
    }
}

/// Set `DRBD_GOLDEN_WRITE` to write what is said now; then read what changed.
#[test]
fn what_is_said_about_each() {
    let mut wrong = String::new();
    for path in cases() {
        let said = load(&path).report();
        let file = path.with_extension("report");
        if std::env::var_os("DRBD_GOLDEN_WRITE").is_some() {
            if said.is_empty() {
                let _ = std::fs::remove_file(&file);
            } else {
                std::fs::write(&file, &said).unwrap();
            }
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if said != expected {
            wrong += &format!("{}\nnow:\n{said}before:\n{expected}", path.display());
        }
        let broken = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("bad-");
        assert_eq!(
            said.contains(": error: "),
            broken,
            "{}\n{said}",
            path.display()
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
}
