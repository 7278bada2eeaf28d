//! Text to typed values: the rules file, logger.cfg, auto-dispatcher.cfg and netrc, in the dialect of
//! Python. Reports every mistake at once, each with file and line, and quotes nothing secret.
//! Reads files that it is told of; reads no environment.
