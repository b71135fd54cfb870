//! Merges an address with the environment into the settings of a connection, as `libpq` does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as DriverMode, SslNegotiation};

use super::address;
use super::environment::{Environment, Login, PasswordFile, local_host, password};
use super::error::AddressError;
use super::parameters::{self, Use};
use crate::{FileProblem, PostgresError, TlsError};

/// The settings of a connection.
pub(super) struct Settings {
    pub(super) config: Config,
    /// `None` for a connection without encryption.
    pub(super) tls: Option<TlsSettings>,
    pub(super) prepared_statements: bool,
    pub(super) notes: Vec<String>,
}

/// How a connection is encrypted, and what is verified.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads them"))]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    pub(super) root: Option<Root>,
    pub(super) client: Option<ClientFiles>,
    /// TLS 1.2 is refused.
    pub(super) only_newest: bool,
    /// The handshake is the first message, without a request before it.
    pub(super) is_direct: bool,
}

/// The authorities to verify the server with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    System,
    File(PathBuf),
}

/// The files of the client's certificate and its private key.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads them"))]
pub(super) struct ClientFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The modes of `libpq`, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl Settings {
    /// Reads an address. Without an environment, reads the address alone.
    pub(super) fn read(address: &str, environment: Option<&Environment>) -> Result<Self, PostgresError> {
        let mut values = Values::default();
        values.add_address(address)?;
        let variables = environment.map_or(Ok(Variables::new()), |environment| values.add_environment(environment))?;
        Self::of_values(values, environment).map_err(|error| match error {
            PostgresError::Address(AddressError::Value { parameter, expected }) => {
                let parameter = variables.get(parameter).copied().unwrap_or(parameter);
                AddressError::Value { parameter, expected }.into()
            }
            error => error,
        })
    }

    fn of_values(mut values: Values, environment: Option<&Environment>) -> Result<Self, PostgresError> {
        let prepared_statements = values.prepared_statements()?;
        let has_encoding = values.take("client_encoding").is_none_or(|encoding| is_utf8(&encoding));
        if !has_encoding {
            return Err(invalid("client_encoding", "`UTF8`").into());
        }
        let tls = values.tls(environment);
        let mut config = values.config()?;
        let is_local = config.get_hosts().iter().all(is_socket);
        let tls = match tls {
            // As in `libpq`, a local server needs no authority: `PGSSLMODE` is for the others.
            Err(PostgresError::Tls(_)) if is_local => None,
            tls => tls?,
        };
        check_sockets(&config, tls.as_ref())?;
        config.ssl_mode(match &tls {
            None => DriverMode::Disable,
            Some(tls) if tls.mode == SslMode::Prefer => DriverMode::Prefer,
            Some(_) => DriverMode::Require,
        });
        let tls = tls.filter(|_| !is_local);
        match &tls {
            None => {
                config.ssl_mode(DriverMode::Disable);
            }
            Some(tls) if !cfg!(feature = "tls") => return Err(TlsError::NotBuilt { mode: tls.mode.as_str() }.into()),
            Some(_) => {}
        }
        Ok(Self { config, tls, prepared_statements, notes: values.notes })
    }
}

/// The environment variables of parameters.
type Variables = BTreeMap<&'static str, &'static str>;

/// The values of the parameters by name.
#[derive(Default)]
struct Values {
    values: BTreeMap<&'static str, String>,
    notes: Vec<String>,
}

impl Values {
    fn add_address(&mut self, address: &str) -> Result<(), AddressError> {
        let pairs = address::pairs(address)?;
        let mut has_password = false;
        for (name, value) in pairs {
            let Some((name, used)) = parameters::find(&name) else {
                // It could be the end of an unencoded password.
                return Err(if has_password {
                    AddressError::Unencoded
                } else {
                    AddressError::Unknown { parameter: name }
                });
            };
            has_password |= name == "password" && address.contains("password=");
            match used {
                Use::Driver(_) | Use::Own if value.is_empty() => {}
                Use::Driver(_) | Use::Own => drop(self.values.insert(name, value)),
                Use::Ignored => self.notes.push(format!("`{name}` has no effect: it is for another program")),
                Use::Unsupported(remedy) => return Err(AddressError::Unsupported { parameter: name, remedy }),
            }
        }
        Ok(())
    }

