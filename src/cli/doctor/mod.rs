//! `doctor [REPOS]`: tries everything that a commit needs, as the hook would: as its user, with an empty environment, in
//! `/`. The process that was typed shows what the other one, which looks, finds.

mod aims;
mod check;
mod here;
mod hook;
mod inside;
mod show;
mod state;
mod target;
mod targets;
mod trials;
mod user;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Globals;
use super::hook_file;
use super::setup::Setup;
use crate::error::{Error, ErrorKind, Result};
use crate::source::repository_files;
use check::{Grouped, Teller};
use show::Show;
use user::User;

/// Try what a commit needs, as the hook would run
///
/// Looks at the hook, the configuration, svnlook, the state directory and the journal, as the user who runs the hook, with
/// an empty environment; then at every host that the rules name, all at once: logs in, writes, renames and removes a
/// small file in each directory. It runs no install command, records no host key, and leaves nothing on any host. Exit
/// code 1 where something is a failure.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// The repository; without it, what needs none is tried
    #[arg(value_name = "REPOS")]
    repository: Option<PathBuf>,
    /// The user who runs the hook [default: the owner of REPOS/db]; another one than you needs root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// This machine alone: no host is reached
    #[arg(long, conflicts_with_all = ["host", "rule"])]
    local: bool,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only the hosts of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Which part this process looks at, started by another one
    #[arg(long, hide = true)]
    inside: Option<Part>,
}

/// What one process looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the user of the hook needs.
    Hook,
    /// What the user of the worker needs.
    Work,
    /// Both are the same user.
    Both,
}

pub(super) fn run(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    match args.inside {
        Some(part) => inside::run(part, args, globals, out),
        None => outside(args, globals, out),
    }
}

/// What `install-hook` shows in the end: this machine's part, for a repository.
pub(super) fn prove(
    globals: &Globals,
    repository: &Path,
    user: Option<&str>,
    out: &mut dyn Write,
) -> Result<u8> {
    let args = Args {
        repository: Some(repository.to_owned()),
        user: user.map(str::to_owned),
        local: true,
        ..Args::default()
    };
    outside(&args, globals, out)
}

fn outside(args: &Args, globals: &Globals, out: &mut dyn Write) -> Result<u8> {
    let repository = args.repository.as_deref();
    let repository = repository.map(repository_files::canonical).transpose()?;
    let repository = repository.as_deref();
    let globals = named(globals, repository);
    // Mistakes are told by the process that looks.
    let setup = Setup::new(&globals, repository, repository.is_none()).ok();
    let globals = match (&setup, repository) {
        // What a person's directory holds is named to the other process, which is elsewhere.
        (Some(setup), None) => Globals {
            config: globals
                .config
                .or_else(|| setup.places.rules().ok().map(Path::to_owned)),
            ..globals
        },
        _ => globals,
    };
    let mut show = Show::new(out, args.json);
    let mut is_interrupted = false;
    for (user, part, why) in parts(args, setup.as_ref(), repository)? {
        let started = Started {
            args,
            globals: &globals,
            repository,
            user: &user,
            part,
        };
        is_interrupted |= started.run(&why, &mut show)?;
    }
    show.end()?;
    if is_interrupted {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "interrupted; what was not tried is not shown",
        ));
    }
    Ok(u8::from(show.has_failures()))
}

/// The files as they were named, or as the hook names them; absolute, for the other process is elsewhere.
fn named(globals: &Globals, repository: Option<&Path>) -> Globals {
    let call = repository
        .and_then(hook::text)
        .and_then(|text| hook_file::call(&text))
        .unwrap_or_default();
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Globals {
        config: globals.config.clone().or(call.config).map(absolute),
        netrc: globals.netrc.clone().or(call.netrc).map(absolute),
    }
}

/// Who looks at what, and why it is they.
fn parts(
    args: &Args,
    setup: Option<&Setup>,
    repository: Option<&Path>,
) -> Result<Vec<(User, Part, String)>> {
    let named = args.user.as_deref().map(User::named).transpose()?;
    let worker = setup.and_then(here::owner_of_incoming);
    let worker = worker.map(|(uid, path)| {
        (
            User::numbered(uid, uid),
            format!("who owns {}", path.display()),
        )
    });
    let Some(repository) = repository else {
        let (user, why) = match (named, worker) {
            (Some(user), _) => (user, "as --user says".to_owned()),
            (None, Some(worker)) => worker,
            (None, None) => {
                owner_of_state(setup).unwrap_or_else(|| (User::me(), "who runs this".to_owned()))
            }
        };
        return Ok(vec![(user, Part::Work, why)]);
    };
    let (user, why) = if let Some(user) = named {
        (user, "as --user says".to_owned())
    } else {
        let database = repository.join("db");
        let found = database
            .metadata()
            .map_err(|error| Error::io(ErrorKind::Source, "cannot look at", &database, &error))?;
        let why = format!("who owns {}", database.display());
        (User::numbered(found.uid(), found.gid()), why)
    };
    Ok(match worker {
        Some((worker, whose)) if worker.uid != user.uid => {
            vec![(user, Part::Hook, why), (worker, Part::Work, whose)]
        }
        _ => vec![(user, Part::Both, why)],
    })
}

fn owner_of_state(setup: Option<&Setup>) -> Option<(User, String)> {
    let setup = setup?;
    let path = setup.state_path().ok()?;
    let found = path.metadata().ok()?;
    if !here::is_entitled(setup, found.uid()) {
        return None;
    }
    let why = format!("who owns {}", path.display());
    Some((User::numbered(found.uid(), found.gid()), why))
}

/// The other process.
struct Started<'a> {
    args: &'a Args,
    globals: &'a Globals,
    repository: Option<&'a Path>,
    user: &'a User,
    part: Part,
}

