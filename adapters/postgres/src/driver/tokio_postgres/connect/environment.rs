//! What `libpq` takes from the environment of a process: variables, files in the home directory, the socket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The environment of a process.
pub(super) struct Environment {
    variable: Box<Variable>,
    pub(super) home: Option<PathBuf>,
    pub(super) user: Option<String>,
}

/// Returns the value of a variable.
type Variable = dyn Fn(&str) -> Option<String>;

impl Environment {
    pub(super) fn of_process() -> Self {
        // A name or a path that is not UTF-8 is of no use to the driver.
        let variable = |name: &str| env::var_os(name).map(OsString::into_string).and_then(Result::ok);
        Self { variable: Box::new(variable), home: env::home_dir(), user: whoami::username().ok() }
    }

    #[cfg(test)]
    pub(super) fn of_test(variables: &'static [(&str, &str)], home: &Path) -> Self {
        let find = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        Self { variable: Box::new(find), home: Some(home.to_owned()), user: Some("ann".to_owned()) }
    }

    /// Returns a variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Returns a file of `libpq` in the home directory, if it exists.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.home.as_ref()?.join(".postgresql").join(name);
        path.exists().then_some(path)
    }
}

/// Returns the host of an address that has none: the folder with the socket of a local server, else `localhost`.
pub(super) fn local_host(port: &str) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let folder = SOCKET_FOLDERS.into_iter().find(|folder| Path::new(folder).join(&socket).exists());
    folder.unwrap_or("localhost").to_owned()
}

/// The folders of sockets: of Debian and Fedora, and of PostgreSQL's own build.
pub(super) const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// What a password file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PasswordFile {
    Password(String),
    /// It has no line for the connection.
    None,
    /// It cannot be used, for a reason.
    Unusable(String),
}

/// A connection that a line of a password file can be for.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Looks up a password in a file with lines of `host:port:database:user:password`.
pub(super) fn password(path: &Path, login: &Login<'_>) -> PasswordFile {
    let unusable = |e: io::Error| PasswordFile::Unusable(format!("cannot be read: {e}"));
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return PasswordFile::None,
        Ok(metadata) if !is_private(&metadata) => {
            return PasswordFile::Unusable("is not used: others can read it; run `chmod 600` on it".to_owned());
        }
        Ok(_) => {}
        Err(e) => return unusable(e),
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) => return unusable(e),
    };
    // A comment can have another encoding.
    let lines = String::from_utf8_lossy(&bytes);
    // A socket in a standard folder has the host `localhost`.
    let host = if SOCKET_FOLDERS.contains(&login.host) { "localhost" } else { login.host };
    let fields = [host, login.port, login.database, login.user];
    let password = lines
        .lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| fields.iter().try_fold(line, |rest, value| after_field(rest, value)).map(unescaped));
    password.filter(|password| !password.is_empty()).map_or(PasswordFile::None, PasswordFile::Password)
}

/// Returns what follows the first field of a line, if the field is `*` or has the value. A backslash escapes the next
/// character. As in `libpq`, a colon of the value can be unescaped: `::1`.
fn after_field<'l>(line: &'l str, value: &str) -> Option<&'l str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let (mut line, mut value) = (line.chars(), value.chars());
    loop {
        match (line.next()?, value.next()) {
            (':', None) => return Some(line.as_str()),
            ('\\', expected) if expected != line.next() => return None,
            ('\\', _) => {}
            (character, expected) if expected != Some(character) => return None,
            _ => {}
        }
    }
}

/// Returns a password up to its first colon that is not escaped.
fn unescaped(password: &str) -> String {
    let (mut text, mut characters) = (String::new(), password.chars());
    while let Some(character) = characters.next().filter(|character| *character != ':') {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

/// Returns true if only the owner can use a file with a secret. The group can read a file of root, as `libpq` allows it for
/// keys: systemd and Kubernetes give a process such files.
#[cfg(unix)]
pub(super) fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    is_private_mode(metadata.uid(), metadata.mode())
}

#[cfg(unix)]
fn is_private_mode(owner: u32, mode: u32) -> bool {
    mode & if owner == 0 { 0o037 } else { 0o077 } == 0
}

#[cfg(not(unix))]
pub(super) fn is_private(_metadata: &fs::Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_file_is_used_if_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pgpass");
        let of = |host, port, database, user| password(&path, &Login { host, port, database, user });
        let absent = PasswordFile::Unusable("cannot be read: No such file or directory (os error 2)".to_owned());
        assert_eq!(of("h", "5432", "app", "ann"), absent);
        let lines = "# h:5432:app:ann:comment\nh:5432:other:ann:one\nh:5432:app:ann:t\\:w\\\\o\n\
            localhost:*:*:ann:socket\n\\*:1:*:*:star\n*:9:*:*:\n*:*:app:bea:all\n\
            ::1:5432:app:ann:IPv6\n\\:\\:1:5433:app:ann:IPv6:not this\n";
        // A comment in another encoding.
        fs::write(&path, [&b"# M\xfcller\n"[..], lines.as_bytes()].concat()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            matches!(of("h", "5432", "app", "ann"), PasswordFile::Unusable(reason) if reason.contains("others can read it"))
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for (host, port, database, user, expected) in [
            ("h", "5432", "other", "ann", "one"),
            ("h", "5432", "app", "ann", "t:w\\o"),
            ("/run/postgresql", "7", "x", "ann", "socket"),
            ("localhost", "7", "x", "ann", "socket"),
            ("*", "1", "x", "y", "star"),
            ("z", "5", "app", "bea", "all"),
            ("::1", "5432", "app", "ann", "IPv6"),
            ("::1", "5433", "app", "ann", "IPv6"),
        ] {
            assert_eq!(of(host, port, database, user), PasswordFile::Password(expected.to_owned()), "{host} {user}");
        }
        for (host, port, database, user) in
            [("z", "1", "x", "y"), ("z", "9", "x", "y"), ("/srv/sockets", "7", "x", "ann")]
        {
            assert_eq!(of(host, port, database, user), PasswordFile::None, "{host} {user}");
        }
    }

    #[test]
    fn the_group_can_read_a_secret_of_root_only() {
        for (owner, mode) in [(0, 0o400), (0, 0o440), (0, 0o640), (1000, 0o400), (1000, 0o600)] {
            assert!(is_private_mode(owner, mode), "{owner} {mode:o}");
        }
        for (owner, mode) in [(0, 0o444), (0, 0o660), (0, 0o604), (1000, 0o440), (1000, 0o640), (1000, 0o604)] {
            assert!(!is_private_mode(owner, mode), "{owner} {mode:o}");
        }
    }
}
