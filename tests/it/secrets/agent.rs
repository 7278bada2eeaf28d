//! Encrypted keys: nobody is asked for the pass phrase, an agent that holds the key is.

use std::path::Path;
use std::process::Command;

use auto_dispatcher::domain::fault::FaultClass;

use crate::servers::agent::Agent;
use crate::servers::ssh::{SshServer, new_key};
use crate::testenv::{Ran, secret};

const PHRASE: &str = secret!("phrase");

/// Puts a pass phrase on a key. With `pem` the file tells no public key.
fn encrypt(key: &Path, pem: bool) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-p", "-P", "", "-N", PHRASE]);
    if pem {
        command.args(["-m", "PEM"]);
    }
    Ran::of(command.arg("-f").arg(key)).exits(0);
}

#[test]
fn an_encrypted_identity_file_is_used_through_the_agent_before_its_other_keys() {
    for (kind, pem) in [("ed25519", false), ("rsa", true)] {
        let server = SshServer::sshd("");
        let mut caller = server.caller();
        let key = server.path("locked");
        new_key(&key, kind, "");
        std::fs::copy(key.with_extension("pub"), server.path("client.pub")).expect("copy");
        let agent = Agent::start(&server.path("agent"));
        // More than are tried at one login.
        for number in 0..5 {
            let other = server.path(&format!("other{number}"));
            new_key(&other, "ed25519", "");
            agent.add(&other);
        }
        agent.add(&key);
        encrypt(&key, pem);
        caller.surroundings.agent_socket = Some(server.path("agent"));
        caller.terms.identity_file = None;
        assert_eq!(
            caller.refused().fault.class,
            FaultClass::Denied,
            "the others go before"
        );
        caller.terms.identity_file = Some(key);
        caller.connect().close();
    }
}

#[test]
fn an_encrypted_identity_file_that_the_agent_lacks_is_said_to_be_so() {
    let server = SshServer::sshd("");
    let mut caller = server.caller();
    let key = server.path("locked");
    new_key(&key, "ed25519", PHRASE);
    let _agent = Agent::start(&server.path("agent"));
    caller.surroundings.agent_socket = Some(server.path("agent"));
    caller.terms.identity_file = Some(key);
    let fault = caller.refused().fault;
    let told = "it is encrypted and the agent does not hold it (ssh-add)";
    assert!(fault.message.contains(told), "{fault}");
}
