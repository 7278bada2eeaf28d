//! What FTP servers say, and what is said to them: the input is a reply, a listing, a directory and a name. A quotation
//! is one bounded line, an echoed secret is masked, a path is absolute, and nothing that is sent ends a command.

use auto_dispatcher::domain::secret::Secret;
use auto_dispatcher::domain::text::escape;
use auto_dispatcher::transport::ftp::probes;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    if let Some(told) = probes::reply(data) {
        assert!(told.code <= 999);
        assert!(told.quote.chars().count() <= 303 && !told.quote.contains('\n'));
        assert!(told.refusal.message.contains(&*escape(&told.quote)));
        let digest = told.sha256.unwrap_or_else(|| "0".repeat(64));
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = String::from_utf8_lossy(data).len();
        assert!(told.path.is_none_or(|path| length > path.len()));
    }
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, &text));
    if !first.contains('*') && !first.is_empty() {
        let echoed = format!("530-{first}\r\n{rest}\r\n530 no {first}{first}");
        let shown = probes::masked(echoed.as_bytes(), &Secret::new(first.to_owned()));
        // A secret of the code's own digits takes the code with it.
        assert!(shown.is_none_or(|shown| !shown.contains(first)));
    }
    probes::listed_size(&text, first);
    probes::listed_size(rest, "/in/app-1.0.tar");
    paths(first, rest);
}

fn paths(first: &str, rest: &str) {
    let name = rest.lines().next().unwrap_or_default();
    for home in ["/", "/home/u", name] {
        let path = probes::absolute(first, home);
        assert!(path.starts_with('/') || !home.starts_with('/'), "{path:?}");
        assert!(!path.contains("//"), "{path:?}");
        assert!(path == "/" || !path.ends_with('/'), "{path:?}");
        let levels = probes::levels(&path);
        assert_eq!(
            levels.len(),
            path.matches('/').count() - usize::from(path == "/")
        );
        assert!(levels.iter().all(|level| path.starts_with(level)));
        let joined = probes::join(&path, name);
        assert!(joined.ends_with(name));
        if probes::may_be_sent(&joined) {
            assert!(!joined.contains(['\r', '\n', '\0']));
        }
    }
}
