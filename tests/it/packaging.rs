//! What a packager asks for: `--version`, completions, manual pages. The Debian package itself is `scripts/test-package`'s.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::testenv::{Ran, TestEnv};

/// The build script, compiled as cargo does.
fn build_script(env: &TestEnv) -> PathBuf {
    let program = env.path("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build.rs");
    Ran::of(
        Command::new("rustc")
            .args(["--edition", "2024", "-o"])
            .arg(&program)
            .arg(source),
    )
    .exits(0);
    program
}

/// What the build script says of a package that lies in `root`.
fn told(script: &Path, root: &Path, profile: &str, named: Option<&str>) -> Vec<String> {
    let mut command = Command::new(script);
    command
        .env("CARGO_MANIFEST_DIR", root)
        .env("CARGO_PKG_VERSION", "1.2.3")
        .env("PROFILE", profile)
        .env_remove("AUTO_DISPATCHER_COMMIT");
    if let Some(named) = named {
        command.env("AUTO_DISPATCHER_COMMIT", named);
    }
    let ran = Ran::of(&mut command).exits(0);
    ran.stdout.lines().map(str::to_owned).collect()
}

fn version(told: &[String]) -> &str {
    let versions: Vec<&str> = told
        .iter()
        .filter_map(|line| line.strip_prefix("cargo:rustc-env=AD_VERSION="))
        .collect();
    assert_eq!(versions.len(), 1, "{told:?}");
    versions[0]
}

fn git(root: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .current_dir(root)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .env("GIT_COMMITTER_DATE", "2026-11-24T12:00:00 +0000")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    let ran = Ran::of(&mut command).exits(0);
    ran.stdout.trim().to_owned()
}

#[test]
fn a_release_names_its_commit_and_is_built_anew_when_that_changes() {
    let env = TestEnv::new();
    let script = build_script(&env);
    let root = env.path("checkout");
    fs::create_dir(&root).unwrap();
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["commit", "-q", "--allow-empty", "-m", "one"]);
    let hash = git(&root, &["rev-parse", "--short=7", "HEAD"]);
    let release = told(&script, &root, "release", None);
    assert_eq!(version(&release), format!("1.2.3 ({hash} 2026-11-24)"));
    let watched: Vec<&Path> = release
        .iter()
        .filter_map(|line| line.strip_prefix("cargo:rerun-if-changed="))
        .filter(|name| *name != "scripts/build.rs")
        .map(Path::new)
        .collect();
    // Cargo builds anew for ever where one is missing, and never where a commit touches none.
    assert!(watched.iter().all(|file| file.is_file()), "{watched:?}");
    let state = || -> Vec<String> {
        let texts = watched.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.collect()
    };
    let before = state();
    git(&root, &["commit", "-q", "--allow-empty", "-m", "two"]);
    assert_ne!(before, state(), "{watched:?}");
    assert_ne!(
        version(&told(&script, &root, "release", None)),
        version(&release)
    );
    assert_eq!(
        version(&told(&script, &root, "debug", None)),
        "1.2.3 (development build)"
    );
}

#[test]
fn the_version_is_told_without_a_repository_too() {
    let env = TestEnv::new();
    let script = build_script(&env);
    // Somebody else's repository around a tarball says nothing about it.
    git(env.root(), &["init", "-q"]);
    git(
        env.root(),
        &["commit", "-q", "--allow-empty", "-m", "another's"],
    );
    let tarball = env.path("auto-dispatcher-1.2.3");
    fs::create_dir(&tarball).unwrap();
    let said = |named| version(&told(&script, &tarball, "release", named)).to_owned();
    assert_eq!(said(None), "1.2.3");
    let noted =
        r#"{ "git": { "sha1": "0123456789abcdef0123456789abcdef01234567" }, "path_in_vcs": "" }"#;
    fs::write(tarball.join(".cargo_vcs_info.json"), noted).unwrap();
    assert_eq!(said(None), "1.2.3 (0123456)");
    assert_eq!(
        said(Some("fedcba9 2026-01-31")),
        "1.2.3 (fedcba9 2026-01-31)"
    );
}