    /// Adds what the address does not set. Returns the variables that were used, by their parameters.
    fn add_environment(&mut self, environment: &Environment) -> Result<Variables, AddressError> {
        let mut variables = Variables::new();
        let has_host = self.values.contains_key("host");
        for (variable, name) in parameters::variables() {
            // An address of another host than the one of the URL would be of no use.
            if self.values.contains_key(name) || (has_host && name == "hostaddr") {
                continue;
            }
            let Some(value) = environment.variable(variable) else { continue };
            if let Some((_, Use::Unsupported(remedy))) = parameters::find(name) {
                return Err(AddressError::Unsupported { parameter: variable, remedy });
            }
            self.values.insert(name, value);
            variables.insert(name, variable);
        }
        if !self.values.contains_key("user") {
            let user = environment.user.clone().ok_or(AddressError::NoUser)?;
            self.values.insert("user", user);
        }
        if !self.values.contains_key("host") && !self.values.contains_key("hostaddr") {
            let host = local_host(self.values.get("port").map_or(PORT, String::as_str));
            self.values.insert("host", host);
        }
        if !self.values.contains_key("passfile") && !self.values.contains_key("password") {
            // One that the address or the environment names should exist.
            let file = environment.home.as_ref().map(|home| home.join(".pgpass")).filter(|path| path.exists());
            self.values.extend(file.and_then(|path| Some(("passfile", path.to_str()?.to_owned()))));
        }
        Ok(variables)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Takes a parameter that has a few words as values.
    fn take_word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
        expected: &'static str,
    ) -> Result<Option<T>, AddressError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let word = words.iter().find(|(word, _)| *word == value).ok_or_else(|| invalid(name, expected))?;
        Ok(Some(word.1))
    }

    fn take_number(&mut self, name: &'static str, expected: &'static str) -> Result<Option<u32>, AddressError> {
        let value = self.take(name).map(|value| value.parse().map_err(|_| invalid(name, expected)));
        value.transpose()
    }

    /// Returns false if prepared statements are switched off, by any of the names that programs have for it.
    fn prepared_statements(&mut self) -> Result<bool, AddressError> {
        const SWITCH: &[(&str, bool)] = &[("true", true), ("1", true), ("false", false), ("0", false)];
        const WORDS: &str = "`true` or `false`";
        let own = self.take_word("prepared_statements", SWITCH, WORDS)?;
        let pooler = self.take_word("pgbouncer", SWITCH, WORDS)?.unwrap_or(false);
        let cache = self.take_number("statement_cache_size", "a number")?;
        let threshold = self.take_number("prepareThreshold", "a number")?;
        Ok(own.unwrap_or(!pooler && cache != Some(0) && threshold != Some(0)))
    }

    fn tls(&mut self, environment: Option<&Environment>) -> Result<Option<TlsSettings>, PostgresError> {
        let mode = self.take_word("sslmode", MODES, MODE_WORDS)?;
        let ssl =
            self.take_word("ssl", &[("true", Some(SslMode::Require)), ("false", None)], "`true`, or `sslmode`")?;
        let named = self.take("sslrootcert");
        let root = match named.as_deref() {
            Some("system") => Some(Root::System),
            Some(path) => Some(Root::File(path.into())),
            None => environment.and_then(|environment| environment.file("root.crt")).map(Root::File),
        };
        let default = if root == Some(Root::System) { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = mode.or(ssl.flatten()).unwrap_or(default);
        let client = self.client_files(environment)?;
        let only_newest = self.take_word("ssl_min_protocol_version", VERSIONS, "`TLSv1.2` or `TLSv1.3`")?;
        let is_direct = self.values.get("sslnegotiation").is_some_and(|negotiation| negotiation == "direct");
        if root == Some(Root::System) && mode != SslMode::VerifyFull {
            return Err(TlsError::WeakMode { mode: mode.as_str() }.into());
        }
        if mode >= SslMode::VerifyCa && root.is_none() {
            return Err(TlsError::NoRoot { mode: mode.as_str() }.into());
        }
        if mode == SslMode::Disable || (!cfg!(feature = "tls") && mode == SslMode::Prefer) {
            return Ok(None);
        }
        Ok(Some(TlsSettings { mode, root, client, only_newest: only_newest.unwrap_or(false), is_direct }))
    }

    fn client_files(&mut self, environment: Option<&Environment>) -> Result<Option<ClientFiles>, TlsError> {
        let mut file = |parameter: &str, name| {
            let default = || environment.and_then(|environment| environment.file(name));
            self.take(parameter).map(PathBuf::from).or_else(default)
        };
        match (file("sslcert", "postgresql.crt"), file("sslkey", "postgresql.key")) {
            (Some(certificate), Some(key)) => Ok(Some(ClientFiles { certificate, key })),
            (Some(path), None) => Err(TlsError::File { parameter: "sslcert", path, problem: FileProblem::Alone }),
            (None, _) => Ok(None),
        }
    }

    /// Returns the driver's configuration.
    fn config(&mut self) -> Result<Config, AddressError> {
        let fallback = self.take("fallback_application_name");
        let user_timeout = self.take_number("tcp_user_timeout", "a number of milliseconds")?;
        let retries = self.take_number("keepalives_count", "a number")?;
        let pass_file = self.take("passfile").map(PathBuf::from);
        if let Some(wanted) = self.values.get_mut("target_session_attrs").filter(|wanted| *wanted == "primary") {
            // The driver does not know the word. A primary that is read-only is of no use.
            "read-write".clone_into(wanted);
        }
        let mut list = String::new();
        for (name, value) in &self.values {
            let (name, Use::Driver(expected)) = parameters::find(name).unwrap_or((name, Use::Own)) else { continue };
            let setting = format!("{name}='{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"));
            setting.parse::<Config>().map_err(|_| invalid(name, expected))?;
            list.push_str(&setting);
        }
        let mut config: Config = list.parse().map_err(|_| AddressError::Form)?;
        if config.get_application_name().is_none() {
            config.application_name(fallback.as_deref().unwrap_or(APPLICATION_NAME));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(AddressError::NoHost);
        }
        check_counts(&config)?;
        if config.get_hosts().is_empty() {
            // A name for the certificate.
            for address in config.get_hostaddrs().to_owned() {
                config.host(address.to_string());
            }
        }
        if config.get_password().is_none()
            && let Some(path) = pass_file
        {
            self.add_password(&mut config, &path);
        }
        add_timeouts(&mut config, user_timeout, retries);
        Ok(config)
    }

    /// Adds the password of a password file. The hosts have one password: the first that the file has for one of them.
    fn add_password(&mut self, config: &mut Config, path: &std::path::Path) {
        let text = |name: &str| self.values.get(name).map_or("", String::as_str);
        let (hosts, ports, user) = (text("host"), text("port"), text("user"));
        let database = self.values.get("dbname").map_or(user, String::as_str);
        let hosts = if hosts.is_empty() { text("hostaddr") } else { hosts };
        let ports: Vec<&str> = ports.split(',').collect();
        for (position, host) in hosts.split(',').enumerate() {
            let port = ports.get(position).or(ports.first()).copied().filter(|port| !port.is_empty()).unwrap_or(PORT);
            match password(path, &Login { host, port, database, user }) {
                PasswordFile::Password(password) => {
                    config.password(password);
                    return;
                }
                PasswordFile::None => {}
                PasswordFile::Unusable(reason) => {
                    self.notes.push(format!("the password file {} {reason}", path.display()));
                    return;
                }
            }
        }
    }
}

