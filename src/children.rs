//! Programs that we started, each with its own children a process group: ended when nobody waits for it any more, and all
//! of them when this process ends at once, for no signal of a terminal reaches them. Knows nothing of what they are for.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The groups whose leaders were not waited for yet.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A program and its children; unless its end was waited for, they are killed when this is dropped.
#[derive(Debug)]
pub struct Group {
    leader: Child,
    is_over: bool,
}

impl Group {
    /// Starts it. Errors: those of the system.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut running = lock();
        let leader = command.process_group(0).spawn()?;
        running.extend(number_of(&leader));
        Ok(Self {
            leader,
            is_over: false,
        })
    }

    /// Its ends of the pipes that were asked for, once.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let leader = &mut self.leader;
        (
            leader.stdin.take(),
            leader.stdout.take(),
            leader.stderr.take(),
        )
    }

    /// What can be read when it has ended.
    pub fn handle(&self) -> io::Result<std::os::fd::OwnedFd> {
        let pid = number_of(&self.leader).ok_or_else(|| io::Error::other("it has no number"))?;
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        // Nobody ends a group by a number that may be another one's by then.
        let mut running = lock();
        let status = self.leader.try_wait()?;
        if status.is_some() {
            self.is_over = true;
            forget(&mut running, &self.leader);
        }
        Ok(status)
    }

    fn end(&mut self) {
        let mut running = lock();
        if let Some(pid) = number_of(&self.leader) {
            // One that has gone by itself is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        forget(&mut running, &self.leader);
        drop(running);
        let _ = self.leader.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
        }
    }
}

/// Ends all of them, and lets none begin any more: for a process that ends now.
pub fn end_all() {
    let running = lock();
    for &group in running.iter() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    std::mem::forget(running);
}

fn forget(running: &mut Vec<Pid>, leader: &Child) {
    let pid = number_of(leader);
    running.retain(|&other| Some(other) != pid);
}

fn number_of(leader: &Child) -> Option<Pid> {
    i32::try_from(leader.id()).ok().and_then(Pid::from_raw)
}

fn lock() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
