//! Servers that do things their own way.

use std::fs;

use auto_dispatcher::domain::fault::FaultClass;
use auto_dispatcher::domain::target::TransportKind;
use auto_dispatcher::transport::Verified;
use serde_json::{Value, json};

use super::{Caller, assert_says};
use crate::conformance::{Package, deliver};
use crate::servers::certificates::Certificate;
use crate::servers::pyftpdlib::{self, Pyftpdlib};
use crate::servers::running::free_port;
use crate::testenv::TestEnv;

/// Delivers two packages to a server with that peculiarity, and gives it back.
fn delivered(env: &TestEnv, peculiar: Value) -> Pyftpdlib {
    let server = Pyftpdlib::start(env.root(), None, peculiar);
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    for (name, size) in [("one", 70_000), ("two", 0)] {
        let package = Package::of_size(size);
        let verified =
            deliver(&mut *session, &package.upload("/", name, ".tmp")).expect("delivered");
        assert_eq!(verified, Verified::Length);
        assert!(fs::read(server.home().join(name)).expect("read") == package.bytes());
    }
    session.close();
    server
}

fn count(server: &Pyftpdlib, command: &str) -> usize {
    server
        .commands()
        .iter()
        .filter(|line| line.split(' ').next() == Some(command))
        .count()
}

#[test]
fn epsv_is_used_where_it_works() {
    let env = TestEnv::new();
    let server = delivered(&env, json!({}));
    assert_eq!((count(&server, "EPSV"), count(&server, "PASV")), (2, 0));
}

#[test]
fn pasv_takes_over_once_and_for_all_where_epsv_is_refused() {
    let env = TestEnv::new();
    let server = delivered(
        &env,
        json!({ "refuse": { "EPSV": "500 EPSV not understood." } }),
    );
    assert_eq!((count(&server, "EPSV"), count(&server, "PASV")), (1, 2));
}

#[test]
fn pasv_takes_over_where_the_port_that_epsv_tells_leads_nowhere() {
    let env = TestEnv::new();
    let closed = free_port();
    let lie = format!("229 Entering extended passive mode (|||{closed}|).");
    let server = delivered(&env, json!({ "refuse": { "EPSV": lie } }));
    assert_eq!((count(&server, "EPSV"), count(&server, "PASV")), (1, 2));
}

#[test]
fn an_address_behind_nat_that_pasv_tells_is_replaced_by_the_one_we_reached() {
    let env = TestEnv::new();
    let peculiar = json!({ "masquerade": "192.0.2.1", "refuse": { "EPSV": "500 no" } });
    assert_eq!(count(&delivered(&env, peculiar), "PASV"), 2);
}

#[test]
fn utf8_is_switched_on_where_it_is_offered() {
    let env = TestEnv::new();
    assert_eq!(count(&delivered(&env, json!({})), "OPTS"), 1);
    let none = json!({ "hide": ["UTF8"] });
    assert_eq!(count(&delivered(&env, none), "OPTS"), 0);
}

#[test]
fn lengths_come_from_mlst_or_a_listing_where_there_is_no_size() {
    let env = TestEnv::new();
    let without_size = json!({ "refuse": { "SIZE": "502 no" } });
    assert_eq!(count(&delivered(&env, without_size), "MLST"), 2);
    let without_both = json!({ "refuse": { "SIZE": "502 no", "MLST": "502 no" } });
    assert_eq!(count(&delivered(&env, without_both), "LIST"), 2);
}

#[test]
fn a_listing_over_tls_tells_lengths_too() {
    let env = TestEnv::new();
    let certificate = Certificate::self_signed(env.root());
    let without_both = json!({ "refuse": { "SIZE": "502 no", "MLST": "502 no" } });
    let server = Pyftpdlib::start(env.root(), Some(&certificate), without_both);
    let mut caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    caller.terms.ftps_fingerprint = Some(certificate.fingerprint());
    let mut session = caller.connect(TransportKind::Ftps).expect("a session");
    let package = Package::of_size(1_234);
    deliver(&mut *session, &package.upload("/", "a name", ".a tmp")).expect("delivered");
    assert_eq!(count(&server, "LIST"), 1);
}

#[test]
fn a_server_with_an_ipv6_address_is_reached() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "address": "::1" }));
    let caller = Caller::new("::1", server.port, pyftpdlib::LOGIN, pyftpdlib::PASSWORD);
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(1_234);
    deliver(&mut *session, &package.upload("/", "name", ".tmp")).expect("delivered");
    let fault = session
        .prepare_dir("/name/below")
        .expect_err("a file in the way");
    assert_says(&fault, &[&format!("[::1]:{}", server.port)]);
}

#[test]
fn a_server_that_cannot_tell_any_length_is_unsupported() {
    let env = TestEnv::new();
    let nothing = json!({ "refuse": { "SIZE": "502 no", "MLST": "502 no", "LIST": "502 no" } });
    let server = Pyftpdlib::start(env.root(), None, nothing);
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(10);
    let fault =
        deliver(&mut *session, &package.upload("/", "name", ".tmp")).expect_err("no length");
    assert_eq!(fault.class, FaultClass::Unsupported, "{fault}");
    assert_says(&fault, &["cannot tell the length", "502 no"]);
}

