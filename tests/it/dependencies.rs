//! What the program is built from, without a network: every crate comes from crates.io, under a licence that
//! `scripts/deny.toml` allows. Known holes are `scripts/audit`'s.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Lies in scripts/vendored, which `scripts/vendor --check` compares with what crates.io has.
const VENDORED: &str = "libssh2-sys";

/// The words in quotes between the first `start` and the `]` behind it.
fn listed<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let list = text.split(start).nth(1).expect(start);
    let list = list.split(']').next().expect("its end");
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether a licence expression can be met. Of `A AND B OR C` it asks more than SPDX does, and never less.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|name| allowed.contains(&name)))
}

fn metadata(manifest: &str) -> Vec<Value> {
    let cargo = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args([
            "--filter-platform",
            "host-tuple",
            "--manifest-path",
            manifest,
        ])
        .output()
        .expect("cargo");
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The packages that a lock names.
fn locked(path: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let lock = fs::read_to_string(path).expect("the lock");
    let packages = lock.split("[[package]]").skip(1).map(|package| {
        let fields = package.lines().filter_map(|line| line.split_once(" = \""));
        let fields =
            fields.map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').into()));
        Value::Object(fields.collect())
    });
    packages.collect()
}

#[test]
fn every_crate_is_from_crates_io_and_under_a_licence_that_is_allowed() {
    let deny = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deny.toml");
    let deny = fs::read_to_string(deny).expect("deny.toml");
    let allowed = listed(&deny, "\nallow = [");
    let packages = metadata("Cargo.toml");
    assert!(packages.len() > 50, "only {} packages", packages.len());
    let mut offences = Vec::new();
    for package in &packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, licence) = (text("name"), text("license"));
        let mut allowed = allowed.clone();
        let exception = format!("{{ crate = \"{name}\", allow = [");
        if deny.contains(&exception) {
            allowed.extend(listed(&deny, &exception));
        }
        if !is_allowed(licence, &allowed) {
            offences.push(format!("{name}: licence `{licence}`"));
        }
        let is_here = [env!("CARGO_PKG_NAME"), VENDORED].contains(&name);
        if text("source") != CRATES_IO && !is_here {
            offences.push(format!("{name}: source `{}`", text("source")));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn what_is_vendored_is_watched_for_holes() {
    // Tools look up no crate that lies on the disk: they see it among what the fuzz targets are built from.
    let version = |packages: Vec<Value>| {
        let vendored = packages.into_iter().find(|one| one["name"] == VENDORED);
        let vendored = vendored.expect(VENDORED);
        (
            vendored["source"].as_str().map(str::to_owned),
            vendored["version"].clone(),
        )
    };
    let (ours, watched) = (
        version(metadata("Cargo.toml")),
        version(locked("tests/fuzz/Cargo.lock")),
    );
    assert_eq!(ours.0, None);
    assert_eq!(watched, (Some(CRATES_IO.to_owned()), ours.1));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "ISC"];
    for right in [
        "MIT",
        "GPL-3.0 OR MIT",
        "Apache-2.0/MIT",
        "(MIT OR X) AND ISC",
    ] {
        assert!(is_allowed(right, &allowed), "{right}");
    }
    for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH exception"] {
        assert!(!is_allowed(wrong, &allowed), "{wrong}");
    }
}
