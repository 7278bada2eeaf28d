//! The conformance suite on every SSH server that we know of.

use crate::conformance::run_all;
use crate::servers::ssh::SshServer;
use crate::testenv::needs_root;

#[test]
fn openssh_with_a_key_keeps_the_contract() {
    run_all(&SshServer::sshd(""));
}

#[test]
fn openssh_with_a_password_keeps_the_contract() {
    needs_root!();
    run_all(&SshServer::sshd_with_user("/bin/bash", ""));
}

#[test]
fn openssh_with_one_channel_at_a_time_keeps_the_contract() {
    run_all(&SshServer::sshd("MaxSessions 1"));
}

#[test]
fn openssh_with_csh_keeps_the_contract() {
    needs_root!();
    run_all(&SshServer::sshd_with_user("/usr/bin/tcsh", ""));
}

#[test]
fn openssh_without_sftp_keeps_the_contract() {
    run_all(&SshServer::sshd("Subsystem sftp /bin/false"));
}

#[test]
fn chrooted_internal_sftp_keeps_the_contract() {
    needs_root!();
    run_all(&SshServer::chrooted());
}

#[test]
fn dropbear_keeps_the_contract() {
    needs_root!();
    run_all(&SshServer::dropbear());
}
