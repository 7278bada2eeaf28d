//! A small HTTP server for one process's own page: it reads what clients send, answers from what a handler gives, and
//! outlasts clients that send too much, too little or nothing. One thread serves all connections, so that no number of
//! them takes threads or memory from the work of the process. Knows nothing of what is served.

mod connection;
mod guard;
mod request;
mod server;

pub use guard::Guard;
pub use request::Request;
pub use server::{Ended, Server, Stopper, serve};

use std::sync::Arc;

/// What a handler answers.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Security-Policy`, where it is a page.
    pub policy: Option<String>,
    /// A further header.
    pub more: Option<(&'static str, &'static str)>,
    /// The body; shared, for many may be read at the same time.
    pub body: Arc<Vec<u8>>,
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::of(status, "text/plain; charset=utf-8", text.into())
    }

    /// A body of some type.
    pub fn of(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            policy: None,
            more: None,
            body: Arc::new(body.into_bytes()),
        }
    }

    /// The bytes before the body. Each connection serves one request: what is behind it is not looked at, so there is
    /// nothing to smuggle. No other origin may read, embed or frame what is answered.
    fn head(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let policy = self.policy.as_deref().unwrap_or("default-src 'none'");
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\n\
             Content-Security-Policy: {policy}; frame-ancestors 'none'\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if let Some((name, value)) = self.more {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}
