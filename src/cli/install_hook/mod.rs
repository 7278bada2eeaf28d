//! `install-hook REPOS`: puts the hook in, beside one that is there already, takes it out again, and proves by `doctor`
//! that it runs.

mod place;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::hook_file;
use super::lines::line_of;
use super::{Globals, doctor};
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};
use crate::source::repository_files;
use place::{Found, Hooks};
use text::{Before, KEPT, Wanted, Whose, whose};

/// Put the post-commit hook in, and prove that it runs
///
/// A hook that is there already stays beside ours, as post-commit.before-auto-dispatcher, and is called after ours has
/// recorded the revision: with the same arguments, input and environment, and the committer sees its output and exit
/// code as before. Repeating it changes nothing; with another --config it changes that. In the end `doctor --local`
/// looks at all that the hook needs on this machine.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub(super) struct Args {
    /// The repository
    #[arg(value_name = "REPOS")]
    repository: PathBuf,
    /// Take the hook out again, and put back what was there
    #[arg(long, conflicts_with_all = ["keep_old", "drop_old"])]
    uninstall: bool,
    /// Show what would be done, and the hook; change nothing
    #[arg(long, visible_alias = "print")]
    dry_run: bool,
    /// Call the hook that is there although it dispatches by itself
    #[arg(long, conflicts_with = "drop_old")]
    keep_old: bool,
    /// Keep the hook that is there, but do not call it any more
    #[arg(long)]
    drop_old: bool,
    /// The user who runs the hook [default: the owner of REPOS/db]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let repository = repository_files::canonical(&args.repository)?;
    let hooks = Hooks::of(&repository)?;
    let found = Hooks::look(&hooks.hook())?;
    if args.uninstall {
        return uninstall(args, &hooks, found.as_ref(), out).map(|()| 0);
    }
    let plan = plan(args, globals, &hooks, found.as_ref())?;
    let shown = escape(&hooks.hook().to_string_lossy()).into_owned();
    for note in &plan.notes {
        notice(note);
    }
    let text = text::hook(&plan.wanted);
    let is_there = found
        .as_ref()
        .is_some_and(|found| found.bytes == text.as_bytes() && found.is_executable());
    let does = match plan.wanted.before {
        _ if is_there => "is in already",
        _ if !plan.keeps && found.is_some() => "is replaced by the one that is wanted now",
        Before::Nothing => "is put in",
        Before::Called => "is put in; the one that is there is kept beside it, and called after it",
        Before::LeftOut => {
            "is put in; the one that is there is kept beside it, and not called any more"
        }
    };
    if args.dry_run {
        notice(&format!("dry run, nothing is changed: {shown} {does}"));
        return out
            .write_all(text.as_bytes())
            .map_err(|error| super::output_error(&error))
            .map(|()| 0);
    }
    if !is_there {
        let (mode, owner) = hooks.terms(found.as_ref())?;
        if plan.keeps {
            hooks.keep()?;
        }
        hooks.put(&text, mode, owner)?;
    }
    line_of(out, &format!("{shown} {does}"))?;
    let kept = hooks.kept();
    drop(hooks);
    if plan.wanted.before != Before::Nothing {
        let kept = escape(&kept.to_string_lossy()).into_owned();
        line_of(out, &format!("the hook that was there: {kept}"))?;
    }
    line_of(out, "")?;
    doctor::prove(globals, &repository, args.user.as_deref(), out)
}

/// What is to be put in.
struct Plan {
    wanted: Wanted,
    /// Whether the hook that is there has to be kept first.
    keeps: bool,
    /// What whoever typed this has to know.
    notes: Vec<String>,
}

