//! What a hook file says: whether it calls this program, how, and whether it comes that far; whether it calls the
//! Python script that came before. Reads text that it is handed, and runs nothing of it.

use std::path::{Path, PathBuf};

/// Where a shell looks for programs when nobody says where.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The line of a hook that calls `auto-dispatcher hook`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// From 1.
    pub line: usize,
    /// The program; none: a variable of the shell says, or its search path has none.
    pub program: Option<PathBuf>,
    /// `--config`, if it is given.
    pub config: Option<PathBuf>,
    /// `--netrc`, if it is given.
    pub netrc: Option<PathBuf>,
}

/// A line that matters, and its number.
pub(super) type Numbered<'a> = (usize, &'a str);

/// The lines that are no comments.
fn lines(text: &str) -> impl Iterator<Item = Numbered<'_>> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with('#'))
}

/// The first line that calls `auto-dispatcher hook`.
pub(super) fn call(text: &str) -> Option<Call> {
    lines(text).find_map(|(number, line)| {
        let words = shell_words::split(line).ok()?;
        let at = words.iter().position(|word| is_ours(word))?;
        let rest = words.get(at + 1..)?;
        rest.iter().position(|word| word == "hook")?;
        let named = |option: &str| {
            let mut words = rest.iter();
            words.find_map(|word| match word.strip_prefix(option)? {
                "" => rest.iter().skip_while(|other| *other != word).nth(1),
                _ => None,
            })
        };
        let joined = |option: &str| {
            let with = format!("{option}=");
            rest.iter()
                .find_map(|word| word.strip_prefix(&with).map(PathBuf::from))
        };
        let value = |option: &str| named(option).map(PathBuf::from).or_else(|| joined(option));
        Some(Call {
            line: number,
            program: words.get(at).and_then(|word| program(text, word)),
            config: value("--config"),
            netrc: value("--netrc"),
        })
    })
}

fn is_ours(word: &str) -> bool {
    Path::new(word)
        .file_name()
        .is_some_and(|name| name == "auto-dispatcher")
}

fn program(text: &str, word: &str) -> Option<PathBuf> {
    if word.contains('$') {
        return None;
    }
    if word.contains('/') {
        return Some(PathBuf::from(word));
    }
    let set = lines(text).filter_map(|(_, line)| line.trim().strip_prefix("PATH="));
    let set = set.last().unwrap_or(DEFAULT_PATH);
    set.split(':')
        .map(|directory| Path::new(directory.trim_matches(['"', '\''])).join(word))
        .find(|path| path.is_file())
}

/// The first line that ends the hook, or becomes another program, before line `call`; only what stands at the
/// beginning of a line does so for certain.
pub(super) fn ends_before(text: &str, call: usize) -> Option<Numbered<'_>> {
    let mut before = lines(text).take_while(|(number, _)| *number < call);
    before.find(|(_, line)| {
        let mut words = line.split_whitespace();
        let first = words.next().filter(|_| !line.starts_with([' ', '\t']));
        match first {
            Some("exit") => !line.contains("||") && !line.contains("&&"),
            // `exec` with redirections alone goes on.
            Some("exec") => words.next().is_some_and(|word| !word.contains(['<', '>'])),
            _ => false,
        }
    })
}

/// The first line that calls the Python script, or names its configuration.
pub(super) fn of_the_script(text: &str) -> Option<Numbered<'_>> {
    const NAMES: [&str; 4] = [
        "auto-dispatcher.py",
        "auto_dispatcher.py",
        "dispatcher.py",
        "general-dispatch",
    ];
    lines(text)
        .find(|(_, line)| NAMES.iter().any(|name| line.contains(name)) && call(line).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_found_with_its_program_and_its_files() {
        let text = "#!/bin/sh\n# auto-dispatcher hook\n'/opt/a b/auto-dispatcher' --config '/c d' --netrc=/n hook \"$@\"\n";
        let expected = Call {
            line: 3,
            program: Some("/opt/a b/auto-dispatcher".into()),
            config: Some("/c d".into()),
            netrc: Some("/n".into()),
        };
        assert_eq!(call(text), Some(expected));
        assert_eq!(call("python auto-dispatcher.py hook"), None);
        assert_eq!(call("auto-dispatcher status"), None);
        let variable = call("\"$BIN/auto-dispatcher\" hook \"$1\" \"$2\" &").expect("a call");
        assert_eq!(variable.program, None);
    }

    #[test]
    fn what_ends_a_hook_before_the_call_is_told_from_what_may() {
        let text = "if false; then\n  exit 1\nfi\nexec 2>/dev/null\ntest -x a || exit 0\nexit 0\nauto-dispatcher hook\n";
        assert_eq!(ends_before(text, 7), Some((6, "exit 0")));
        assert_eq!(
            ends_before("exec mailer \"$@\"\n", 2),
            Some((1, "exec mailer \"$@\""))
        );
        assert_eq!(ends_before(text, 6), None);
    }

    #[test]
    fn the_python_script_is_known_by_its_names() {
        let text = "#!/bin/sh\n# auto-dispatcher.py was here\npython /opt/dispatcher.py \"$1\"\n";
        assert_eq!(
            of_the_script(text),
            Some((3, "python /opt/dispatcher.py \"$1\""))
        );
        assert_eq!(
            of_the_script("auto-dispatcher --config /c/general-dispatch-info.cfg hook \"$@\""),
            None
        );
    }
}