impl Started<'_> {
    /// Runs it and shows what it finds; true where it was interrupted.
    fn run(&self, why: &str, show: &mut Show<'_>) -> Result<bool> {
        let program = std::env::current_exe()
            .map_err(|error| Error::state(format!("cannot tell where this program is: {error}")))?;
        let (mut command, has_groups) = self.user.command(&program);
        self.who(why, has_groups, show)?;
        self.environment(&mut command, show)?;
        command
            .args(self.words())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return self
                    .not_started(&program, &error.to_string(), show)
                    .map(|()| false);
            }
        };
        forward_signals(Pid::from_child(&child))?;
        let said = child
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || all_of(stderr)));
        let mut checks = 0;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if let Ok(grouped) = serde_json::from_str::<Grouped>(&line) {
                    checks += 1;
                    show.check(&grouped)?;
                }
            }
        }
        let ended = child.wait().map_err(|error| {
            Error::state(format!("cannot wait for the process that looks: {error}"))
        })?;
        let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
        if ended.code() == Some(i32::from(ErrorKind::Interrupted.exit_code())) {
            return Ok(true);
        }
        if !ended.success() || checks == 0 {
            let said = said.trim().replace('\n', "; ");
            let why = if said.is_empty() {
                format!("it ended with {ended}")
            } else {
                said
            };
            self.not_started(&program, &why, show)?;
        }
        Ok(false)
    }

    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["doctor".into(), "--inside".into()];
        words.push(match self.part {
            Part::Hook => "hook".into(),
            Part::Work => "work".into(),
            Part::Both => "both".into(),
        });
        let mut add = |option: &str, value: OsString| words.extend([OsString::from(option), value]);
        for (option, file) in [
            ("--config", &self.globals.config),
            ("--netrc", &self.globals.netrc),
        ] {
            if let Some(file) = file {
                add(option, file.clone().into());
            }
        }
        for (option, name) in [("--host", &self.args.host), ("--rule", &self.args.rule)] {
            if let Some(name) = name {
                add(option, name.into());
            }
        }
        if self.args.local {
            words.push("--local".into());
        }
        if let Some(repository) = self.repository {
            words.extend(["--".into(), repository.into()]);
        }
        words
    }

    fn tell(&self, show: &mut Show<'_>, tell: impl FnOnce(&Teller<'_>)) -> Result<()> {
        let told = std::cell::RefCell::new(Vec::new());
        let keep = |grouped| told.borrow_mut().push(grouped);
        tell(&Teller::new(group(self.user), &keep));
        let told = told.take();
        told.iter().try_for_each(|grouped| show.check(grouped))
    }

    /// Who looks, and whether that is who ought to.
    fn who(&self, why: &str, has_groups: bool, show: &mut Show<'_>) -> Result<()> {
        let user = self.user;
        let word = user.word();
        let about = ("user", word.as_str());
        let is_root = rustix::process::geteuid().is_root();
        self.tell(show, |teller| {
            if !user.is_me() && !is_root {
                let me = User::me();
                let what = format!(
                    "tried as {}, not as {}, {why}: that needs root",
                    me.shown(),
                    user.shown()
                );
                teller.warn(
                    about,
                    what,
                    Some("sudo auto-dispatcher doctor ...".to_owned()),
                );
            } else if !has_groups {
                let what = format!(
                    "{}, {why}, with its first group alone: there is no setpriv",
                    user.shown()
                );
                teller.warn(about, what, Some("apt-get install util-linux".to_owned()));
            } else if user.uid == 0 {
                let what = format!("{}, {why}: nothing of the work needs root", user.shown());
                teller.warn(about, what, Some("see README, Least power".to_owned()));
            } else {
                teller.ok(
                    about,
                    format!("{}, {why}; an empty environment, in /", user.shown()),
                );
            }
        })
    }

    /// What svnserve gives hooks in their environment is given here, too.
    fn environment(&self, command: &mut Command, show: &mut Show<'_>) -> Result<()> {
        let Some(repository) = self.repository.filter(|_| self.part != Part::Work) else {
            return Ok(());
        };
        let variables = hook::environment(repository);
        if variables.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
        let subject = repository.join("conf/svnserve.conf");
        self.tell(show, |teller| {
            let what = format!(
                "svnserve gives hooks these variables, and so do the checks: {}",
                names.join(", ")
            );
            teller.ok(("hooks-env", &subject.to_string_lossy()), what);
        })?;
        command.envs(variables);
        Ok(())
    }

    fn not_started(&self, program: &Path, why: &str, show: &mut Show<'_>) -> Result<()> {
        let shown = program.to_string_lossy();
        self.tell(show, |teller| {
            let what = format!("{shown} does not run as {}: {why}", self.user.shown());
            let mend = format!("install -m 755 {shown} /usr/local/bin/");
            teller.fail(("program", &shown), what, Some(mend));
        })
    }
}

/// How checks of this machine are headed.
fn group(user: &User) -> String {
    let user = if user.is_me() || rustix::process::geteuid().is_root() {
        user.shown()
    } else {
        User::me().shown()
    };
    format!("this machine, as {user}")
}

fn all_of(stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    // What cannot be read is not shown.
    let _ = stderr.take(64 * 1024).read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Has the other process end when this one is told to: it takes away what it has on hosts. Ctrl-C reaches both.
fn forward_signals(child: Pid) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Error::state(format!("cannot watch for signals: {error}")))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGTERM {
                    let _ = kill_process(child, Signal::TERM);
                }
            }
        })
        .map(|_| ())
        .map_err(|error| Error::state(format!("cannot start the signal thread: {error}")))
}
