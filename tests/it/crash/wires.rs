//! The conversations of SSH, FTP and FTPS, cut and held back at places spread over all of their bytes, both ways;
//! and hosts that refuse, keep silent or are slow. Each time the network is healed, and the delivery has to end
//! done, whole, and installed once.

use super::proxy::{Direction, Doom, Mode};
use super::say;
use super::world::{Way, World};
use crate::pipeline::LIMIT;
use crate::testenv::wait_until;

/// Places of a conversation at which it is cut, from before the first byte to before the last one.
const CUTS: u64 = 25;
/// Places at which it is held back: each takes a stall_timeout.
const STALLS: u64 = 5;
/// The size of a package: more than the windows and buffers of a moment.
const SIZE: usize = 300_000;

struct Wires {
    world: World,
    cases: u64,
}

impl Wires {
    fn new(way: Way) -> Self {
        let world = World::new(&[way]);
        let wires = Self { world, cases: 0 };
        wires.stall_timeout(1);
        wires
    }

    /// What a conversation may wait for, in seconds.
    fn stall_timeout(&self, seconds: u64) {
        self.world
            .write_rules(&|rule| rule.with("retry_delay", 0).with("stall_timeout", seconds));
    }

    /// Sends a package while the network is as `before` leaves it; `meanwhile` is called again and again. The
    /// package has to arrive; says in how many attempts.
    #[track_caller]
    fn send(
        &mut self,
        case: &str,
        before: impl Fn(&World),
        meanwhile: impl Fn(&World, &str),
    ) -> i64 {
        let name = self.world.name("a", "ok");
        let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(SIZE)
            .collect();
        let file = self
            .world
            .pipeline
            .env
            .write(format!("send/{name}"), &bytes);
        self.world.sent.push((name.clone(), bytes));
        before(&self.world);
        let mut sending = self
            .world
            .start(&["send", file.to_str().expect("UTF-8")], None);
        let mut status = None;
        wait_until(&format!("{case}: the package arrives"), LIMIT, || {
            meanwhile(&self.world, &name);
            self.world.let_pauses_pass();
            status = sending.try_wait().expect("wait");
            status.is_some()
        });
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(0), "{case}\n{}", self.world.log());
        self.cases += 1;
        // What was held back comes now, however late.
        self.world.places[0].proxy.heal();
        attempts(&self.world, &name)
    }

    /// How many bytes go this way in an undisturbed conversation.
    fn length(&mut self, direction: Direction) -> u64 {
        let before = self.world.places[0].proxy.carried(direction);
        self.stall_timeout(20);
        assert_eq!(self.send("undisturbed", |_| {}, |_, _| {}), 1);
        self.stall_timeout(1);
        self.world.places[0].proxy.carried(direction) - before
    }

    /// Dooms the conversation at `places` of its bytes.
    fn doom(&mut self, doom: Doom, places: u64) {
        for direction in [Direction::Up, Direction::Down] {
            let length = self.length(direction);
            let fired = self.world.places[0].proxy.fired();
            for place in 0..places {
                let after = (length * place / (places - 1)).min(length - 1);
                let case = format!("{doom:?} {direction:?} after {after} of {length} bytes");
                self.send(
                    &case,
                    |world| world.places[0].proxy.trip(direction, after, doom),
                    |_, _| {},
                );
            }
            // The last words of a conversation vary in length, and nobody waits for them.
            let fired = self.world.places[0].proxy.fired() - fired;
            assert!(fired + 2 >= places, "only {fired} of {places} took hold");
        }
    }

    /// The network is as `mode` says until two attempts have failed.
    fn withstand(&mut self, mode: Mode) {
        let heal = |world: &World, package: &str| {
            if attempts(world, package) >= 3 {
                world.places[0].proxy.heal();
            }
        };
        let tried = self.send(
            &format!("{mode:?}"),
            |world| world.places[0].proxy.set(mode),
            heal,
        );
        assert!(tried >= 3, "{mode:?}: {tried}");
    }

    fn keeps_every_promise(mut self, way: Way) {
        self.world.finish();
        let fired = self.world.places[0].proxy.fired();
        let story = format!(
            "{way:?}: {} conversations, {fired} of them disturbed",
            self.cases
        );
        self.world.kept_every_promise(&story);
        say(&story);
    }
}

/// Attempts at the delivery of a package.
fn attempts(world: &World, package: &str) -> i64 {
    if !world.pipeline.state().join("journal.sqlite").exists() {
        return 0;
    }
    let sql = format!("SELECT max(attempts) FROM deliveries WHERE package = '{package}'");
    world.pipeline.sql(&sql)[0].unwrap_or_default()
}

fn every_fault(way: Way) {
    let mut wires = Wires::new(way);
    wires.doom(Doom::Cut, CUTS);
    wires.doom(Doom::Stall, STALLS);
    for mode in [Mode::Closed, Mode::Refuse, Mode::BlackHole] {
        wires.withstand(mode);
    }
    // What lies in the buffers of this machine takes a second to go through.
    wires.stall_timeout(10);
    let slow = |world: &World| world.places[0].proxy.set(Mode::Throttle(450_000));
    let attempts = wires.send("a slow network", slow, |_, _| {});
    assert_eq!(attempts, 1, "slow is no stall");
    wires.keeps_every_promise(way);
}

#[test]
fn wherever_a_conversation_over_ssh_is_disturbed_the_package_arrives_once() {
    every_fault(Way::Ssh);
}

#[test]
fn wherever_a_conversation_over_ftp_is_disturbed_the_package_arrives_once() {
    every_fault(Way::Ftp);
}

#[test]
fn wherever_a_conversation_over_ftps_is_disturbed_the_package_arrives_once() {
    every_fault(Way::Ftps);
}