/// Checks that lists fit the list of hosts. The driver does that when it connects.
fn check_counts(config: &Config) -> Result<(), AddressError> {
    let [hosts, addresses, ports] = [config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len()];
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return Err(invalid("hostaddr", "IP addresses, separated by commas, as many as hosts"));
    }
    if ports > 1 && ports != hosts.max(addresses) {
        return Err(invalid("port", "one port, or as many as hosts"));
    }
    Ok(())
}

/// Checks a list of hosts. TLS is never used on a socket, but the driver would ask for it if another host needs it.
fn check_sockets(config: &Config, tls: Option<&TlsSettings>) -> Result<(), AddressError> {
    let sockets = config.get_hosts().iter().filter(|host| is_socket(host)).count();
    let is_required = tls.is_some_and(|tls| tls.mode != SslMode::Prefer);
    if is_required && sockets > 0 && sockets < config.get_hosts().len() {
        return Err(invalid("host", "only folders of sockets, or only names, if `sslmode` requires TLS"));
    }
    if config.get_ssl_negotiation() == SslNegotiation::Direct && !is_required {
        return Err(invalid("sslnegotiation", "`direct` only with `sslmode=require` or stronger"));
    }
    Ok(())
}

fn invalid(parameter: &'static str, expected: &'static str) -> AddressError {
    AddressError::Value { parameter, expected }
}

