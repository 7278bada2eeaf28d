//! From the bytes of a client to a request, or to the reason why it is none. httparse reads the header; what it lets
//! through is narrowed here: two methods, one form of target, one Host, no body.

use super::Response;

/// The most that a client may send before its request is complete.
pub(super) const HEAD_MAX_BYTES: usize = 8 << 10;
/// The most headers that are looked at.
const HEADERS_MAX: usize = 64;

/// A request that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether the body is not wanted.
    pub is_head: bool,
    /// The path, without what stands behind `?`.
    pub path: String,
    /// The name that the client knows us by.
    pub host: String,
    /// What it shows to be let in.
    pub authorization: Option<String>,
}

/// What the bytes so far are.
pub(super) enum Parsed {
    /// The beginning of a request.
    Partial,
    /// A request.
    Whole(Request),
    /// None, and what to say to that.
    Refused(Response),
}

fn refused(status: u16, why: &str) -> Parsed {
    Parsed::Refused(Response::text(status, format!("{why}\n")))
}

/// Looks at what a client has sent.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => judge(&head),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX_BYTES => Parsed::Partial,
        Ok(httparse::Status::Partial) => refused(431, "the request is longer than 8 KiB"),
        Err(httparse::Error::TooManyHeaders) => {
            refused(431, "the request has more than 64 headers")
        }
        Err(error) => refused(400, &format!("this is no HTTP request: {error}")),
    }
}

fn judge(head: &httparse::Request<'_, '_>) -> Parsed {
    let mut hosts = Vec::new();
    let mut authorization = None;
    for header in head.headers.iter() {
        let text = || String::from_utf8_lossy(header.value).trim().to_owned();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("transfer-encoding") || (is("content-length") && text() != "0") {
            return refused(400, "a request with a body is not answered");
        }
        if is("host") {
            hosts.push(text());
        } else if is("authorization") {
            authorization = Some(text());
        }
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => {
            let mut response =
                Response::text(405, "only GET and HEAD: nothing can be changed here\n");
            response.more = Some(("Allow", "GET, HEAD"));
            return Parsed::Refused(response);
        }
    };
    let [host] = &mut hosts[..] else {
        return refused(400, "a request has exactly one Host header");
    };
    let target = head.path.unwrap_or_default();
    if !target.starts_with('/') {
        return refused(400, "the target of a request begins with a slash");
    }
    Parsed::Whole(Request {
        is_head,
        path: target
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .to_owned(),
        host: std::mem::take(host),
        authorization,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Parsed::Partial => 0,
            Parsed::Whole(_) => 200,
            Parsed::Refused(response) => response.status,
        }
    }

    #[test]
    fn only_plain_requests_are_answered() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_MAX_BYTES));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(70));
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
            ("HEAD /x?y HTTP/1.0\r\nhost: h\r\n\r\nrest", 200),
            ("GET / HTTP/1.1\r\nHost: h\r\n", 0),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
                400,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1} garbage\r\n\r\n", 400),
            (&long, 431),
            (&many, 431),
        ] {
            assert_eq!(status(text), expected, "{text:.60}");
        }
    }

    #[test]
    fn the_path_is_without_its_query() {
        let Parsed::Whole(request) = parse(b"HEAD /metrics?a=/b HTTP/1.1\r\nHost: [::1]:9\r\n\r\n")
        else {
            panic!("a request");
        };
        assert_eq!((request.path.as_str(), request.is_head), ("/metrics", true));
        assert_eq!(request.host, "[::1]:9");
    }
}
