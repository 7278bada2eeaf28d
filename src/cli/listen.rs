//! `worker --listen`: the page of this site, its figures and its health, served while a worker works. Deliveries come
//! first: what goes wrong here is told and tried on, and ends no worker.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Globals;
use super::machine::machine;
use super::page::standard_bounds;
use super::setup::Setup;
use crate::config::listening::Listening;
use crate::domain::event::Event;
use crate::error::{Error, Result};
use crate::http::{Ended, Guard, Request, Response, Server, Stopper, serve};
use crate::page::{Facts, Standing, health, metrics, page, status_json};
use crate::worker::Context;

/// How long an answer is given again: many who ask cost no more than one.
const KEPT: Duration = Duration::from_secs(2);
/// An answer that took long to make is kept so many times as long.
const KEPT_TIMES: u32 = 5;
/// Pause before an address that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);

const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    Page,
    Metrics,
    Health,
    Status,
}

impl Wanted {
    fn parse(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/metrics" => Some(Self::Metrics),
            "/health" => Some(Self::Health),
            "/status.json" => Some(Self::Status),
            _ => None,
        }
    }
}

struct Site<'a> {
    setup: &'a Setup,
    globals: &'a Globals,
    context: &'a Context,
    /// Answers, and until when they are given again.
    kept: HashMap<Wanted, (Instant, Response)>,
}

/// Serves the page, if it is to be served, while `work` works.
pub(super) fn while_serving<T>(
    listening: Option<&Listening>,
    (setup, globals): (&Setup, &Globals),
    context: &Context,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(listening) = listening else {
        return work();
    };
    let guard = Guard {
        token: listening
            .token()
            .map_err(|finding| Error::config(finding.to_string()))?,
    };
    let failed = |error: &std::io::Error| Error::state(format!("cannot serve the page: {error}"));
    let (stopper, ended) = Stopper::new().map_err(|error| failed(&error))?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("page".to_owned())
            .spawn_scoped(scope, move || {
                let mut site = Site {
                    setup,
                    globals,
                    context,
                    kept: HashMap::new(),
                };
                site.serve(listening, &ended, &guard);
            })
            .map_err(|error| failed(&error))?;
        let worked = work();
        drop(stopper);
        worked
    })
}

impl Site<'_> {
    fn serve(&mut self, listening: &Listening, ended: &Ended, guard: &Guard) {
        if let Some(message) = listening.warning() {
            self.tell(message);
        }
        let mut is_told = false;
        let server = loop {
            match Server::bind(listening.address) {
                Ok(server) => break server,
                Err(error) if !is_told => self.tell(format!(
                    "cannot serve the page on {}: {error}; deliveries go on, and it is tried again (`ss -ltnp` shows \
                     who listens there)",
                    listening.address
                )),
                Err(_) => {}
            }
            is_told = true;
            if ended.within(AGAIN) {
                return;
            }
        };
        let address = server.address().unwrap_or(listening.address);
        self.tell(format!("the page is served on http://{address}/"));
        serve(&server, ended, guard, &mut |request| self.answer(request));
    }

    fn tell(&self, message: String) {
        (self.context.report)(&Event::Notice { message });
    }

    fn answer(&mut self, request: &Request) -> Response {
        if request.path == "/favicon.ico" {
            return Response::text(204, "");
        }
        let Some(wanted) = Wanted::parse(&request.path) else {
            return Response::text(404, "there are /, /metrics, /health and /status.json\n");
        };
        let begun = Instant::now();
        if let Some((until, response)) = self.kept.get(&wanted)
            && *until > begun
        {
            return response.clone();
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.make(wanted)));
        let response = match made {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => Response::text(503, format!("{}\n", error.one_line())),
            Err(_) => Response::text(
                500,
                "a bug in auto-dispatcher: the page could not be made\n",
            ),
        };
        let until = Instant::now() + KEPT.max(begun.elapsed() * KEPT_TIMES);
        self.kept.insert(wanted, (until, response.clone()));
        response
    }

    /// Opens the journal each time: it may have been moved away, and who keeps it open between two questions keeps
    /// nothing from being folded into it.
    fn make(&self, wanted: Wanted) -> Result<Response> {
        let (state, journal) = self.setup.look()?;
        let stalled_s = Some(self.context.pulse.age().as_secs());
        let machine = machine(self.setup, self.globals, (&state, &journal), stalled_s)?;
        if wanted == Wanted::Page {
            let bounds = standard_bounds(machine.now);
            let page = page(&Facts::read(&journal, machine, bounds)?, true)?;
            let mut response = Response::of(200, HTML, page.html);
            response.policy = Some(page.policy);
            return Ok(response);
        }
        let standing = Standing::read(&journal, machine)?;
        Ok(match wanted {
            Wanted::Metrics => Response::of(200, PROMETHEUS, metrics(&standing)),
            Wanted::Status => Response::of(200, JSON, status_json(&standing)),
            _ => match health(&standing) {
                None => Response::of(200, TEXT, "ok\n".to_owned()),
                Some(reasons) => Response::of(503, TEXT, reasons),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_can_be_asked_for() {
        assert_eq!(Wanted::parse("/metrics"), Some(Wanted::Metrics));
        for path in ["", "//", "/metrics/", "/../etc/passwd", "/index.html"] {
            assert_eq!(Wanted::parse(path), None, "{path}");
        }
    }
}
