//! Who is answered. Without a token only who means this machine by its own address: a page of the web whose name was
//! made to lead here (DNS rebinding) asks by that name, and learns nothing. With a token, who shows it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Request, Response};
use crate::domain::secret::Secret;

/// Who is let in.
#[derive(Debug)]
pub struct Guard {
    /// What has to be shown; none: nothing, and the address has to be one of this machine alone.
    pub token: Option<Secret>,
}

impl Guard {
    /// The answer to somebody who is not let in; none: he is.
    pub(super) fn refusal(&self, request: &Request) -> Option<Response> {
        let Some(token) = &self.token else {
            return (!is_loopback(&request.host)).then(|| {
                Response::text(
                    421,
                    "this is asked by an address of this machine, as in http://127.0.0.1:PORT/\n",
                )
            });
        };
        let shown = request.authorization.as_deref().unwrap_or_default();
        if shown_token(shown).is_some_and(|shown| is_equal(shown.expose(), token.expose())) {
            return None;
        }
        let mut refusal = Response::text(401, "the token of listen_token_file is asked for\n");
        refusal.more = Some((
            "WWW-Authenticate",
            "Basic realm=\"auto-dispatcher: any name, and the token as password\", charset=\"UTF-8\"",
        ));
        Some(refusal)
    }
}

/// Whether `host`, with or without a port, names this machine by an address of its own, or by `localhost`.
fn is_loopback(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    without_port.eq_ignore_ascii_case("localhost")
        || bare
            .unwrap_or(without_port)
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `Bearer TOKEN`, as Prometheus shows it, or `Basic`, as browsers do: the password, whatever the name.
fn shown_token(authorization: &str) -> Option<Secret> {
    let (scheme, value) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Secret::new(value.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(Secret::new(password.to_owned()))
}

/// Takes as long for the first difference as for the last.
fn is_equal(shown: &str, token: &str) -> bool {
    let different = shown
        .bytes()
        .zip(token.bytes())
        .fold(0, |different, (one, other)| different | (one ^ other));
    shown.len() == token.len() && different == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &Guard, host: &str, authorization: Option<&str>) -> Option<u16> {
        let request = Request {
            is_head: false,
            path: "/".to_owned(),
            host: host.to_owned(),
            authorization: authorization.map(str::to_owned),
        };
        guard.refusal(&request).map(|response| response.status)
    }

    #[test]
    fn only_addresses_of_this_machine_name_it() {
        let guard = Guard { token: None };
        for host in [
            "127.0.0.1:9797",
            "127.9.9.9",
            "localhost:1",
            "LOCALHOST",
            "[::1]:9797",
        ] {
            assert_eq!(refused(&guard, host, None), None, "{host}");
        }
        for host in [
            "evil.example:9797",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "",
            "10.0.0.1:9797",
            "127.0.0.1@evil.example",
        ] {
            assert_eq!(refused(&guard, host, None), Some(421), "{host}");
        }
    }

    #[test]
    fn a_token_is_shown_as_a_bearer_or_as_a_password() {
        let guard = Guard {
            token: Some(Secret::new("a-long-token-of-ours".to_owned())),
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for right in [
            "Bearer a-long-token-of-ours".to_owned(),
            basic("any:a-long-token-of-ours"),
        ] {
            assert_eq!(
                refused(&guard, "any.example", Some(&right)),
                None,
                "{right}"
            );
        }
        for wrong in [
            "Bearer a-long-token-of-our".to_owned(),
            "Bearer ".to_owned(),
            "a-long-token-of-ours".to_owned(),
            basic("a-long-token-of-ours:"),
            "Basic !".to_owned(),
        ] {
            assert_eq!(
                refused(&guard, "127.0.0.1", Some(&wrong)),
                Some(401),
                "{wrong}"
            );
        }
        assert_eq!(refused(&guard, "127.0.0.1", None), Some(401));
    }
}