#[test]
fn an_old_package_steps_aside_where_renaming_onto_it_is_refused() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "rename_over": false }));
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    for size in [900, 800] {
        let package = Package::of_size(size);
        deliver(&mut *session, &package.upload("/", "name", ".tmp")).expect("delivered");
        assert!(fs::read(server.home().join("name")).expect("read") == package.bytes());
    }
    assert_eq!(count(&server, "DELE"), 1);
    // Without a new file nothing is removed.
    let package = Package::of_size(700);
    let fault = session
        .publish(&package.upload("/", "name", ".gone"))
        .expect_err("no temporary file");
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert!(server.home().join("name").exists());
    assert_eq!(fs::read_dir(server.home()).expect("read").count(), 1);
}

/// The old file, and what an attempt to replace it came to.
fn replaced_in_vain(peculiar: Value) -> (TestEnv, Pyftpdlib, FaultClass) {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, peculiar);
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    fs::write(server.home().join("name"), "old").expect("write");
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(900);
    let upload = package.upload("/", "name", ".tmp");
    let fault = deliver(&mut *session, &upload).expect_err("no renaming");
    // As the worker does after a permanent fault.
    if fault.class == FaultClass::Permanent
        && let Err(left) = session.discard(&upload)
    {
        assert_says(&left, &["/.tmp", "is not removed"]);
        assert_says(&fault, &["/.tmp.old", "by hand"]);
    }
    (env, server, fault.class)
}

#[test]
fn an_old_package_stays_where_renaming_is_forbidden() {
    for command in ["RNFR", "RNTO"] {
        let (_env, server, class) =
            replaced_in_vain(json!({ "refuse": { command: "550 Permission denied." } }));
        assert_eq!(class, FaultClass::Permanent, "{command}");
        let old = fs::read_to_string(server.home().join("name"));
        assert_eq!(old.expect("the old file"), "old", "{command}");
        assert_eq!(fs::read_dir(server.home()).expect("read").count(), 1);
        assert_eq!(count(&server, "DELE"), 1, "the temporary file alone");
    }
}

#[test]
fn an_old_package_is_put_back_where_the_new_one_cannot_take_its_name() {
    let (_env, server, class) = replaced_in_vain(json!({ "rename_fails": [1, 3] }));
    assert_eq!(class, FaultClass::Permanent);
    let old = fs::read_to_string(server.home().join("name"));
    assert_eq!(old.expect("the old file"), "old");
    assert_eq!(fs::read_dir(server.home()).expect("read").count(), 1);
}

#[test]
fn both_packages_stay_where_the_old_one_cannot_be_put_back() {
    let (_env, server, class) = replaced_in_vain(json!({ "rename_fails": [1, 3, 4] }));
    assert_eq!(class, FaultClass::Permanent);
    let old = fs::read_to_string(server.home().join(".tmp.old"));
    assert_eq!(old.expect("the old file"), "old");
    assert_eq!(
        fs::read(server.home().join(".tmp")).expect("new").len(),
        900
    );
}

#[test]
fn a_server_without_chmod_is_a_fault_only_where_the_rule_names_a_mode() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "refuse": { "SITE": "502 no" } }));
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let package = Package::of_size(10);
    let mut upload = package.upload("/", "name", ".tmp");
    deliver(&mut *session, &upload).expect("delivered");
    upload.mode = Some(0o640);
    let fault = session.upload(&upload, &mut |_| {}).expect_err("no modes");
    assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    assert_says(
        &fault,
        &["file_mode 640", "take `file_mode` out of the rule"],
    );
    assert!(!server.home().join(".tmp").exists());
}

#[test]
fn a_server_without_a_home_serves_absolute_directories_only() {
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "refuse": { "PWD": "502 no" } }));
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    let mut session = caller.connect(TransportKind::Ftp).expect("a session");
    let fault = session.prepare_dir("~/a").expect_err("no home");
    assert_says(&fault, &["PWD", "~/a", "absolute path"]);
    assert_eq!(session.prepare_dir("/a/b").expect("a directory"), "/a/b");
}

#[test]
fn a_server_that_knows_neither_feat_nor_binary_is_told_apart() {
    let env = TestEnv::new();
    delivered(&env, json!({ "refuse": { "FEAT": "500 FEAT?" } }));
    let env = TestEnv::new();
    let server = Pyftpdlib::start(env.root(), None, json!({ "refuse": { "TYPE": "504 no" } }));
    let caller = Caller::new(
        "127.0.0.1",
        server.port,
        pyftpdlib::LOGIN,
        pyftpdlib::PASSWORD,
    );
    assert_says(
        &caller.fails(TransportKind::Ftp, FaultClass::Unsupported),
        &["TYPE I", "504 no"],
    );
}
