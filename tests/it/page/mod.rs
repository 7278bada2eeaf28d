//! The page: one file that needs nothing, looked at in a real browser; the same served live beside its figures and its
//! health, by a worker that delivers meanwhile, whatever its clients do.

mod browser;
mod clients;
mod live;
mod report;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::pipeline::{LIMIT, Pipeline, Process};
use crate::testenv::wait_until;

/// A worker that serves its page.
struct Site {
    port: u16,
    worker: Process,
}

impl Site {
    /// Starts one on a port that the kernel picks.
    fn start(pipeline: &Pipeline) -> Self {
        let worker = pipeline.spawn(&["worker", "--listen", "127.0.0.1:0"]);
        let mut port = None;
        wait_until("the page is served", LIMIT, || {
            port = port_of(pipeline);
            port.is_some()
        });
        Self {
            port: port.expect("a port"),
            worker,
        }
    }

    /// A client's end of a connection.
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        let limit = Some(Duration::from_mins(1));
        stream.set_read_timeout(limit).expect("a time-out");
        stream
    }

    /// What is answered to these bytes, up to the end of the connection.
    fn say(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Who is refused early may see the connection close before all is written.
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &format!("127.0.0.1:{}", self.port), "")
    }

    fn ask(&self, method: &str, path: &str, host: &str, more: &str) -> Answer {
        self.say(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes())
    }
}

/// The port that the log of a worker tells, once it serves.
fn port_of(pipeline: &Pipeline) -> Option<u16> {
    let log = fs::read_to_string(pipeline.state().join("auto-dispatcher.log")).ok()?;
    let rest = log
        .split("the page is served on http://127.0.0.1:")
        .last()?;
    rest.split('/').next()?.parse().ok()
}

/// What a server said.
#[derive(Debug)]
struct Answer {
    /// 0: nothing.
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}