fn plan(args: &Args, globals: &Globals, hooks: &Hooks, found: Option<&Found>) -> Result<Plan> {
    let mut notes = Vec::new();
    let (before, keeps) = match found {
        None => (Before::Nothing, false),
        Some(found) => match whose(&found.bytes) {
            Whose::Ours(before) => {
                let dropped = args.drop_old && before == Before::Called;
                let called = args.keep_old && before == Before::LeftOut;
                match before {
                    _ if dropped => (Before::LeftOut, false),
                    _ if called => (Before::Called, false),
                    before => (before, false),
                }
            }
            Whose::Edited => return Err(edited(hooks)),
            Whose::Theirs => (of_others(args, hooks, found, &mut notes)?, true),
        },
    };
    if before == Before::Called && !keeps && Hooks::look(&hooks.kept())?.is_none() {
        return Err(Error::source(format!(
            "the hook calls {}, which is gone",
            hooks.kept().display()
        ))
        .with_hint("put it back from a backup, or leave it out: --drop-old"));
    }
    let named = args.repository.join("hooks");
    if named.is_symlink() {
        notes.push(format!(
            "{} is a link to {}: every repository that shares it has this hook",
            named.display(),
            hooks.directory().display()
        ));
    }
    let program = program()?;
    if let Some(why) = passing(&program) {
        notes.push(format!(
            "warning: {} {why}; install the binary, say to /usr/local/bin, and repeat",
            program.display()
        ));
    }
    let wanted = Wanted {
        program: in_a_line("the path of this program", &program)?,
        config: named_file("--config", globals.config.as_deref())?,
        netrc: named_file("--netrc", globals.netrc.as_deref())?,
        before,
    };
    Ok(Plan {
        wanted,
        keeps,
        notes,
    })
}

/// What becomes of a hook that is not ours.
fn of_others(args: &Args, hooks: &Hooks, found: &Found, notes: &mut Vec<String>) -> Result<Before> {
    let text = String::from_utf8_lossy(&found.bytes);
    let shown = hooks.hook().display().to_string();
    if text::is_the_shipped_one(&found.bytes) {
        notes.push(format!(
            "{shown} is the hook that auto-dispatcher comes with: ours takes its place"
        ));
        return Ok(Before::LeftOut);
    }
    if args.drop_old {
        return Ok(Before::LeftOut);
    }
    if !found.is_executable() {
        notes.push(format!(
            "{shown} is not executable, so Subversion could not run it: it is kept, and not called"
        ));
        return Ok(Before::LeftOut);
    }
    if args.keep_old {
        return Ok(Before::Called);
    }
    if let Some((line, content)) = hook_file::of_the_script(&text) {
        return Err(Error::source(format!(
            "{shown}:{line} calls the Python script, and two dispatchers would install every package twice: {}",
            content.trim()
        ))
        .with_hint(format!(
            "take that line out and repeat; or, if the hook does nothing else, --drop-old: it stays as {KEPT} and is not \
             called; --keep-old calls it all the same"
        )));
    }
    if let Some(call) = hook_file::call(&text) {
        return Err(Error::source(format!(
            "{shown}:{} calls auto-dispatcher already",
            call.line
        ))
        .with_hint(
            "`auto-dispatcher doctor REPOS` says whether that does; to have it managed, take that line out and repeat, or \
             --drop-old if the hook does nothing else",
        ));
    }
    if text.contains("basename") && text.contains("$0") {
        notes.push(format!(
            "warning: {shown} looks at the name that it is called by ($0), which is {KEPT} from now on"
        ));
    }
    Ok(Before::Called)
}

