//! A line to a server that lets so many bytes through and then holds them back until it is opened: an upload
//! that stands still for as long as a test wants.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::LIMIT;
use crate::testenv::wait_until;

#[derive(Default)]
struct Flow {
    left: AtomicU64,
    holds: AtomicBool,
    is_open: AtomicBool,
    is_over: AtomicBool,
}

/// The line; its near end is `port` of 127.0.0.1.
pub struct Gate {
    pub port: u16,
    flow: Arc<Flow>,
}

impl Gate {
    /// Leads to `port` and holds after `bytes` of what clients send.
    pub fn to(port: u16, bytes: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let near = listener.local_addr().expect("an address").port();
        let flow = Arc::new(Flow::default());
        flow.left.store(bytes, Ordering::SeqCst);
        let shared = Arc::clone(&flow);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.expect("a client");
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server");
                let (from, to) = (
                    client.try_clone().expect("dup"),
                    server.try_clone().expect("dup"),
                );
                let flow = Arc::clone(&shared);
                std::thread::spawn(move || pass(from, to, Some(&flow)));
                std::thread::spawn(move || pass(server, client, None));
            }
        });
        Self { port: near, flow }
    }

    /// Waits until bytes are held back.
    #[track_caller]
    pub fn holds(&self) {
        wait_until("the line stands still", LIMIT, || {
            self.flow.holds.load(Ordering::SeqCst)
        });
    }

    pub fn open(&self) {
        self.flow.is_open.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        self.flow.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, flow: Option<&Flow>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(flow) = flow {
            let left = flow.left.load(Ordering::SeqCst);
            flow.left
                .store(left.saturating_sub(count as u64), Ordering::SeqCst);
            while left == 0 && !flow.is_open.load(Ordering::SeqCst) {
                flow.holds.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
