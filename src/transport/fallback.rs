//! Which transport serves: the rule's transports in order, by the table of faults. A host that has
//! proved an SSH key is an SSH host: its password is not sent in clear unless the rule lists `ftp`.

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::target::TransportKind;
use crate::transport::{Dial, Session, ftp, ssh};

/// Opens a session by the first of the rule's transports that serves, leaving out those in `given_up`.
/// `on_fault` hears of each transport that was passed over, and why.
pub fn connect(
    dial: &Dial<'_>,
    given_up: &[TransportKind],
    on_fault: &mut dyn FnMut(TransportKind, &Fault),
) -> Result<Box<dyn Session>, Fault> {
    let mut faults: Vec<(TransportKind, Fault)> = Vec::new();
    for &kind in &dial.terms.transports {
        if given_up.contains(&kind) {
            continue;
        }
        let opened = if kind == TransportKind::Ftp && is_ssh_host(dial) {
            Err(Fault::unsupported(format!(
                "{} has proved an SSH key, so its password is not sent in clear; list `ftp` in the rule's transports to allow it",
                dial.target.host
            )))
        } else {
            open(kind, dial)
        };
        match opened {
            Ok(session) => return Ok(session),
            Err(fault) if fault.class.tries_next_transport() => {
                on_fault(kind, &fault);
                faults.push((kind, fault));
            }
            Err(fault) => return Err(fault),
        }
    }
    Err(sum(&faults))
}

fn open(kind: TransportKind, dial: &Dial<'_>) -> Result<Box<dyn Session>, Fault> {
    match kind {
        TransportKind::Ssh => ssh::connect(dial),
        TransportKind::Ftps | TransportKind::Ftp => ftp::connect(kind, dial),
    }
}

fn is_ssh_host(dial: &Dial<'_>) -> bool {
    !dial.terms.ftp_is_named && ssh::has_proved_key(dial)
}

/// One fault out of those of all transports: unreachable if any was, since that may pass.
fn sum(faults: &[(TransportKind, Fault)]) -> Fault {
    let class = match faults
        .iter()
        .any(|(_, fault)| fault.class == FaultClass::Unreachable)
    {
        true => FaultClass::Unreachable,
        false => FaultClass::Unsupported,
    };
    if faults.is_empty() {
        return Fault::unsupported(
            "none of the rule's transports serves this host; see `transports`",
        );
    }
    let messages: Vec<String> = faults
        .iter()
        .map(|(kind, fault)| format!("{kind}: {}", fault.message))
        .collect();
    Fault::new(class, messages.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unreachable_transport_makes_the_sum_unreachable() {
        let faults = [
            (TransportKind::Ssh, Fault::unreachable("refused")),
            (TransportKind::Ftps, Fault::unsupported("no TLS")),
        ];
        let fault = sum(&faults);
        assert_eq!(fault.to_string(), "unreachable: ssh: refused; ftps: no TLS");
    }
}
