//! `doctor`: each check shown failing on a real fault.