fn is_utf8(encoding: &str) -> bool {
    ["utf8", "utf-8", "unicode", "auto"].contains(&&*encoding.to_ascii_lowercase())
}

fn is_socket(host: &Host) -> bool {
    !matches!(host, Host::Tcp(_))
}

/// Adds the timeouts that the address does not set.
fn add_timeouts(config: &mut Config, user_timeout: Option<u32>, retries: Option<u32>) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    config.tcp_user_timeout(user_timeout.map_or(LOST, |millis| Duration::from_millis(millis.into())));
    // The driver's default of two hours counts as not set.
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(Duration::from_secs(15));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(5));
    }
    config.keepalives_retries(retries.unwrap_or(3));
}

/// The time after which a server that no longer answers counts as lost.
const LOST: Duration = Duration::from_secs(30);
const APPLICATION_NAME: &str = "enroll";
const PORT: &str = "5432";
/// `allow` uses TLS only if the server insists. This driver cannot, and `prefer` is not weaker.
const MODES: &[(&str, SslMode)] = &[
    ("disable", SslMode::Disable),
    ("allow", SslMode::Prefer),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];
const MODE_WORDS: &str = "`disable`, `prefer`, `require`, `verify-ca` or `verify-full`";
/// No older version is ever used.
const VERSIONS: &[(&str, bool)] = &[("TLSv1", false), ("TLSv1.1", false), ("TLSv1.2", false), ("TLSv1.3", true)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(address: &str) -> Result<Settings, PostgresError> {
        Settings::read(address, None)
    }

    fn error(address: &str) -> String {
        match read(address) {
            Ok(_) => panic!("{address} is valid"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn the_environment_gives_what_the_address_does_not_set() {
        let home = tempfile::tempdir().unwrap();
        let variables = &[
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "bea"),
            ("PGPASSWORD", "se'cr\\et"),
            ("PGDATABASE", "app"),
            ("PGAPPNAME", "billing"),
            ("PGOPTIONS", "-c geqo=off"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGTARGETSESSIONATTRS", "read-write"),
            ("PGSSLMODE", "disable"),
            ("PGSSLCERT", ""),
        ];
        let environment = Environment::of_test(variables, home.path());
        let config = Settings::read("postgres://", Some(&environment)).unwrap().config;
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example".to_owned())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!((config.get_user(), config.get_dbname()), (Some("bea"), Some("app")));
        assert_eq!(config.get_password(), Some(&b"se'cr\\et"[..]));
        assert_eq!((config.get_application_name(), config.get_options()), (Some("billing"), Some("-c geqo=off")));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(config.get_target_session_attrs(), tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_ssl_mode(), DriverMode::Disable);

        let address = "postgres://cy:one@h:1/other?application_name=x&connect_timeout=7";
        let config = Settings::read(address, Some(&environment)).unwrap().config;
        assert_eq!(config.get_hosts(), [Host::Tcp("h".to_owned())]);
        assert_eq!((config.get_user(), config.get_dbname()), (Some("cy"), Some("other")));
        assert_eq!((config.get_password(), config.get_application_name()), (Some(&b"one"[..]), Some("x")));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));

        let primary = read("postgres://h/app?target_session_attrs=primary").unwrap().config;
        assert_eq!(primary.get_target_session_attrs(), tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        let alone = read("postgres://h/app").unwrap().config;
        assert_eq!((alone.get_user(), alone.get_password()), (None, None));
        assert_eq!(alone.get_application_name(), Some("enroll"));
    }

    #[test]
    fn an_address_without_host_and_user_is_the_local_server_and_the_user_of_the_process() {
        let home = tempfile::tempdir().unwrap();
        let config = Settings::read("postgres:///app", Some(&Environment::of_test(&[], home.path()))).unwrap().config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("ann"), Some("app")));
        assert_eq!(config.get_hosts().len(), 1);
        let socket = Settings::read("postgres:///app?host=/srv/sockets&sslmode=require", None).unwrap();
        assert!(matches!(&socket.config.get_hosts()[0], Host::Unix(path) if path == "/srv/sockets"));
        assert!(socket.tls.is_none(), "a socket is never encrypted");
        // Without an authority, which other servers need.
        let variables = &[("PGSSLMODE", "verify-full"), ("PGHOST", "/srv/sockets")];
        let environment = Environment::of_test(variables, home.path());
        assert!(Settings::read("postgres:///app", Some(&environment)).unwrap().tls.is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_password_is_read_from_the_password_file() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".pgpass");
        fs::write(&path, "h2:5432:app:ann:secret\n").unwrap();
        let environment = Environment::of_test(&[], home.path());
        let read = |address: &str| Settings::read(address, Some(&environment)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let settings = read("postgres://h1,h2/app");
        assert_eq!(settings.config.get_password(), None);
        assert!(settings.notes[0].ends_with("others can read it; run `chmod 600` on it"), "{:?}", settings.notes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read("postgres://h1,h2/app").config.get_password(), Some(&b"secret"[..]));
        assert_eq!(read("postgres://bea@h2/app").config.get_password(), None);
        assert_eq!(read("postgres://ann:own@h2/app").config.get_password(), Some(&b"own"[..]));
        let named = format!("postgres://ann@h2/app?passfile={}", path.display());
        assert_eq!(Settings::read(&named, None).unwrap().config.get_password(), Some(&b"secret"[..]));
        let absent = Settings::read("postgres://ann@h2/app?passfile=/no/such", None).unwrap();
        assert!(absent.notes[0].starts_with("the password file /no/such cannot be read: "), "{:?}", absent.notes);
        let empty = tempfile::tempdir().unwrap();
        let without_file = Settings::read("postgres://h2/app", Some(&Environment::of_test(&[], empty.path()))).unwrap();
        assert_eq!(without_file.notes, Vec::<String>::new());
    }

    #[test]
    fn parameters_for_other_programs_are_ignored_with_a_note() {
        let settings = read("postgres://h/app?pgbouncer=true&connection_limit=1&pool_timeout=0&supa=base").unwrap();
        assert_eq!(settings.notes.len(), 3);
        assert_eq!(settings.notes[0], "`connection_limit` has no effect: it is for another program");
        for (parameters, expected) in [
            ("", true),
            ("pgbouncer=true", false),
            ("pgbouncer=false", true),
            ("prepared_statements=false", false),
            ("pgbouncer=true&prepared_statements=true", true),
            ("statement_cache_size=0", false),
            ("statement_cache_size=100", true),
            ("prepareThreshold=0", false),
        ] {
            let settings = read(&format!("postgres://h/app?{parameters}")).unwrap();
            assert_eq!(settings.prepared_statements, expected, "{parameters}");
        }
    }

    #[test]
    fn an_address_that_is_not_valid_gets_an_error_that_says_what_is() {
        for (address, part) in [
            ("postgres://h?sllmode=require", "the unknown parameter `sllmode`; known are `host`, `hostaddr`, `port`"),
            ("postgres://h?sslmode=on", "`sslmode` is not valid: use `disable`, `prefer`, `require`, `verify-ca`"),
            ("postgres://h?target_session_attrs=standby", "use `any`, `primary`, `read-write` or `read-only`"),
            ("postgres://h:99999/app", "`port` is not valid: use numbers from 1 to 65535"),
            ("postgres://h?port=1,2", "`port` is not valid: use one port, or as many as hosts"),
            (
                "postgres://h1,h2?hostaddr=::1",
                "`hostaddr` is not valid: use IP addresses, separated by commas, as many as",
            ),
            ("postgres://h?pgbouncer=yes", "`pgbouncer` is not valid: use `true` or `false`"),
            ("postgres://h?client_encoding=latin1", "`client_encoding` is not valid: use `UTF8`"),
            ("postgres://h?service=app", "`service` is not supported: write its parameters into the address"),
            ("postgres://h?sslcrl=x", "`sslcrl` is not supported"),
            ("postgres://h?sslnegotiation=direct", "`direct` only with `sslmode=require` or stronger"),
            ("postgres://u@h?password=a&b=c", "`%26` for `&`"),
            ("app.db", "neither a URL"),
            ("postgres:///app", "has no host"),
        ] {
            let error = error(address);
            assert!(error.contains(part), "{address}: {error}");
            assert!(!error.contains("99999") && !error.contains("latin1") && !error.contains("`b`"), "{error}");
        }
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of_test(&[("PGSERVICE", "app")], home.path());
        let error = Settings::read("postgres://h", Some(&environment)).err().unwrap().to_string();
        assert!(error.starts_with("`PGSERVICE` is not supported"), "{error}");
        let environment = Environment::of_test(&[("PGREQUIRESSL", "1")], home.path());
        let error = Settings::read("postgres://h", Some(&environment)).err().unwrap().to_string();
        assert_eq!(error, "`PGREQUIRESSL` is not supported: use `sslmode=require`");
        for (variables, variable) in [
            (&[("PGSSLMODE", "on")], "PGSSLMODE"),
            (&[("PGPORT", "none")], "PGPORT"),
            (&[("PGCONNECT_TIMEOUT", "soon")], "PGCONNECT_TIMEOUT"),
        ] {
            let environment = Environment::of_test(variables, home.path());
            let error = Settings::read("postgres://h", Some(&environment)).err().unwrap().to_string();
            assert!(error.starts_with(&format!("the value of `{variable}` is not valid: use ")), "{error}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn the_modes_of_tls_are_those_of_libpq() {
        let mode = |parameters: &str| {
            let settings = read(&format!("postgres://h/app?{parameters}")).unwrap();
            settings.tls.map(|tls| (tls.mode, tls.root.is_some()))
        };
        assert_eq!(mode(""), Some((SslMode::Prefer, false)));
        assert_eq!(mode("sslmode=disable"), None);
        assert_eq!(mode("sslmode=allow"), Some((SslMode::Prefer, false)));
        assert_eq!(mode("ssl=true"), Some((SslMode::Require, false)));
        assert_eq!(mode("sslmode=require&sslrootcert=ca.pem"), Some((SslMode::Require, true)));
        assert_eq!(mode("sslrootcert=system"), Some((SslMode::VerifyFull, true)));
        for (parameters, part) in [
            ("sslmode=verify-full", "`sslmode=verify-full` needs the certificate of an authority"),
            ("sslmode=verify-ca", "`sslmode=verify-ca` needs the certificate of an authority"),
            ("sslmode=require&sslrootcert=system", "`sslrootcert=system` needs `sslmode=verify-full`, not `require`"),
            ("sslcert=a.crt", "`sslcert` and `sslkey` belong together"),
        ] {
            let error = error(&format!("postgres://h/app?{parameters}"));
            assert!(error.contains(part), "{parameters}: {error}");
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".postgresql")).unwrap();
        for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
            fs::write(home.path().join(".postgresql").join(name), "").unwrap();
        }
        let environment = Environment::of_test(&[], home.path());
        let tls = Settings::read("postgres://h/app", Some(&environment)).unwrap().tls.unwrap();
        assert!(tls.root.is_some() && tls.client.is_some());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_mode_that_needs_tls_says_that_the_feature_is_missing() {
        for mode in ["require", "verify-ca&sslrootcert=x", "verify-full&sslrootcert=system"] {
            let error = error(&format!("postgres://h/app?sslmode={mode}"));
            assert!(error.contains("enable the feature `tls` of `enroll-postgres`"), "{error}");
        }
        assert!(read("postgres://h/app").unwrap().tls.is_none());
    }
}
