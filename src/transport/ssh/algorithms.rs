//! Which algorithms we offer a server, in which order: those that hold today, and behind them, where the rule says
//! `old_algorithms = yes`, those that its age may leave it without. Decides by names alone; reaches no host.

use ssh2::{MethodType, Session};

/// What is agreed upon in a key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    KeyExchange,
    HostKey,
    Cipher,
    Mac,
}

/// On a processor that knows AES, where it takes a seventh of the time of ChaCha20.
const CIPHERS: [&str; 6] = [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];
const CIPHERS_WITHOUT_AES: [&str; 6] = [
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
];

/// Whether this processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::KeyExchange, Self::HostKey, Self::Cipher, Self::Mac];

    /// In words, for messages.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::KeyExchange => "key exchanges",
            Self::HostKey => "host key types",
            Self::Cipher => "ciphers",
            Self::Mac => "MACs",
        }
    }

    /// Offered to everybody, best first. Among ciphers the fastest is first.
    fn offered(self) -> &'static [&'static str] {
        match self {
            Self::KeyExchange => &[
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp256",
                "ecdh-sha2-nistp384",
                "ecdh-sha2-nistp521",
                "diffie-hellman-group-exchange-sha256",
                "diffie-hellman-group16-sha512",
                "diffie-hellman-group18-sha512",
                "diffie-hellman-group14-sha256",
            ],
            // No certificates: nobody here could check who signed them.
            Self::HostKey => &[
                "ssh-ed25519",
                "ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp384",
                "ecdsa-sha2-nistp521",
                "rsa-sha2-512",
                "rsa-sha2-256",
            ],
            Self::Cipher if has_aes() => &CIPHERS,
            Self::Cipher => &CIPHERS_WITHOUT_AES,
            Self::Mac => &[
                "hmac-sha2-256-etm@openssh.com",
                "hmac-sha2-512-etm@openssh.com",
                "hmac-sha2-256",
                "hmac-sha2-512",
            ],
        }
    }

    /// Offered behind the others where the rule allows it.
    fn old(self) -> &'static [&'static str] {
        match self {
            Self::KeyExchange => &[
                "diffie-hellman-group-exchange-sha1",
                "diffie-hellman-group14-sha1",
                "diffie-hellman-group1-sha1",
            ],
            Self::HostKey => &["ssh-rsa", "ssh-dss"],
            Self::Cipher => &[
                "aes256-cbc",
                "rijndael-cbc@lysator.liu.se",
                "aes192-cbc",
                "aes128-cbc",
                "3des-cbc",
            ],
            Self::Mac => &[
                "hmac-sha1-etm@openssh.com",
                "hmac-sha1",
                "hmac-sha1-96",
                "hmac-md5",
                "hmac-md5-96",
            ],
        }
    }

    /// What libssh2 negotiates it for.
    fn methods(self) -> &'static [MethodType] {
        match self {
            Self::KeyExchange => &[MethodType::Kex],
            Self::HostKey => &[MethodType::HostKey],
            Self::Cipher => &[MethodType::CryptCs, MethodType::CryptSc],
            Self::Mac => &[MethodType::MacCs, MethodType::MacSc],
        }
    }
}

/// What we offer one server.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    lists: [Vec<&'static str>; 4],
}

