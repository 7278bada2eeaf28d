//! The house rules, checked: layers import downwards, some crates are named in one module only, files and
//! functions stay readable, `unsafe` lives in one module, every module has a header, nothing is unfinished.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 450;
const FUNCTION_LINES_MAX: usize = 80;

/// Each layer with what it may import of this crate. `error` and `fail_points` are everybody's; `logging`, `spool` and
/// `state_dir` are of the middle.
const LAYERS: [(&str, &[&str]); 17] = [
    ("error", &["domain"]),
    ("fail_points", &[]),
    ("domain", &["domain"]),
    ("children", &[]),
    ("program", &["children"]),
    ("config", &["config", "program", "domain", "error"]),
    ("source", &["source", "children", "domain", "error"]),
    ("spool", &["domain", "error"]),
    ("state_dir", &["domain", "error"]),
    ("journal", &["journal", "domain", "error"]),
    ("transport", &["transport", "domain", "error"]),
    ("notify", &["notify", "program", "domain", "error"]),
    ("logging", &["logging", "domain", "error"]),
    ("http", &["http", "domain", "error"]),
    ("page", &["page", "journal", "domain", "error"]),
    (
        "worker",
        &[
            "worker",
            "config",
            "source",
            "spool",
            "state_dir",
            "journal",
            "transport",
            "notify",
            "domain",
            "error",
        ],
    ),
    (
        "cli",
        &[
            "cli",
            "children",
            "worker",
            "http",
            "page",
            "config",
            "source",
            "spool",
            "state_dir",
            "journal",
            "transport",
            "notify",
            "logging",
            "domain",
            "error",
        ],
    ),
];

/// Crates that one module wraps.
const WRAPPED: [(&str, &[&str]); 15] = [
    ("ssh2", &["src/transport/ssh/"]),
    ("suppaftp", &["src/transport/ftp/"]),
    ("rustls", &["src/transport/ftp/", "src/notify/"]),
    ("ureq", &["src/notify/"]),
    ("lettre", &["src/notify/"]),
    ("rusqlite", &["src/journal/"]),
    ("clap", &["src/cli/"]),
    ("indicatif", &["src/cli/progress/surface"]),
    ("fern", &["src/logging/"]),
    ("configparser", &["src/config/ini"]),
    ("netrc", &["src/config/netrc"]),
    ("fancy_regex", &["src/domain/pattern/"]),
    ("regex_automata", &["src/domain/pattern/"]),
    ("httparse", &["src/http/"]),
    ("askama", &["src/page/"]),
];

/// What `domain` has no business with.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "Instant::now",
    "SystemTime",
    "Utc::now",
];

struct Source {
    /// Relative to the root, with `/`.
    name: String,
    text: String,
}

impl Source {
    /// The code without the unit tests behind it, comments blanked out.
    fn code(&self) -> String {
        let code = self.text.split("\n#[cfg(test)]").next().unwrap_or_default();
        code.lines()
            .map(|line| {
                if line.trim_start().starts_with("//") {
                    ""
                } else {
                    line
                }
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn layer(&self) -> Option<&str> {
        let rest = self.name.strip_prefix("src/")?;
        Some(rest.split(['/', '.']).next().unwrap_or(rest))
            .filter(|layer| !["main", "lib"].contains(layer))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn collect(dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            found.push(Source { name, text });
        }
    }
}

fn sources(dir: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(dir), &mut found);
    assert!(found.len() > 10, "only {} files below {dir}", found.len());
    found
}

fn assert_none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n{}", offences.join("\n"));
}

#[test]
fn layers_import_downwards_only() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let Some(layer) = source.layer() else {
            continue;
        };
        let allowed = LAYERS.iter().find(|(name, _)| *name == layer);
        let Some((_, allowed)) = allowed else {
            offences.push(format!("{}: `{layer}` is no layer", source.name));
            continue;
        };
        for part in source.code().split("crate::").skip(1) {
            let imported: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !allowed.contains(&imported.as_str()) && imported != "fail_points" {
                offences.push(format!("{}: imports {imported}", source.name));
            }
        }
    }
    assert_none("imports that run upwards or sideways", &offences);
}