#[test]
fn version_is_one_line_with_what_it_was_built_from() {
    let ran = TestEnv::new().run(&["--version"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran}");
    let expected = format!("auto-dispatcher {} (", env!("CARGO_PKG_VERSION"));
    assert!(ran.stdout.starts_with(&expected), "{ran}");
}

/// A configuration that every command which reads one refuses.
fn broken_configuration(env: &TestEnv) -> String {
    let config = env.write("rules.cfg", "[(\nhost =\n");
    env.write("auto-dispatcher.cfg", "[auto-dispatcher]\nworkers = none\n");
    let config = config.to_str().unwrap().to_owned();
    env.run(&["--config", &config, "check"]).exits(3);
    config
}

#[test]
fn completions_load_in_their_shells_and_read_no_configuration() {
    let env = TestEnv::new();
    let config = broken_configuration(&env);
    let complete = |shell: &str| {
        let ran = env
            .run(&["--config", &config, "completions", shell])
            .exits(0);
        assert_eq!(ran.stderr, "");
        env.write(format!("completions.{shell}"), ran.stdout)
    };
    let shell = |shell: &str, args: &[&str]| {
        let mut command = Command::new(shell);
        command
            .args(args)
            .env("HOME", env.home())
            .env_remove("BASH_ENV");
        let ran = Ran::of(&mut command).exits(0);
        assert_eq!(ran.stderr, "", "{ran}");
        ran.stdout
    };
    let file = complete("bash");
    let loaded = format!(
        "source {}; COMP_WORDS=(auto-dispatcher dismi) COMP_CWORD=1; words=($(complete -p auto-dispatcher)); \
         for at in ${{!words[@]}}; do [ \"${{words[$at]}}\" != -F ] || completing=${{words[$at + 1]}}; done; \
         $completing auto-dispatcher dismi auto-dispatcher; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    assert_eq!(shell("bash", &["--norc", "-c", &loaded]), "dismiss\n");
    let file = complete("fish");
    let loaded = format!(
        "source {}; complete --do-complete 'auto-dispatcher dismi'",
        file.display()
    );
    let offered = shell("fish", &["--no-config", "-c", &loaded]);
    assert!(offered.starts_with("dismiss\t"), "{offered}");
    let file = complete("zsh");
    let loaded = format!(
        "autoload -U compinit; compinit -D -d {}; source {}; print $_comps[auto-dispatcher]; \
         whence -w _auto-dispatcher_commands",
        env.path("dump").display(),
        file.display()
    );
    assert_eq!(
        shell("zsh", &["-f", "-c", &loaded]),
        "_auto-dispatcher\n_auto-dispatcher_commands: function\n"
    );
    env.run(&["completions", "elvish"]).exits(2);
}

#[test]
fn there_is_a_manual_page_for_each_command_and_file_and_no_page_is_faulty() {
    let env = TestEnv::new();
    let config = broken_configuration(&env);
    let pages = env.path("new/man");
    let pages_text = pages.to_str().unwrap();
    env.run(&["--config", &config, "man", pages_text]).exits(0);
    // As often as one likes.
    env.run(&["--config", &config, "man", pages_text]).exits(0);
    let help = env.run(&["--help"]).exits(0).stdout;
    let commands = help.split("Commands:\n").nth(1).expect("commands");
    let mut expected: Vec<String> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help")
        .map(|word| format!("auto-dispatcher-{word}.1"))
        .collect();
    expected.extend(
        [
            "auto-dispatcher.1",
            "auto-dispatcher.cfg.5",
            "general-dispatch-info.cfg.5",
        ]
        .map(str::to_owned),
    );
    expected.sort_unstable();
    let mut found: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    for name in &found {
        let page = pages.join(name);
        Ran::of(
            Command::new("mandoc")
                .args(["-T", "lint", "-W", "error"])
                .arg(&page),
        )
        .exits(0);
        // The tree shows what the page was understood as.
        let shown = Ran::of(Command::new("mandoc").args(["-T", "tree"]).arg(&page)).exits(0);
        for section in ["NAME", "DESCRIPTION", "SEE"] {
            let is_there = shown
                .stdout
                .lines()
                .any(|line| line.trim_start().starts_with(section));
            assert!(is_there, "{name}: {section}: {shown}");
        }
        let mode = fs::metadata(&page).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    let main = fs::read_to_string(pages.join("auto-dispatcher.1")).unwrap();
    let printed = env.run(&["man"]).exits(0);
    assert_eq!(printed.stdout, main);
    let settings = fs::read_to_string(pages.join("auto-dispatcher.cfg.5")).unwrap();
    assert!(settings.contains("catch_up_max"), "{settings}");
    let ran = env.run(&["man", "/proc/nowhere"]).exits(5);
    assert!(ran.stderr.contains("/proc/nowhere"), "{ran}");
}
