//! The README is tested: its rules load, its output is real, its keys and commands are those of the program.

use std::fs;
use std::path::Path;

use auto_dispatcher::config::{notifiers, rules, settings};

use crate::testenv::TestEnv;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md")
}

/// The block of settings with notifiers.
fn example_notifiers() -> String {
    let readme = readme();
    let section = readme.split("## Notices").nth(1).expect("the section");
    let block = section.split("```\n").nth(1).expect("a block of settings");
    block.to_owned()
}

#[test]
fn the_example_notifiers_load_without_a_warning() {
    let env = TestEnv::new();
    let file = env.write("auto-dispatcher.cfg", example_notifiers());
    let loaded = settings::load(&file, None).expect("settings");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.notifiers.len(), 3);
    assert_eq!(loaded.site.as_deref(), Some("Shanghai production"));
}

/// The first ```ini block.
fn example_rules() -> String {
    let readme = readme();
    let block = readme.split("```ini\n").nth(1).expect("a block of rules");
    block.split("```").next().expect("its end").to_owned()
}

#[test]
fn the_example_of_explain_is_what_explain_prints() {
    let env = TestEnv::new();
    let file = env.write("general-dispatch-info.cfg", example_rules());
    let path = file.to_str().expect("UTF-8");
    let ran = env
        .run(&["--config", path, "explain", "app-1.0.tar", "README.txt"])
        .exits(1);
    let shown: Vec<String> = ran
        .stdout
        .lines()
        .map(|line| line.replace(path, "/svn/prod/conf/general-dispatch-info.cfg"))
        .collect();
    let readme = readme();
    let printed: Vec<&str> = readme
        .lines()
        .skip_while(|line| !(line.contains("$ auto-dispatcher") && line.contains("explain")))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(|line| line.trim_start_matches("    "))
        .collect();
    assert_eq!(
        shown
            .iter()
            .map(|line| line.trim_start())
            .collect::<Vec<_>>(),
        printed
            .iter()
            .map(|line| line.trim_start())
            .collect::<Vec<_>>()
    );
}

#[test]
fn every_key_is_in_the_reference() {
    let readme = readme();
    let keys = rules::KEYS.iter().chain(&settings::KEYS);
    for key in keys.chain(&notifiers::KEYS) {
        assert!(
            readme.contains(&format!("`{key}`")),
            "README lacks the key {key}"
        );
    }
}

#[test]
fn every_command_is_in_the_reference_and_every_one_there_exists() {
    let help = TestEnv::new().run(&["--help"]).exits(0).stdout;
    let commands = help.split("Commands:\n").nth(1).expect("commands");
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help")
        .collect();
    let readme = readme();
    let table = readme.split("## Commands").nth(1).expect("the section");
    let listed: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| `")?.split([' ', '`']).next())
        .collect();
    assert_eq!(
        {
            let mut sorted = commands.clone();
            sorted.sort_unstable();
            sorted
        },
        {
            let mut sorted = listed.clone();
            sorted.sort_unstable();
            sorted
        }
    );
}

#[test]
fn help_shows_the_exit_codes() {
    let help = TestEnv::new().run(&["--help"]).exits(0).stdout;
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  130 "] {
        assert!(help.contains(code), "{code:?} is not in\n{help}");
    }
}
