//! netrc files. An entry is found again by its host and login, lines exist, mistakes quote nothing; and three words
//! that are written in quotes come back.

use std::path::Path;

use auto_dispatcher::config::finding::Mistakes;
use auto_dispatcher::config::netrc::Netrc;

use super::rules;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let file = Path::new("/root/.netrc");
    match Netrc::parse(file, data) {
        Ok(netrc) => {
            let mut last = 1;
            // Each look-up goes through all entries.
            for entry in netrc.entries.iter().take(20) {
                assert!((last..=rules::lines(data)).contains(&entry.line));
                last = entry.line;
                assert!(!entry.machine.is_empty());
                let found = netrc.find(&entry.machine, Some(&entry.login));
                let found = found.expect("found by its host and login");
                assert_eq!(
                    (&found.machine, &found.login),
                    (&entry.machine, &entry.login)
                );
                let debug = format!("{:?}", entry.password);
                assert_eq!(debug, "***");
            }
        }
        Err(finding) => rules::are_told(&Mistakes(vec![finding]), data),
    }
    words(file, data);
}

fn words(file: &Path, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.splitn(3, ['\n', '\r']).collect();
    let [host, login, password] = words.as_slice() else {
        return;
    };
    // Line ends are made plain before anything is read.
    if host.is_empty() || password.contains('\r') {
        return;
    }
    let written = format!(
        "# {host}\nmachine {} login {}\n\tpassword {}\n",
        quoted(host),
        quoted(login),
        quoted(password)
    );
    let netrc = Netrc::parse(file, written.as_bytes()).expect("three quoted words");
    let entry = netrc.entries.first().expect("one entry");
    assert_eq!(
        [
            entry.machine.as_str(),
            &entry.login,
            entry.password.expose()
        ],
        [*host, login, password]
    );
    assert_eq!((netrc.entries.len(), entry.line), (1, 2));
}

fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