#[test]
fn wrapped_crates_are_named_in_one_module_each() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let code = source.code();
        for (name, homes) in WRAPPED {
            let named = code.contains(&format!("use {name}::"))
                || code.match_indices(&format!("{name}::")).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                });
            // Our own module config::netrc is imported by its name, too.
            let own = name == "netrc" && source.name.starts_with("src/config/");
            if named && !own && !homes.iter().any(|home| source.name.starts_with(home)) {
                offences.push(format!("{}: names {name}", source.name));
            }
        }
    }
    assert_none("crates outside the module that wraps them", &offences);
}

#[test]
fn the_domain_is_pure() {
    let mut offences = Vec::new();
    for source in sources("src")
        .iter()
        .filter(|source| source.name.starts_with("src/domain/"))
    {
        let code = source.code();
        offences.extend(
            IMPURE
                .iter()
                .filter(|word| code.contains(*word))
                .map(|word| format!("{}: {word}", source.name)),
        );
    }
    assert_none("effects in the domain", &offences);
}

#[test]
fn files_and_functions_stay_readable() {
    let mut offences = Vec::new();
    for source in sources("src") {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines", source.name));
        }
        let mut open: Option<(String, usize, String)> = None;
        for (number, line) in source.text.lines().enumerate() {
            let indent: String = line.chars().take_while(|c| *c == ' ').collect();
            let is_function = line.trim_start().starts_with("fn ") || line.contains(" fn ");
            match &open {
                None if is_function && line.trim_end().ends_with(['{', '(']) => {
                    open = Some((line.trim().to_owned(), number, format!("{indent}}}")));
                }
                Some((name, start, end)) if line == end.as_str() => {
                    let length = number - start + 1;
                    if length > FUNCTION_LINES_MAX {
                        offences.push(format!("{}: {length} lines: {name}", source.name));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    assert_none("too long to read at a sitting", &offences);
}

#[test]
fn unsafe_lives_in_one_module() {
    let with_unsafe: Vec<String> = sources("src")
        .into_iter()
        .filter(|source| source.code().contains("unsafe {") || source.code().contains("unsafe fn"))
        .map(|source| source.name)
        .collect();
    assert_eq!(with_unsafe, ["src/worker/detach.rs"]);
}

#[test]
fn every_file_says_what_it_is_responsible_for_and_is_finished() {
    let mut offences = Vec::new();
    for source in sources("src").iter().chain(&sources("tests/it")) {
        if !source.text.starts_with("//! ") {
            offences.push(format!("{}: has no header", source.name));
        }
        for word in [
            "TODO",
            "FIXME",
            "todo!",
            "unimplemented!",
            "#[ignore",
            "dbg!",
        ] {
            if source.text.contains(word) && !source.name.ends_with("tidy.rs") {
                offences.push(format!("{}: {word}", source.name));
            }
        }
    }
    assert_none("unfinished", &offences);
}

#[test]
fn only_the_command_line_prints_and_reads_the_environment() {
    let mut offences = Vec::new();
    for source in sources("src") {
        // A fail point, which no build for use holds, is named by the environment of a test's process.
        if ["cli", "main", "logging", "fail_points.rs"]
            .iter()
            .any(|home| source.name.starts_with(&format!("src/{home}")))
        {
            continue;
        }
        let code = source.code();
        for word in [
            "println!",
            "eprintln!",
            "env::var",
            "io::stdout",
            "io::stderr",
        ] {
            if code.contains(word) {
                offences.push(format!("{}: {word}", source.name));
            }
        }
    }
    assert_none("printing or the environment outside cli", &offences);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .expect("dependencies");
    let dependencies = dependencies.split("[lints").next().expect("their end");
    let mut offences = Vec::new();
    let mut explained = false;
    for line in dependencies.lines() {
        match line.trim() {
            comment if comment.starts_with('#') => explained = true,
            // `log` stands under the comment of `fern`: one comment may explain two.
            dependency if dependency.contains(" = ") && !explained => {
                offences.push(dependency.to_owned());
            }
            "" | "[dev-dependencies]" => explained = false,
            _ => {}
        }
    }
    assert_none("dependencies without a word", &offences);
}
