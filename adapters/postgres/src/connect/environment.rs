//! What `libpq` takes from the environment of a process: variables, files in the home directory, the socket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

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
    /// It has no line for the connection, or does not exist.
    None,
    /// Others can read it, so `libpq` does not use it either.
    Readable,
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
    if !path.is_file() {
        return PasswordFile::None;
    }
    if !is_private(path) {
        return PasswordFile::Readable;
    }
    let lines = fs::read_to_string(path).unwrap_or_default();
    // A socket in a standard folder has the host `localhost`.
    let host = if SOCKET_FOLDERS.contains(&login.host) { "localhost" } else { login.host };
    let fields = [host, login.port, login.database, login.user];
    let password = lines.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut of_line = fields_of(line);
        let is_match = fields.iter().all(|field| of_line.next().is_some_and(|of| of.is_any || of.text == *field));
        of_line.next().filter(|_| is_match).map(|field| field.text)
    });
    password.filter(|password| !password.is_empty()).map_or(PasswordFile::None, PasswordFile::Password)
}

struct Field {
    text: String,
    /// True for an unescaped `*`.
    is_any: bool,
}

/// Splits a line at its colons. A backslash escapes the next character.
fn fields_of(line: &str) -> impl Iterator<Item = Field> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let (mut text, mut characters) = (String::new(), line.chars());
        let is_any = line == "*" || line.starts_with("*:");
        while let Some(character) = characters.next() {
            match character {
                '\\' => text.extend(characters.next()),
                ':' => {
                    rest = Some(characters.as_str());
                    break;
                }
                character => text.push(character),
            }
        }
        Some(Field { text, is_any })
    })
}

/// Returns true if only the owner can use the file.
#[cfg(unix)]
pub(super) fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let of_others = |metadata: fs::Metadata| metadata.permissions().mode() & 0o077;
    fs::metadata(path).map(of_others).is_ok_and(|others| others == 0)
}

#[cfg(not(unix))]
pub(super) fn is_private(_path: &Path) -> bool {
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
        assert_eq!(of("h", "5432", "app", "ann"), PasswordFile::None);
        let lines = "# h:5432:app:ann:comment\nh:5432:other:ann:one\nh:5432:app:ann:t\\:w\\\\o\n\
            localhost:*:*:ann:socket\n\\*:1:*:*:star\n*:9:*:*:\n*:*:app:bea:all\n";
        fs::write(&path, lines).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(of("h", "5432", "app", "ann"), PasswordFile::Readable);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for (host, port, database, user, expected) in [
            ("h", "5432", "other", "ann", "one"),
            ("h", "5432", "app", "ann", "t:w\\o"),
            ("/run/postgresql", "7", "x", "ann", "socket"),
            ("localhost", "7", "x", "ann", "socket"),
            ("*", "1", "x", "y", "star"),
            ("z", "5", "app", "bea", "all"),
        ] {
            assert_eq!(of(host, port, database, user), PasswordFile::Password(expected.to_owned()), "{host} {user}");
        }
        for (host, port, database, user) in
            [("z", "1", "x", "y"), ("z", "9", "x", "y"), ("/srv/sockets", "7", "x", "ann")]
        {
            assert_eq!(of(host, port, database, user), PasswordFile::None, "{host} {user}");
        }
    }
}
