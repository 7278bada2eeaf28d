//! Replays what the fuzz targets have found interesting, and what once broke a parser: every input of
//! `tests/fuzz/corpus` and `tests/fuzz/regressions` goes through its target's body again.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// As many inputs, and as many bytes, as a target's corpus may hold: a clone stays small, a replay short.
const CORPUS_FILES_MAX: usize = 100;
const CORPUS_BYTES_MAX: u64 = 100 * 1024;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(name)
}

/// The files of a directory, in the order of their names; none where it is missing.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn names(directory: &Path) -> BTreeSet<String> {
    files(directory)
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_input_that_was_found_keeps_its_promises() {
    let mut broken = Vec::new();
    for (name, run) in bodies::TARGETS {
        let corpus = files(&directory("corpus").join(name));
        assert!(!corpus.is_empty(), "tests/fuzz/corpus/{name} is empty");
        let regressions = files(&directory("regressions").join(name));
        for path in corpus.iter().chain(&regressions) {
            let input = fs::read(path).unwrap();
            // The panic itself is printed with its place.
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                broken.push(path.display().to_string());
            }
        }
    }
    assert!(broken.is_empty(), "broken by:\n{}", broken.join("\n"));
}

#[test]
fn corpora_are_small() {
    for (name, _) in bodies::TARGETS {
        let corpus = files(&directory("corpus").join(name));
        let bytes: u64 = corpus
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert!(
            corpus.len() <= CORPUS_FILES_MAX && bytes <= CORPUS_BYTES_MAX,
            "{name}: {} files, {bytes} bytes; minimise it: scripts/fuzz",
            corpus.len()
        );
    }
}

#[test]
fn every_target_is_replayed_and_every_replayed_one_is_fuzzed() {
    let known: BTreeSet<String> = bodies::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names(&directory("fuzz_targets")), known);
    let mut bodies = names(&directory("bodies"));
    bodies.remove("mod");
    assert_eq!(bodies, known);
    let manifest = fs::read_to_string(directory("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")));
    }
    for found in ["corpus", "regressions", "dictionaries"] {
        let stray: Vec<_> = names(&directory(found))
            .difference(&known)
            .cloned()
            .collect();
        assert!(stray.is_empty(), "{found} of no target: {stray:?}");
    }
}
