//! Servers that do not go on in the middle of a file, each in its own way: the package arrives all the same.

use std::fs;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use serde_json::{Value, json};

use super::{Caller, assert_says};
use crate::conformance::{Package, deliver};
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::TestEnv;

const SIZE: usize = 3_000_000;
const THERE: usize = 2_000_000;

struct Served {
    server: Pyftpdlib,
    caller: Caller,
    package: Package,
    _env: TestEnv,
}

/// A server on which a beginning of the package lies under `.tmp`.
fn served(peculiar: Value) -> Served {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, peculiar);
    let package = Package::of_size(SIZE);
    fs::write(server.home().join(".tmp"), &package.bytes()[..THERE]).expect("write");
    Served {
        caller: Caller::new("127.0.0.1", server.port, LOGIN, PASSWORD),
        server,
        package,
        _env: env,
    }
}

impl Served {
    /// Uploads and publishes; how many bytes were taken over.
    fn resume(&self) -> u64 {
        let mut session = self.caller.connect(TransportKind::Ftp).expect("a session");
        let mut upload = self.package.upload("/", "name", ".tmp");
        upload.resume = true;
        let taken_over = session.upload(&upload, &mut |_| {}).expect("upload");
        session.verify(&upload).expect("verify");
        session.publish(&upload).expect("publish");
        let arrived = fs::read(self.server.home().join("name")).expect("read");
        assert!(arrived == self.package.bytes(), "other bytes arrived");
        taken_over
    }

    fn count(&self, verb: &str) -> usize {
        let commands = self.server.commands();
        commands
            .iter()
            .filter(|line| line.starts_with(verb))
            .count()
    }
}

#[test]
fn a_server_that_refuses_rest_gets_the_file_from_its_beginning() {
    let served = served(json!({ "refuse": { "REST": "502 no" } }));
    assert_eq!(served.resume(), 0);
}

#[test]
fn a_server_that_does_not_store_from_there_gets_the_file_from_its_beginning() {
    let served = served(json!({ "store_restart": "451 Append/Restart not permitted, try again" }));
    assert_eq!(served.resume(), 0);
    assert_eq!(served.count("STOR"), 2);
}

#[test]
fn a_server_that_tells_of_no_rest_is_not_asked() {
    let served = served(json!({ "hide": ["REST STREAM"] }));
    assert_eq!(served.resume(), 0);
    assert_eq!((served.count("REST"), served.count("RETR")), (0, 0));
}

#[test]
fn a_server_without_feat_is_asked_by_trying() {
    let served = served(json!({ "refuse": { "FEAT": "500 FEAT?" } }));
    assert_eq!(served.resume(), THERE as u64);
}

#[test]
fn a_server_that_gives_nothing_back_gets_the_file_from_its_beginning() {
    for refuse in [json!({ "RETR": "550 no" }), json!({ "SIZE": "502 no" })] {
        assert_eq!(served(json!({ "refuse": refuse })).resume(), 0);
    }
}

#[test]
fn the_offset_survives_the_change_to_pasv() {
    let served = served(json!({ "refuse": { "EPSV": "500 no" }, "digest": "HASH" }));
    assert_eq!(served.resume(), THERE as u64);
    assert_eq!((served.count("EPSV"), served.count("STOR")), (1, 1));
}

#[test]
fn a_server_that_takes_rest_and_forgets_it_is_found_out_by_the_length() {
    let served = served(json!({ "store_restart": "forget" }));
    let mut session = served
        .caller
        .connect(TransportKind::Ftp)
        .expect("a session");
    let mut upload = served.package.upload("/", "name", ".tmp");
    upload.resume = true;
    let fault = deliver(&mut *session, &upload).expect_err("the rest alone arrived");
    assert_eq!(fault.class, FaultClass::Transient, "{fault}");
    assert_says(&fault, &["1000000 bytes instead of 3000000", "removed"]);
    assert_eq!(fs::read_dir(served.server.home()).expect("read").count(), 0);
    assert_eq!(served.resume(), 0);
}

#[test]
fn what_was_put_aside_goes_once_the_next_attempt_has_published() {
    let served = served(json!({}));
    fs::write(served.server.home().join(".tmp.old"), "old").expect("write");
    assert_eq!(served.resume(), THERE as u64);
    assert_eq!(fs::read_dir(served.server.home()).expect("read").count(), 1);
}
