//! The harness that notices when a promise ceases to be: everything around us is killed, cut, filled up and
//! held back, at named points and at random moments; then it is healed, and what was promised is counted.

mod check;
pub mod disks;
mod evidence;
mod neighbours;
mod points;
mod proxy;
mod random;
mod twist;
mod wires;
mod world;

use std::io::Write as _;

/// Says how it went, whether or not the runner shows what tests print.
fn say(figures: &str) {
    writeln!(std::io::stderr(), "crash: {figures}").expect("stderr");
}
