//! Tests of `config::logger`.

use super::*;

/// The file as it stands in the old script's documentation.
const LEGACY: &str = r#"[loggers]
keys=root,main

[logger_root]
level=DEBUG
handlers=stderr

[logger_main]
level=DEBUG
handlers=stderr,file
qualname="main"
propagate=0

[handlers]
keys=stderr,file

[handler_stderr]
class=StreamHandler
formatter=default
args=(sys.stderr,)

[handler_file]
class=handlers.RotatingFileHandler
formatter=default
args=("auto-dispatcher.log","a",10*1024*1024,5)

[formatters]
keys=default

[formatter_default]
format=%(asctime)s [%(thread)d] %(filename)s[line:%(lineno)d] %(levelname)s %(message)s
"#;

fn parse_text(text: &str) -> Result<LogSettings, Mistakes> {
    parse(
        Path::new("logger.cfg"),
        text.as_bytes(),
        Path::new("/state"),
    )
}

fn targets(text: &str) -> Vec<SinkKind> {
    parse_text(text)
        .unwrap()
        .sinks
        .into_iter()
        .map(|sink| sink.kind)
        .collect()
}

#[test]
fn the_old_file_works_as_it_stands_and_is_the_default() {
    assert_eq!(parse_text(LEGACY).unwrap(), standard(Path::new("/state")));
    let indented = LEGACY.replace('\n', "\n  ");
    assert_eq!(
        parse_text(&format!("  {indented}")).unwrap(),
        standard(Path::new("/state"))
    );
    let nowhere = load(Path::new("/nowhere/logger.cfg"), Path::new("/state"));
    assert_eq!(nowhere.unwrap(), None);
}

#[test]
fn a_logger_that_propagates_has_the_handlers_of_root_too() {
    let text = LEGACY
        .replace("propagate=0", "propagate=1")
        .replace("handlers=stderr,file", "handlers=file");
    let targets = targets(&text);
    assert!(
        matches!(targets.as_slice(), [SinkKind::File(_), SinkKind::Stderr]),
        "{targets:?}"
    );
}

#[test]
fn without_a_main_logger_root_counts() {
    let text = LEGACY
        .replace("qualname=\"main\"", "qualname=other")
        .replace("[logger_root]\nlevel=DEBUG", "[logger_root]\nlevel=ERROR");
    let config = parse_text(&text).unwrap();
    assert_eq!(config.level, LogLevel::Error);
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn handlers_take_keyword_arguments_levels_and_date_formats() {
    let text = LEGACY
        .replace(
            "args=(sys.stderr,)",
            "kwargs={'stream': sys.stdout}\nlevel=WARNING",
        )
        .replace(
            "(\"auto-dispatcher.log\",\"a\",10*1024*1024,5)",
            "('x.log', 'w')\nkwargs={'backupCount': 2}",
        )
        .replace(
            "[formatter_default]",
            "[formatter_default]\ndatefmt=%H:%M:%S",
        );
    let config = parse_text(&text).unwrap();
    let [out, file] = config.sinks.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(
        (&out.kind, out.level),
        (&SinkKind::Stdout, LogLevel::Warning)
    );
    let standard_format = &standard(Path::new("/state")).sinks[0].format;
    assert_ne!(&out.format, standard_format, "the date format is lost");
    let expected = SinkKind::File(FileSink {
        path: "/state/x.log".into(),
        append: false,
        max_bytes: 0,
        backups: 2,
    });
    assert_eq!(file.kind, expected);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let text = LEGACY
        .replace("class=StreamHandler", "class=handlers.SysLogHandler")
        .replace("10*1024*1024", "open('x')")
        .replace("handlers=stderr,file", "handlers=stderr,nil")
        .replace("[logger_root]\nlevel=DEBUG", "[logger_root]\nlevel=LOUD");
    let mistakes = parse_text(&text).unwrap_err();
    let mut lines: Vec<_> = mistakes
        .0
        .iter()
        .filter_map(|finding| finding.line)
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, [5, 10, 18, 25], "{mistakes}");
}

#[test]
fn missing_sections_are_named() {
    let mistakes = parse_text("[loggers]\nkeys=root\n")
        .unwrap_err()
        .to_string();
    for name in ["[handlers]", "[formatters]", "[logger_root]"] {
        assert!(mistakes.contains(name), "{mistakes}");
    }
}