impl Offer {
    /// As libssh2 can: a build without old algorithms offers none.
    pub(super) fn new(session: &Session, old: bool) -> Result<Self, ssh2::Error> {
        let mut lists: [Vec<&'static str>; 4] = std::array::from_fn(|_| Vec::new());
        for (list, kind) in lists.iter_mut().zip(Kind::ALL) {
            let supported = session.supported_algs(kind.methods()[0])?;
            let old: &[&'static str] = if old { kind.old() } else { &[] };
            list.extend(
                kind.offered()
                    .iter()
                    .chain(old)
                    .filter(|name| supported.contains(name)),
            );
        }
        Ok(Self { lists })
    }

    /// The names of one kind, in order.
    pub(super) fn of(&self, kind: Kind) -> &[&'static str] {
        let [key_exchanges, host_keys, ciphers, macs] = &self.lists;
        match kind {
            Kind::KeyExchange => key_exchanges,
            Kind::HostKey => host_keys,
            Kind::Cipher => ciphers,
            Kind::Mac => macs,
        }
    }

    /// Puts those first that make use of a key type on record, for a key of another type reads as a change.
    pub(super) fn prefer_host_keys(&mut self, recorded: &[&str]) {
        let [_, host_keys, _, _] = &mut self.lists;
        // Stable: among those on record the order stays.
        host_keys.sort_by_key(|name| !recorded.contains(&key_type(name)));
    }

    /// Asks for one type of host key alone.
    pub(super) fn only_host_key(&mut self, wanted: &str) {
        let [_, host_keys, _, _] = &mut self.lists;
        host_keys.retain(|name| key_type(name) == wanted);
    }

    /// Tells libssh2.
    pub(super) fn apply(&self, session: &Session) -> Result<(), ssh2::Error> {
        for kind in Kind::ALL {
            let names = self.of(kind).join(",");
            for &method in kind.methods() {
                session.method_pref(method, &names)?;
            }
        }
        Ok(())
    }
}

/// The type of key that a signature algorithm makes use of.
pub(super) fn key_type(algorithm: &str) -> &str {
    if algorithm.starts_with("rsa-sha2-") {
        "ssh-rsa"
    } else {
        algorithm
    }
}

/// The types of key that a server can be asked for which makes these signatures.
pub(super) fn key_types(old: bool, theirs: &[String]) -> Vec<&'static str> {
    let old: &[&'static str] = if old { Kind::HostKey.old() } else { &[] };
    let mut types = Vec::new();
    for name in Kind::HostKey.offered().iter().chain(old) {
        if theirs.iter().any(|one| one == name) && !types.contains(&key_type(name)) {
            types.push(key_type(name));
        }
    }
    types
}

/// The old algorithms that a key exchange ended with.
pub(super) fn old_ones(session: &Session) -> Vec<&'static str> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        for &method in kind.methods() {
            let agreed = session.methods(method).unwrap_or_default();
            let old = kind.old().iter().find(|&&name| name == agreed);
            if let Some(&name) = old
                && !found.contains(&name)
            {
                found.push(name);
            }
        }
    }
    found
}

/// What was agreed upon: key exchange, and what goes out.
pub(super) fn agreed(session: &Session) -> String {
    let methods = [MethodType::Kex, MethodType::CryptCs, MethodType::MacCs];
    let names = methods
        .into_iter()
        .filter_map(|method| session.methods(method));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_of_libssh2_is_offered_old_or_left_out_on_purpose() {
        let session = Session::new().unwrap();
        for kind in Kind::ALL {
            let supported = session.supported_algs(kind.methods()[0]).unwrap();
            for name in &supported {
                assert!(
                    kind.offered().contains(name)
                        || kind.old().contains(name)
                        || name.contains("-cert-v01@")
                        || ["ext-info-c", "kex-strict-c-v00@openssh.com"].contains(name),
                    "{name} is new: where does it belong?"
                );
            }
            for name in kind.old() {
                assert!(
                    supported.contains(name),
                    "libssh2 was built without {name}: see .cargo/config.toml, which counts in its directory only"
                );
            }
        }
    }

    #[test]
    fn old_algorithms_are_offered_last_and_only_when_asked_for() {
        let session = Session::new().unwrap();
        let offer = Offer::new(&session, false).unwrap();
        let with_old = Offer::new(&session, true).unwrap();
        for kind in Kind::ALL {
            let names = offer.of(kind).join(",");
            for weak in [
                "cbc", "arcfour", "sha1", "md5", "-96", "ripemd", "ssh-dss", "ssh-rsa", "cert",
            ] {
                assert!(!names.contains(weak), "{weak} is in {names}");
            }
            assert!(
                with_old.of(kind).starts_with(offer.of(kind)),
                "{:?}",
                with_old.of(kind)
            );
        }
        let first = if has_aes() {
            "aes128-gcm@openssh.com"
        } else {
            "chacha20-poly1305@openssh.com"
        };
        assert_eq!(offer.of(Kind::Cipher).first(), Some(&first));
    }

    #[test]
    fn key_types_on_record_come_first() {
        let session = Session::new().unwrap();
        let mut offer = Offer::new(&session, true).unwrap();
        offer.prefer_host_keys(&["ssh-rsa", "ecdsa-sha2-nistp384"]);
        assert_eq!(
            offer.of(Kind::HostKey)[..5],
            [
                "ecdsa-sha2-nistp384",
                "rsa-sha2-512",
                "rsa-sha2-256",
                "ssh-rsa",
                "ssh-ed25519"
            ]
        );
        offer.only_host_key("ssh-rsa");
        assert_eq!(
            offer.of(Kind::HostKey),
            ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]
        );
    }
}
