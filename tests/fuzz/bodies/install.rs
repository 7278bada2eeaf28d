//! Install commands: before the first NUL the command, behind it the value of each placeholder. A value is one word of
//! the shell, what is no placeholder stays as it is, and the scripts hold the nonce where they must.

use auto_dispatcher::domain::install::{
    InstallFacts, InstallSpec, environment, fill, forget_script, is_token, plain_script,
    tracked_script,
};
use auto_dispatcher::domain::target::InstallMode;

const PLACEHOLDERS: [&str; 4] = ["{package}", "{path}", "{dest_dir}", "{revision}"];

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (command, value) = text.split_once('\0').unwrap_or((&text, "app-1.0.tar"));
    let facts = InstallFacts {
        package: value.to_owned(),
        path: format!("/in/{value}"),
        dest_dir: value.to_owned(),
        revision: value.to_owned(),
        ..InstallFacts::default()
    };
    let filled = fill(command, &facts);
    if !PLACEHOLDERS.iter().any(|name| command.contains(name)) {
        assert_eq!(filled, command);
    }
    let one = fill("x {package} --to={path}", &facts);
    let words = shell_words::split(&one).expect("whole words");
    assert_eq!(words, ["x", value, &format!("--to=/in/{value}")]);
    assert_eq!(environment(&facts)[0], ("AD_PACKAGE", value));
    if is_token(&text) {
        assert!(forget_script(&text).contains(&*text));
        assert!(!text.contains(|c: char| !c.is_ascii_graphic() || "/.$'\"`\\".contains(c)));
    }
    scripts(command, facts);
}

fn scripts(command: &str, facts: InstallFacts) {
    let spec = InstallSpec {
        token: "a-9_Z".to_owned(),
        command: command.to_owned(),
        facts,
        timeout_s: 3600,
        mode: InstallMode::Tracked,
        idempotent: false,
        recorded: false,
        output_max_bytes: 65_536,
    };
    assert!(tracked_script(&spec, "ADx").starts_with("N=ADx\nt=a-9_Z\n"));
    plain_script(&spec);
}
