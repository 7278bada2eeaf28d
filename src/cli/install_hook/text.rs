//! The text of the hook that is put in, and how it is known again. Pure.

use crate::domain::artifact::Digester;
use crate::domain::text::shell_quote;

/// The name that a hook which was there before is kept under, beside ours.
pub(super) const KEPT: &str = "post-commit.before-auto-dispatcher";
/// What ours says of itself, before the digest of what follows.
const SEAL: &str = "# SHA-256 of the lines below: ";
/// Says that the kept hook is not called.
const LEFT_OUT: &str = "# The hook that was here before is kept, and not called.\n";

/// What becomes of the hook that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// There was none.
    Nothing,
    /// It is kept and called.
    Called,
    /// It is kept and not called.
    LeftOut,
}

/// How ours calls this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Absolute path of the program.
    pub program: String,
    /// Absolute path of the rules file, if one was named.
    pub config: Option<String>,
    /// Absolute path of netrc, if one was named.
    pub netrc: Option<String>,
    /// The hook that was there.
    pub before: Before,
}

/// The hook.
pub(super) fn hook(wanted: &Wanted) -> String {
    let body = body(wanted);
    format!(
        "#!/bin/sh\n# post-commit hook, written by `auto-dispatcher install-hook REPOS`. Not to be edited: --uninstall takes it out and\n\
         # puts back what was there; what is there when it is put in again is called after it.\n{SEAL}{}\n{body}",
        Digester::of(body.as_bytes())
    )
}

fn body(wanted: &Wanted) -> String {
    let mut call = shell_quote(&wanted.program);
    for (option, file) in [("--config", &wanted.config), ("--netrc", &wanted.netrc)] {
        if let Some(file) = file {
            call = format!("{call} {option} {}", shell_quote(file));
        }
    }
    call.push_str(" hook \"$@\"");
    match wanted.before {
        Before::Nothing => format!("exec {call}\n"),
        Before::LeftOut => format!("{LEFT_OUT}exec {call}\n"),
        Before::Called => format!(
            "# Records the revision, whatever the hook that was here before does; then becomes that one, which finds its\n\
             # arguments, input and environment as ever. The committer hears of it as before.\n\
             {call} </dev/null\n\
             ad_status=$?\n\
             case $0 in\n*/*) ad_before=${{0%/*}}/{KEPT} ;;\n*) ad_before=./{KEPT} ;;\nesac\n\
             # The shell has made this one.\n\
             unset PWD\n\
             [ \"$ad_status\" -ne 0 ] || exec \"$ad_before\" \"$@\"\n\
             \"$ad_before\" \"$@\" || exit\n\
             exit \"$ad_status\"\n"
        ),
    }
}

/// What a hook file is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Written by us, as it was.
    Ours(Before),
    /// Written by us, and edited since.
    Edited,
    /// Somebody else's.
    Theirs,
}

/// Tells ours from others.
pub(super) fn whose(bytes: &[u8]) -> Whose {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Whose::Theirs;
    };
    let Some((_, sealed)) = text.split_once(SEAL) else {
        return Whose::Theirs;
    };
    let known = sealed
        .split_once('\n')
        .filter(|(seal, body)| *seal == Digester::of(body.as_bytes()));
    match known {
        Some((_, body)) if body.contains("ad_before=") => Whose::Ours(Before::Called),
        Some((_, body)) if body.starts_with(LEFT_OUT) => Whose::Ours(Before::LeftOut),
        Some(_) => Whose::Ours(Before::Nothing),
        None => Whose::Edited,
    }
}

/// Whether it is the hook that this program comes with, put in by hand: apart from its search path it is the same.
pub(super) fn is_the_shipped_one(bytes: &[u8]) -> bool {
    let shipped = include_str!("../../../hooks/post-commit");
    let plain = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("PATH="));
        lines.map(str::to_owned).collect()
    };
    std::str::from_utf8(bytes).is_ok_and(|text| plain(text) == plain(shipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hook_file;

    fn wanted(before: Before) -> Wanted {
        Wanted {
            program: "/opt/it's/auto-dispatcher".to_owned(),
            config: Some("/etc/a b.cfg".to_owned()),
            netrc: None,
            before,
        }
    }

    #[test]
    fn ours_is_known_again_and_an_edit_is_seen() {
        for before in [Before::Nothing, Before::Called, Before::LeftOut] {
            let text = hook(&wanted(before));
            assert_eq!(whose(text.as_bytes()), Whose::Ours(before));
            let edited = text.replace("exec", " exec");
            assert_eq!(whose(edited.as_bytes()), Whose::Edited, "{edited}");
            let call = hook_file::call(&text).expect("a call");
            assert_eq!(call.program, Some("/opt/it's/auto-dispatcher".into()));
            assert_eq!(call.config, Some("/etc/a b.cfg".into()));
            assert_eq!(hook_file::ends_before(&text, call.line), None);
        }
        assert_eq!(whose(b"#!/bin/sh\n\xff"), Whose::Theirs);
    }

    #[test]
    fn the_shipped_hook_is_known_with_another_search_path() {
        let shipped = include_str!("../../../hooks/post-commit");
        assert!(is_the_shipped_one(shipped.as_bytes()));
        let other = shipped.replace("\nPATH=", "\nPATH=/opt/bin:");
        assert!(is_the_shipped_one(other.as_bytes()));
        assert!(!is_the_shipped_one(b"#!/bin/sh\n"));
    }
}