fn uninstall(args: &Args, hooks: &Hooks, found: Option<&Found>, out: &mut dyn Write) -> Result<()> {
    let hook = hooks.hook().display().to_string();
    let whose = found.map(|found| whose(&found.bytes));
    let before = match whose {
        Some(Whose::Ours(before)) => before,
        Some(Whose::Edited) => return Err(edited(hooks)),
        None | Some(Whose::Theirs) => {
            if Hooks::look(&hooks.kept())?.is_none() {
                return line_of(out, &format!("{hook} is not ours: nothing to take out"));
            }
            return Err(Error::source(format!(
                "{hook} is not ours any more, and {} lies beside it: nothing was changed",
                hooks.kept().display()
            ))
            .with_hint("somebody has put another hook in; keep the one that is wanted, by hand"));
        }
    };
    let does = match before {
        Before::Nothing => "goes",
        _ if Hooks::look(&hooks.kept())?.is_none() => {
            return Err(Error::source(format!(
                "the hook that was there before is gone: there is no {}; nothing was changed",
                hooks.kept().display()
            ))
            .with_hint(format!(
                "put it back from a backup and repeat, or remove {hook} by hand"
            )));
        }
        Before::Called | Before::LeftOut => "goes; the one that was there before is put back",
    };
    if args.dry_run {
        return line_of(
            out,
            &format!("dry run, nothing is changed: {} {does}", escape(&hook)),
        );
    }
    if before == Before::Nothing {
        hooks.remove()?;
    } else {
        hooks.put_back()?;
    }
    line_of(out, &format!("{} {does}", escape(&hook)))
}

fn edited(hooks: &Hooks) -> Error {
    let (hook, kept) = (hooks.hook(), hooks.kept());
    Error::source(format!(
        "{} is ours, and somebody has edited it since: nothing was changed",
        hook.display()
    ))
    .with_hint(format!(
        "save what was added (to {}, which is called after it), remove {} and move the kept hook, if there is one, back to its \
         place; then repeat",
        kept.display(),
        hook.display()
    ))
}

/// This program, by the name that it was called by where that leads to it: a link that is moved on when the program is
/// replaced stays a link.
fn program() -> Result<PathBuf> {
    let cannot =
        |error: io::Error| Error::state(format!("cannot tell where this program is: {error}"));
    let real = std::env::current_exe().map_err(cannot)?;
    let Some(called) = std::env::args_os().next().map(PathBuf::from) else {
        return Ok(real);
    };
    let places = if called.components().count() > 1 {
        vec![std::path::absolute(&called).map_err(cannot)?]
    } else {
        let search = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&search)
            .map(|place| place.join(&called))
            .collect()
    };
    let leads_here = |place: &PathBuf| {
        place.is_absolute()
            && place
                .components()
                .all(|part| !matches!(part, std::path::Component::ParentDir))
            && place.canonicalize().is_ok_and(|found| found == real)
    };
    Ok(places.into_iter().find(leads_here).unwrap_or(real))
}

/// Why a program will not be there for long.
fn passing(program: &Path) -> Option<&'static str> {
    let has = |name: &str| program.components().any(|part| part.as_os_str() == name);
    if has("target") && (has("debug") || has("release")) {
        return Some("is a build, which the next one replaces and `cargo clean` removes");
    }
    let temporary = ["/tmp", "/var/tmp", "/dev/shm"];
    let is_temporary = temporary.iter().any(|place| program.starts_with(place));
    is_temporary.then_some("lies in a directory for what is temporary")
}

fn named_file(option: &str, file: Option<&Path>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let found = std::path::absolute(file)
        .and_then(|path| path.metadata().map(|_| path))
        .map_err(|error| {
            Error::io(
                ErrorKind::Config,
                &format!("{option}: cannot look at"),
                file,
                &error,
            )
        })?;
    in_a_line(option, &found).map(Some)
}

/// A path as the hook can hold it.
fn in_a_line(what: &str, path: &Path) -> Result<String> {
    path.to_str()
        .filter(|path| !path.contains(['\n', '\r']))
        .map(str::to_owned)
        .ok_or_else(|| {
            let shown = escape(&path.to_string_lossy()).into_owned();
            Error::new(
                ErrorKind::Usage,
                format!("{what} cannot stand in a hook: {shown}"),
            )
            .with_hint("use a path in UTF-8 without line breaks")
        })
}

/// For whoever typed the command; stdout may go to a file.
fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape(text));
}
