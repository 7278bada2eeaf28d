//! Small disks at both ends: full at first, or again and again; what waits for room arrives once there is some.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auto_dispatcher::domain::delivery::State;

use super::say;
use super::world::{Hook, Way, World};
use crate::servers::mounts::Mounted;
use crate::testenv::needs_root;

/// A small file system that can be filled.
pub struct Disk(Mounted);

impl Disk {
    pub fn mount(at: &Path, size: &str, mode: &str) -> Self {
        Self(Mounted::disk(at, &format!("size={size},mode={mode}")))
    }

    /// Takes all the room that is left. Somebody may take or leave some meanwhile.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("remove");
    }

    fn filler(&self) -> PathBuf {
        self.0.at().join("filler")
    }
}

/// The disk of the host's packages is full, then it is not.
fn waits_for_room_on_the_host(way: Way) {
    let mut world = World::new(&[way]);
    let disk = Disk::mount(&world.places[0].packages(), "1m", "0755");
    disk.fill();
    let name = world.name("a", "ok");
    world.commit(&Hook::Real, vec![(name.clone(), vec![b'x'; 600_000])]);
    let row = world.pipeline.awaits(&name, State::Waiting);
    assert_eq!(row["fault"], "transient", "{row}");
    disk.free();
    world.finish();
    world.kept_every_promise(&format!("{way:?}: the host's disk was full"));
}

#[test]
fn a_package_waits_for_room_on_a_host_reached_by_ssh() {
    needs_root!();
    waits_for_room_on_the_host(Way::Ssh);
}

#[test]
fn a_package_waits_for_room_on_a_host_reached_by_ftp() {
    needs_root!();
    waits_for_room_on_the_host(Way::Ftp);
}

#[test]
fn an_install_waits_for_room_in_the_home_of_its_host() {
    needs_root!();
    let mut world = World::new(&[Way::Ssh]);
    let records = world.places[0].host.file(".auto-dispatcher");
    let disk = Disk::mount(&records, "64k", "0700");
    disk.fill();
    let name = world.name("a", "ok");
    world.commit(&Hook::Real, vec![(name.clone(), b"x".to_vec())]);
    let row = world.pipeline.awaits(&name, State::Waiting);
    assert_eq!(row["step"], "install", "{row}");
    disk.free();
    world.finish();
    world.kept_every_promise("the disk of the install's record was full");
}

#[test]
fn a_state_directory_that_fills_up_again_and_again_loses_nothing() {
    needs_root!();
    let seed = fastrand::u64(0..1_000_000_000);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new(&[Way::Ssh, Way::Ssh, Way::Ftp]);
    let disk = Disk::mount(&world.pipeline.state(), "6m", "0700");
    let first = (world.name("ab", "ok"), b"the ledger begins".to_vec());
    world.commit(&Hook::DiesAt("hook.recorded"), vec![first]);
    for _ in 0..8 {
        for _ in 0..random.usize(1..3) {
            let place = ["a", "b", "c", "ab"][random.usize(0..4)];
            let file = (
                world.name(place, "ok"),
                vec![random.u8(..); random.usize(0..500_000)],
            );
            world.commit(&Hook::Real, vec![file]);
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        disk.fill();
        let unheard = (world.name("a", "ok"), b"its hook may fail".to_vec());
        world.commit(&Hook::Real, vec![unheard]);
        std::thread::sleep(Duration::from_millis(random.u64(0..600)));
        disk.free();
    }
    world.finish();
    world.kept_every_promise(&format!(
        "the state directory was full now and then, seed {seed}"
    ));
    say("the disk of the state directory was full 8 times");
}
