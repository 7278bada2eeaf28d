//! Settings as people write them, and the mistakes they make.

use super::*;

fn load_text(text: &str) -> Result<Settings, Mistakes> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auto-dispatcher.cfg");
    std::fs::write(&path, text).unwrap();
    load(&path, Some(Path::new("/home/ad")))
}

#[test]
fn a_missing_or_empty_file_means_the_defaults() {
    assert_eq!(
        load(Path::new("/nowhere/auto-dispatcher.cfg"), None),
        Ok(Settings::default())
    );
    assert_eq!(load_text("# nothing\n"), Ok(Settings::default()));
}

#[test]
fn every_key_is_read() {
    let settings = load_text(
        "[auto-dispatcher]\nstate_dir = ~/state\nsvnlook: /opt/svn/bin/svnlook\nsvnadmin = ~/svnadmin\nworkers = 3\nidle_exit = 5m\nkeep_session = 0\n\
         spool_max = 10M\nkeep_history = 30d\ncatch_up_max = 0\nplan_retry = 1h\ncopied_directories = Yes\n\
         incoming = /var/spool/ad\nrepositories = /srv/svn/*\n  /data/a b\nsite = bank A\nlisten = [::1]:9797\n\
         listen_token_file = ~/token\n",
    )
    .unwrap();
    let expected = Settings {
        state_dir: Some("/home/ad/state".into()),
        svnlook: Some("/opt/svn/bin/svnlook".into()),
        svnadmin: Some("/home/ad/svnadmin".into()),
        workers: 3,
        idle_exit_s: 300,
        keep_session_s: 0,
        spool_max_bytes: 10 << 20,
        keep_history_s: 30 * 86_400,
        catch_up_max: 0,
        plan_retry_s: 3600,
        copied_directories: true,
        incoming: Some("/var/spool/ad".into()),
        repositories: vec!["/srv/svn/*".into(), "/data/a b".into()],
        listen: "[::1]:9797".parse().ok(),
        listen_token_file: Some("/home/ad/token".into()),
        scans: Vec::new(),
        site: Some("bank A".to_owned()),
        notifiers: Vec::new(),
        warnings: Vec::new(),
    };
    assert_eq!(settings, expected);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let mistakes =
        load_text("[auto-dispatcher]\nworkers = none\nspool_max = big\nlisten = 10.0.0.1:1\nsvnlook = svnlook\n")
            .unwrap_err();
    let lines: Vec<_> = mistakes.0.iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [Some(4), Some(5), Some(2), Some(3)]);
}

#[test]
fn the_state_directory_is_found_whatever_else_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auto-dispatcher.cfg");
    let home = Some(Path::new("/home/ad"));
    let state_dir = |path: &Path| for_recording(path, home).map(|settings| settings.state_dir);
    assert_eq!(state_dir(&path), Ok(None));
    for (text, expected) in [
        ("[auto-dispatcher]\nworkers = 0\n", None),
        (
            "[auto-dispatcher]\nworkers = none\nspool_max = %(nil)s\nstate_dir = ~/s\nsvnlook = x\n",
            Some("/home/ad/s"),
        ),
        ("[DEFAULT]\nstate_dir = /d\nretry = x\n", Some("/d")),
    ] {
        std::fs::write(&path, text).unwrap();
        let expected = expected.map(PathBuf::from);
        assert_eq!(state_dir(&path), Ok(expected), "{text}");
    }
    for (text, line) in [
        ("[auto-dispatcher]\nworkers = 1\nstate_dir = ~tom/s\n", 3),
        ("[auto-dispatcher]\nstate_dir = %(nil)s\n", 2),
        ("[auto-dispatcher]\nstate_dir = /a\nstate_dir = /b\n", 3),
    ] {
        std::fs::write(&path, text).unwrap();
        let mistakes = state_dir(&path).unwrap_err();
        assert_eq!(mistakes.0.len(), 1, "{mistakes}");
        assert_eq!(mistakes.0[0].line, Some(line), "{mistakes}");
    }
}

#[test]
fn unknown_keys_and_sections_are_warnings() {
    let settings = load_text("[auto-dispatcher]\nworker = 3\n[other]\nx = 1\n").unwrap();
    let texts: Vec<_> = settings
        .warnings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(
        texts
            .iter()
            .any(|text| text.contains("did you mean `workers`")),
        "{texts:?}"
    );
}
