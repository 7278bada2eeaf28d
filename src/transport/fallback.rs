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
    // A session over SSH that was given up had proved a key.
    let mut proved = given_up.contains(&TransportKind::Ssh);
    for &kind in &dial.terms.transports {
        if given_up.contains(&kind) {
            continue;
        }
        let opened = if kind == TransportKind::Ftp
            && !dial.terms.ftp_is_named
            && (proved || ssh::known_key(dial)?)
        {
            Err(Fault::unsupported(format!(
                "{} has proved an SSH key, so its password is not sent in clear; list `ftp` in the rule's transports to allow it",
                dial.target.host
            )))
        } else {
            open(kind, dial, &mut proved)
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

fn open(
    kind: TransportKind,
    dial: &Dial<'_>,
    proved: &mut bool,
) -> Result<Box<dyn Session>, Fault> {
    match kind {
        TransportKind::Ssh => ssh::connect(dial).map_err(|error| {
            *proved |= error.proved.is_some();
            error.fault
        }),
        TransportKind::Ftps | TransportKind::Ftp => ftp::connect(kind, dial),
    }
}

/// One fault out of those of all transports: unreachable if any was, since that may pass.
fn sum(faults: &[(TransportKind, Fault)]) -> Fault {
    let class = if faults
        .iter()
        .any(|(_, fault)| fault.class == FaultClass::Unreachable)
    {
        FaultClass::Unreachable
    } else {
        FaultClass::Unsupported
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
