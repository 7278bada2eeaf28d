//! The board as it looks on terminals of several sizes.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{TimeZone as _, Utc};

use super::board::{Board, Now, Unit};
use super::layout::{Space, lines};
use crate::cli::screen::width_of;
use crate::domain::delivery::{Step, Transition};
use crate::domain::event::{Event, Subject};
use crate::domain::fault::Fault;
use crate::journal::Tally;

const MIB: u64 = 1 << 20;

fn at(seconds: u64) -> Now {
    Now {
        since_start: Duration::from_secs(seconds),
        wall: Utc
            .timestamp_opt(1_790_000_000 + seconds.cast_signed(), 0)
            .unwrap(),
    }
}

fn subject(delivery: i64, package: &str, lane: &str) -> Subject {
    Subject {
        delivery,
        batch: 1,
        package: package.to_owned(),
        lane: lane.to_owned(),
    }
}

fn begins(board: &mut Board, subject: &Subject, step: Step, now: Now) {
    let (subject, attempt) = (subject.clone(), 1);
    board.event(
        &Event::AttemptStarted {
            subject: subject.clone(),
            attempt,
        },
        now,
    );
    board.event(&Event::StepStarted { subject, step }, now);
}

fn moves(board: &mut Board, subject: &Subject, bytes: u64, total: u64, now: Now) {
    let subject = subject.clone();
    let event = Event::Progress {
        subject,
        bytes,
        total,
    };
    board.event(&event, now);
}

fn settles(board: &mut Board, subject: &Subject, transition: Transition, now: Now) {
    let event = Event::Settled {
        subject: subject.clone(),
        attempt: 1,
        transition,
        exit_status: None,
    };
    board.event(&event, now);
}

/// Two hundred hosts: some are worked, one waits, one is done, one has failed.
fn two_hundred() -> Board {
    let mut board = Board::default();
    board.follow(false, at(0));
    let lane = |number: u64| format!("deploy@10.1.2.{number}");
    let of = |id: u32, package| subject(id.into(), package, &lane(id.into()));
    let big = of(1, "core-banking-2026.11.24-hotfix3.tar.gz");
    let chinese = of(2, "核心系统升级包-2026.11.tar");
    let hostile = of(3, "x\u{1b}[2J\r\nevil.tar");
    let waiting = of(4, "app-1.0.tar");
    begins(&mut board, &big, Step::Upload, at(1));
    begins(&mut board, &chinese, Step::Upload, at(1));
    for second in 2..=10 {
        moves(&mut board, &big, second * MIB, 40 * MIB, at(second));
        moves(&mut board, &chinese, second * 2 * MIB, 40 * MIB, at(second));
    }
    begins(&mut board, &hostile, Step::Install, at(5));
    begins(&mut board, &waiting, Step::Upload, at(6));
    let transition = Transition::Wait {
        delay: Duration::from_secs(20),
        fault: Fault::unreachable("cannot connect to 10.1.2.4:22: connection refused\u{7}"),
        counts: true,
    };
    settles(&mut board, &waiting, transition, at(7));
    for id in [5, 6] {
        let done = of(id, "app-1.0.tar");
        begins(&mut board, &done, Step::Install, at(3));
        settles(&mut board, &done, Transition::Done, at(9));
    }
    board.note(Tally {
        all: 200,
        done: 1,
        troubled: 1,
        bytes: 8000 * MIB,
        bytes_settled: 80 * MIB,
        lanes: (1..=200)
            .filter(|id| ![5, 6].contains(id))
            .map(lane)
            .collect::<HashSet<_>>(),
        ..Tally::default()
    });
    board
}

fn shown(board: &Board, columns: usize, rows: usize, now: Now) -> String {
    let shown = lines(board, Space { columns, rows }, now);
    assert!(shown.len() < rows, "{} lines of {rows}", shown.len());
    let mut text = String::new();
    for line in shown {
        let line: String = line.into_iter().map(|(_, text)| text).collect();
        assert!(
            width_of(&line) < columns,
            "{} of {columns}: {line}",
            width_of(&line)
        );
        assert!(!line.chars().any(char::is_control), "{line:?}");
        text += line.trim_end();
        text += "\n";
    }
    text
}

fn is_as_before(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d\d:\d\d:\d\d", "HH:MM:SS");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("../../../tests/it/snapshots");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn bars_fit_wide_and_narrow_terminals() {
    let board = two_hundred();
    for columns in [120, 80, 40] {
        is_as_before(
            &format!("bars_{columns}"),
            &shown(&board, columns, 24, at(10)),
        );
    }
    for columns in 2..200 {
        for rows in 5..30 {
            shown(&board, columns, rows, at(10));
        }
    }
}

#[test]
fn those_that_do_not_fit_are_counted() {
    let text = shown(&two_hundred(), 100, 5, at(10));
    assert!(text.contains("196 targets more to be served"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn what_an_earlier_attempt_has_brought_makes_nothing_faster() {
    let mut board = Board::default();
    board.follow(false, at(0));
    let one = subject(1, "a", "l@h");
    begins(&mut board, &one, Step::Upload, at(1));
    for second in 2..=6 {
        moves(
            &mut board,
            &one,
            (500 + second) * MIB,
            1000 * MIB,
            at(second),
        );
    }
    assert_eq!(board.rate.per_second(at(6).since_start), Some(MIB));
}

#[test]
fn what_is_uploaded_counts_while_it_is_installed_and_no_longer_twice() {
    let mut board = Board::default();
    board.follow(false, at(0));
    let one = subject(1, "a", "l@h");
    let tally = |bytes_settled| Tally {
        all: 1,
        bytes: 10 * MIB,
        bytes_settled,
        ..Tally::default()
    };
    begins(&mut board, &one, Step::Upload, at(1));
    moves(&mut board, &one, 10 * MIB, 10 * MIB, at(2));
    board.event(
        &Event::StepStarted {
            subject: one.clone(),
            step: Step::Install,
        },
        at(3),
    );
    board.note(tally(0));
    assert_eq!(board.bytes(), Some((10 * MIB, 10 * MIB)));
    settles(&mut board, &one, Transition::Done, at(4));
    board.note(tally(10 * MIB));
    assert_eq!(board.bytes(), Some((10 * MIB, 10 * MIB)));
}

#[test]
fn what_takes_long_before_any_delivery_is_shown_with_how_far_it_is() {
    let mut board = Board::default();
    let stage = board.begin("digesting 核心.tar", Unit::Bytes, at(0));
    for second in 1..=4 {
        board.advance(stage, second * MIB, Some(8 * MIB), at(second));
    }
    board.event(
        &Event::TakingStock {
            directory: "/srv/in".to_owned(),
            files: 12_000,
            directories: 7,
        },
        at(4),
    );
    is_as_before("stages_60", &shown(&board, 60, 24, at(4)));
    for columns in 2..80 {
        shown(&board, columns, 5, at(4));
    }
    board.end(stage);
    board.event(
        &Event::StockTaken {
            directory: "/srv/in".to_owned(),
            files: 12_001,
        },
        at(5),
    );
    assert_eq!(shown(&board, 60, 24, at(5)), "");
    let copying = Event::Copying {
        path: "/srv/in/a".to_owned(),
        bytes: 1,
        total: 2,
    };
    board.event(&copying, at(6));
    board.tidy(at(7));
    assert!(shown(&board, 60, 24, at(7)).contains("copying /srv/in/a"));
    board.tidy(at(60));
    assert_eq!(
        shown(&board, 60, 24, at(60)),
        "",
        "nobody told of it any more"
    );
}
