//! What every command does before it reads anything: closes itself to others of the same user, and keeps what
//! it makes and what it inherited from them and from its children.

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};

use crate::worker::detach::keep_descriptors_from_children;

/// Closes this process: no core dumps, of its children neither; nobody but root traces it or reads its memory,
/// environment and descriptors in `/proc`; files are ours alone, whoever's umask we inherit; children get no
/// descriptor of ours.
pub(super) fn close_up() {
    umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A limit can always be lowered. Where cores are piped to a program, the kernel asks for the other one alone.
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    keep_descriptors_from_children();
}
