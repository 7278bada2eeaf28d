//! Hostile rules files and netrc files, from a seed.

use fastrand::Rng;

const ENDS: [&str; 8] = ["\n", "\n", "\n", "\n", "\r\n", "\r\n", "\r", "\n\n"];
const BLANKS: [&str; 10] = [
    "", " ", "  ", "\t", "    ", "\u{c}", " \t ", "\u{a0}", "\u{3000}", "\u{1c}",
];
const NAMES: [&str; 30] = [
    "ibps",
    "cnaps2",
    "app.*",
    "node[0-9]",
    "[a-z]",
    " ibps ",
    "a]b",
    "中文包",
    "DEFAULT",
    "default",
    "Default",
    "^x$",
    "web(?!-test)",
    "a#b",
    "a;b",
    "a=b",
    "a:b",
    "%(host)s",
    "|",
    "||",
    "\\[x\\]",
    "]",
    "[",
    "a|b",
    "\u{1f}x",
    "é",
    "İ",
    "x\u{85}y",
    "x\u{2028}y",
    "(?i)tar",
];
const KEYS: [&str; 24] = [
    "host",
    "login",
    "password",
    "dest_dir",
    "install_command",
    "Host",
    "LOGIN",
    "a",
    "b",
    "c",
    "d",
    "e",
    "own key",
    "键",
    "İ",
    "ΑΣ",
    "|",
    "a.b",
    "a b",
    "[k",
    "k]",
    "x#y",
    "x;y",
    "%",
];
const VALUES: [&str; 40] = [
    "10.8.6.10",
    "ibpsusr",
    "123456",
    "a;b #c",
    "a # b",
    "; x",
    "# x",
    "=",
    ":",
    "a=b",
    "a: b",
    "[ -f x ] && y",
    "[b]",
    "%(a)s",
    "%(b)s",
    "%(A)s/%(login)s",
    "%%",
    "5%",
    "%",
    "%%(a)s",
    "%(nil)s",
    "%(a)",
    "%()s",
    "%(a",
    "%(host)s%(c)s",
    "%s",
    "中文 口令",
    "\u{a0}x\u{a0}",
    "\"q\"",
    "'q'",
    "\\",
    "|",
    "a|b|",
    "~/newcx",
    "\t",
    "x\u{c}y",
    "x\u{85}y",
    "x\u{1c}",
    "",
    "é\u{301}",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// One in `n`.
fn rarely(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// A rules file. Most are nearly sound: a file with ten mistakes tests no more than one with one.
pub(crate) fn rules_file(rng: &mut Rng) -> String {
    let mut text = String::new();
    if rarely(rng, 40) {
        text.push('\u{feff}');
    }
    // A file has line ends of one kind, mostly, and mistakes or none.
    let end = pick(rng, &ENDS);
    let wild = rarely(rng, 3);
    let mut names: Vec<&str> = NAMES.to_vec();
    rng.shuffle(&mut names);
    if !(wild && rarely(rng, 8)) {
        header(rng, &mut text, names[0], end, wild);
    }
    let mut keys: Vec<&str> = KEYS.to_vec();
    rng.shuffle(&mut keys);
    let (mut next_name, mut next_key) = (1, 0);
    for _ in 0..rng.usize(1..16) {
        match rng.u32(..20) {
            0..=2 => {
                let name = if wild && rarely(rng, 4) {
                    names[0]
                } else {
                    names[next_name % names.len()]
                };
                next_name += 1;
                header(rng, &mut text, name, end, wild);
                rng.shuffle(&mut keys);
                next_key = 0;
            }
            3..=11 => {
                let key = if wild && rarely(rng, 5) {
                    keys[0]
                } else {
                    keys[next_key % keys.len()]
                };
                next_key += 1;
                option(rng, &mut text, key, end);
            }
            12..=14 => continuation(rng, &mut text, end),
            15..=16 => comment(rng, &mut text, end),
            17..=18 => text.push_str(&format!("{}{end}", pick(rng, &BLANKS))),
            _ if wild => nonsense(rng, &mut text, end),
            _ => {}
        }
    }
    if wild && rarely(rng, 4) {
        mutate(rng, &mut text);
    }
    text
}

fn header(rng: &mut Rng, text: &mut String, name: &str, end: &str, wild: bool) {
    if rarely(rng, 8) {
        text.push_str(pick(rng, &BLANKS));
    }
    text.push_str(&format!("[{name}]"));
    if rarely(rng, 8) {
        text.push_str(pick(rng, &[" ", " ; c", " # c", "x", "  ]", "= 1"]));
    }
    let end = if wild && rarely(rng, 6) {
        pick(rng, &ENDS)
    } else {
        end
    };
    text.push_str(end);
}

fn value(rng: &mut Rng) -> String {
    let parts = if rarely(rng, 4) { rng.usize(0..4) } else { 1 };
    (0..parts).map(|_| pick(rng, &VALUES)).collect()
}

fn option(rng: &mut Rng, text: &mut String, key: &str, end: &str) {
    if rarely(rng, 6) {
        text.push_str(pick(rng, &BLANKS));
    }
    let delimiter = pick(
        rng,
        &[
            "=",
            " = ",
            ":",
            ": ",
            " : ",
            "\t=\t",
            "\u{a0}=\u{3000}",
            "==",
            " =:",
        ],
    );
    let value = value(rng);
    text.push_str(&format!("{key}{delimiter}{value}{end}"));
}

fn continuation(rng: &mut Rng, text: &mut String, end: &str) {
    let indent = pick(
        rng,
        &[" ", "  ", "\t", "    ", "\u{3000}", "\u{c}", "\u{1e} "],
    );
    let value = value(rng);
    text.push_str(&format!("{indent}{value}{}{end}", pick(rng, &BLANKS)));
}

fn comment(rng: &mut Rng, text: &mut String, end: &str) {
    let value = value(rng);
    text.push_str(&format!(
        "{}{}{value}{end}",
        pick(rng, &BLANKS),
        pick(rng, &["#", ";", "# ", "##"])
    ));
}

fn nonsense(rng: &mut Rng, text: &mut String, end: &str) {
    let lines = [
        "[]", "[", "]", "word", "= x", ": x", "[]=x", "[]]", "[[]]", "[x", "\u{0}", "rem x",
        "%(a)s", " []",
    ];
    text.push_str(&format!("{}{end}", pick(rng, &lines)));
}

/// Puts something somewhere, or takes a character out.
fn mutate(rng: &mut Rng, text: &mut String) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    if places.is_empty() {
        return;
    }
    let at = places[rng.usize(..places.len())];
    if rng.bool() {
        text.remove(at);
    } else {
        let what = pick(
            rng,
            &[
                "\r", "\n", " ", "[", "]", "%", "%(", "=", ":", "#", ";", "\u{b}", "\u{2029}",
                "\u{feff}", "\u{1d}",
            ],
        );
        text.insert_str(at, what);
    }
}

const WORDS: [&str; 34] = [
    "h",
    "web1",
    "10.8.6.10",
    "mail.example.com",
    "default",
    "machine",
    "login",
    "password",
    "tom",
    "\"a b\"",
    "\"\"",
    "a\\ b",
    "\"a\\\"b\"",
    "\\\"x",
    "x\\\\y",
    "s3#cret",
    "#x",
    "#",
    "口令",
    "\"中 文\"",
    "a\"b",
    "\"a\"b",
    "\u{a0}",
    "x\u{3000}y",
    "\"#q\"",
    "x#",
    "\\#x",
    "macdef",
    "user",
    "account",
    "\"open\nquote\"",
    "x\\\ny",
    "\u{c}",
    "'q'",
];
const GAPS: [&str; 12] = [
    " ", " ", " ", "\n", "\n", "\t", "  ", "\r\n", "\n\n", "\n ", "\r", " \n\t",
];

/// A netrc file.
pub(crate) fn netrc_file(rng: &mut Rng) -> String {
    let mut text = String::new();
    if rarely(rng, 40) {
        text.push('\u{feff}');
    }
    let wild = rarely(rng, 3);
    for _ in 0..rng.usize(0..5) {
        match rng.u32(..12) {
            0..=6 => {
                let name = word(rng, wild);
                text.push_str(&format!(
                    "machine{}{name}{}",
                    pick(rng, &GAPS),
                    pick(rng, &GAPS)
                ));
                entry(rng, &mut text, wild);
            }
            7..=8 => {
                text.push_str(&format!("default{}", pick(rng, &GAPS)));
                entry(rng, &mut text, wild);
            }
            9 => {
                let body = pick(
                    rng,
                    &["cd x\nput y\n", "", " \n", "machine no\n", "口令\n#\n"],
                );
                let end = if wild && rarely(rng, 2) { "" } else { "\n" };
                text.push_str(&format!("macdef {}\n{body}{end}", word(rng, wild)));
            }
            _ => note(rng, &mut text),
        }
    }
    if rarely(rng, 8) {
        let end = pick(
            rng,
            &[
                "\\",
                "\"",
                "\"open",
                "machine",
                "machine h login",
                "#",
                "# c",
                "\"\"",
                "\"x\\",
            ],
        );
        text.push_str(end);
    }
    if wild && rarely(rng, 4) {
        mutate(rng, &mut text);
    }
    text
}

fn entry(rng: &mut Rng, text: &mut String, wild: bool) {
    for _ in 0..rng.usize(0..5) {
        if rarely(rng, 8) {
            note(rng, text);
            continue;
        }
        let keyword = pick(
            rng,
            &["login", "user", "account", "password", "password", "login"],
        );
        let keyword = if wild && rarely(rng, 8) {
            pick(rng, &WORDS)
        } else {
            keyword
        };
        text.push_str(&format!(
            "{keyword}{}{}{}",
            pick(rng, &GAPS),
            word(rng, wild),
            pick(rng, &GAPS)
        ));
    }
}

fn word(rng: &mut Rng, wild: bool) -> &'static str {
    if wild {
        pick(rng, &WORDS)
    } else {
        pick(
            rng,
            &[
                "h", "web1", "tom", "口令", "\"a b\"", "s3#cret", "a\\ b", "#x", "\"\"",
            ],
        )
    }
}

fn note(rng: &mut Rng, text: &mut String) {
    let notes = [
        "# c\n",
        "#c\n",
        "#\n",
        "# login x\n",
        "#c d\n",
        "\n# machine y\n",
        "\n\n#\n",
        "# c\r\n",
        "\n#c login z\n",
    ];
    text.push_str(pick(rng, &notes));
}
