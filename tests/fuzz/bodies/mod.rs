//! The fuzz targets' bodies by their names, for the tests that replay corpora. Each takes bytes, hands them to a parser
//! and fails where one of the parser's promises is broken.

pub mod dump;
pub mod filter;
pub mod follow;
pub mod ftp;
pub mod incoming;
pub mod install;
pub mod kexinit;
pub mod known_hosts;
pub mod logger;
pub mod mask;
pub mod netrc;
pub mod pattern;
pub mod rules;
pub mod settings;
pub mod svnlook;
pub mod text;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 16] = [
    ("dump", dump::run),
    ("filter", filter::run),
    ("follow", follow::run),
    ("ftp", ftp::run),
    ("incoming", incoming::run),
    ("install", install::run),
    ("kexinit", kexinit::run),
    ("known_hosts", known_hosts::run),
    ("logger", logger::run),
    ("mask", mask::run),
    ("netrc", netrc::run),
    ("pattern", pattern::run),
    ("rules", rules::run),
    ("settings", settings::run),
    ("svnlook", svnlook::run),
    ("text", text::run),
];
