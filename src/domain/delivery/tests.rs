//! The state machine of deliveries, by examples and by enumeration.

use super::*;

const STANDING: Standing = Standing {
    policy: RetryPolicy {
        retries: 1,
        delay: Duration::from_secs(10),
    },
    tries_used: 1,
    attempts: 1,
    install_began: false,
};

fn after(fault: Fault, standing: Standing) -> State {
    settle(Outcome::Faulted(fault), standing, 0.0).state()
}

#[test]
fn a_transient_fault_waits_until_the_attempts_are_used_up() {
    let fault = Fault::transient("connection lost");
    assert_eq!(after(fault.clone(), STANDING), State::Waiting);
    let used_up = Standing {
        tries_used: 2,
        ..STANDING
    };
    assert_eq!(after(fault, used_up), State::Failed);
}

#[test]
fn what_is_not_retried_fails_at_once_and_unknown_stays_unknown() {
    for class in FaultClass::ALL {
        let expected = match class {
            FaultClass::Unreachable | FaultClass::Transient => State::Waiting,
            FaultClass::Unknown => State::Unknown,
            _ => State::Failed,
        };
        assert_eq!(after(Fault::new(class, "x"), STANDING), expected, "{class}");
    }
}

#[test]
fn an_install_that_began_and_cannot_be_collected_is_unknown_and_never_failed() {
    let began = Standing {
        tries_used: 2,
        install_began: true,
        ..STANDING
    };
    for class in FaultClass::ALL {
        assert_eq!(
            after(Fault::new(class, "x"), began),
            State::Unknown,
            "{class}"
        );
    }
}

#[test]
fn faults_of_our_own_side_wait_and_use_up_nothing() {
    let many = Standing {
        tries_used: 99,
        attempts: 99,
        ..STANDING
    };
    let transition = settle(Outcome::Faulted(Fault::ours("rules broken")), many, 0.0);
    assert!(matches!(transition, Transition::Wait { counts: false, .. }));
}

#[test]
fn an_install_that_fails_is_never_repeated_by_itself() {
    for end in [InstallEnd::Exited(7), InstallEnd::TimedOut] {
        let state = settle(Outcome::Installed(end), STANDING, 0.0).state();
        assert_eq!(state, State::Failed);
    }
}

#[test]
fn a_dead_worker_makes_unknown_only_what_ran_attached() {
    assert_eq!(rescue(Step::Install, true).state(), State::Unknown);
    assert_eq!(rescue(Step::Install, false).state(), State::Queued);
    assert_eq!(rescue(Step::Upload, false).state(), State::Queued);
}

/// Every outcome that an attempt can have, in every standing that matters.
fn every_settling() -> Vec<Transition> {
    let mut outcomes = vec![Outcome::Delivered, Outcome::Interrupted];
    for end in [
        InstallEnd::Exited(0),
        InstallEnd::Exited(7),
        InstallEnd::TimedOut,
    ] {
        outcomes.push(Outcome::Installed(end));
    }
    outcomes.extend(FaultClass::ALL.map(|class| Outcome::Faulted(Fault::new(class, "x"))));
    outcomes.push(Outcome::Faulted(Fault::ours("x")));
    let mut all = Vec::new();
    for outcome in outcomes {
        for (tries_used, install_began) in [(1, false), (1, true), (9, false), (9, true)] {
            let standing = Standing {
                tries_used,
                install_began,
                ..STANDING
            };
            all.push(settle(outcome.clone(), standing, 0.5));
        }
    }
    for step in [Step::Export, Step::Upload, Step::Verify, Step::Install] {
        all.extend([true, false].map(|attached| rescue(step, attached)));
    }
    all
}

#[test]
fn no_transition_leaves_the_list_and_every_one_in_it_happens() {
    let mut seen = std::collections::HashSet::new();
    for state in [State::Queued, State::Waiting] {
        seen.insert((state, State::Running));
    }
    for transition in every_settling() {
        seen.insert((State::Running, transition.state()));
    }
    for state in State::ALL {
        for decision in [Decision::Retry, Decision::Cancel, Decision::Dismiss] {
            match decision.of(state) {
                // Dismissing changes what is asked of a delivery, not its state.
                Ok(next) if decision != Decision::Dismiss => {
                    seen.insert((state, next));
                }
                Ok(next) => assert_eq!(next, state),
                Err(why) => assert!(!why.is_empty()),
            }
        }
    }
    for from in State::ALL {
        for to in State::ALL {
            assert_eq!(
                from.may_become(to),
                seen.contains(&(from, to)),
                "{from} -> {to}"
            );
        }
    }
}

#[test]
fn every_state_that_can_be_reached_has_a_way_on_or_is_final() {
    let mut reached = std::collections::HashSet::from([State::Queued]);
    loop {
        let next: Vec<State> = State::ALL
            .into_iter()
            .filter(|&to| reached.iter().any(|from| from.may_become(to)))
            .collect();
        let before = reached.len();
        reached.extend(next);
        if reached.len() == before {
            break;
        }
    }
    assert_eq!(
        reached.len(),
        State::ALL.len(),
        "a state that nothing leads to"
    );
    for state in State::ALL {
        let ways: Vec<State> = State::ALL
            .into_iter()
            .filter(|&to| state.may_become(to))
            .collect();
        let is_final = matches!(state, State::Done | State::Cancelled);
        assert_eq!(ways.is_empty(), is_final, "{state}: {ways:?}");
        // What waits for a worker gets one; what does not is the operator's.
        if state.is_open() && state != State::Running {
            assert!(ways.contains(&State::Running), "{state}");
        }
        if !state.is_open() && !is_final {
            assert_eq!(Decision::Retry.of(state), Ok(State::Queued));
            assert!(Decision::Dismiss.of(state).is_ok());
        }
    }
}

#[test]
fn words_come_back_as_they_were() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
    }
}
