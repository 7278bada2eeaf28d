//! Names of directories and files on hosts, put together.

use crate::domain::fault::Fault;

/// What of a directory's name comes below the login's home; nothing where it is absolute.
pub(super) fn below_home(dest_dir: &str) -> Result<Option<&str>, Fault> {
    if dest_dir.contains('\0') {
        return Err(Fault::permanent(
            "a directory's name cannot hold a NUL byte",
        ));
    }
    Ok(match dest_dir {
        "" | "~" => Some(""),
        absolute if absolute.starts_with('/') => None,
        other => Some(other.strip_prefix("~/").unwrap_or(other)),
    })
}

/// The same without slashes at its end.
pub(super) fn without_slash(mut path: String) -> String {
    while path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    path
}

/// `name` in `dir`; names with a slash or nothing in them cannot be one component.
pub(super) fn in_dir(dir: &str, name: &str) -> Result<String, Fault> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Fault::permanent(format!(
            "{name:?} cannot be a file's name on the host"
        )));
    }
    Ok(if dir.ends_with('/') {
        format!("{dir}{name}")
    } else {
        format!("{dir}/{name}")
    })
}
