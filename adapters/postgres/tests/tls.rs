//! Encrypted connections to a real server, with an authority made for the test.
#![cfg(all(feature = "testing", feature = "tls"))]

#[path = "support/certificates.rs"]
mod certificates;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use certificates::{Authority, Certificate};
use enroll_postgres::testing::Server;
use enroll_postgres::{ConnectOptions, PostgresError, PostgresRepository, TlsError, TlsVersion, needs_postgres};
use support::{Request, block_on, body, connect, seed, until_blocked, until_session_ended};
use tempfile::TempDir;

/// A server with TLS, and a folder with the files of its clients.
struct TlsServer {
    server: Server,
    files: TempDir,
}

/// Local connections of the fixture need no encryption, and any host can be reached as `127.0.0.1` or `localhost`.
const ENCRYPTED_ONLY: &str = "hostnossl postgres all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n";

impl TlsServer {
    fn start(authority: &Authority, certificate: &Certificate, hba: &str, settings: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        let settings = [&[("ssl", "on"), ("ssl_ca_file", "ca.crt")], settings].concat();
        let server = Server::start_with_files(
            &settings,
            &[
                ("server.crt", &certificate.certificate),
                ("server.key", &certificate.key),
                ("ca.crt", &authority.pem()),
                ("pg_hba.conf", hba),
            ],
        );
        Self { server, files }
    }

    /// Returns the address of a database, with the host and parameters.
    fn address(&self, database: &str, host: &str, parameters: &str) -> String {
        let port = self.server.url().rsplit(':').next().unwrap().split('/').next().unwrap();
        let root = self.files.path().join("ca.pem");
        let parameters = parameters.replace("CA", root.to_str().unwrap());
        format!("postgres://postgres@{host}:{port}/{database}?{parameters}")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Returns the version of TLS that the server has for the connection.
async fn version_of(address: &str) -> Result<Option<String>, PostgresError> {
    let client = ConnectOptions::from_address(address)?.connect().await?;
    let sql = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    Ok(client.query_typed_one(sql, &[]).await?.try_get(0)?)
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_is_encrypted_and_verified_as_the_mode_says() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let certificate = authority.server(&["localhost"]);
        let server = TlsServer::start(&authority, &certificate, ENCRYPTED_ONLY, &[]);
        for (host, parameters, version) in [
            ("localhost", "sslmode=disable", None),
            ("localhost", "", Some("TLSv1.3")),
            ("127.0.0.1", "sslmode=require", Some("TLSv1.3")),
            ("127.0.0.1", "sslmode=require&sslrootcert=CA", Some("TLSv1.3")),
            ("127.0.0.1", "sslmode=verify-ca&sslrootcert=CA", Some("TLSv1.3")),
            ("localhost", "sslmode=verify-full&sslrootcert=CA", Some("TLSv1.3")),
            ("localhost", "sslmode=verify-full&sslrootcert=CA&ssl_min_protocol_version=TLSv1.3", Some("TLSv1.3")),
        ] {
            let address = server.address("postgres", host, parameters);
            let found = version_of(&address).await.unwrap_or_else(|e| panic!("{parameters}: {e}"));
            assert_eq!(found.as_deref(), version, "{host} {parameters}");
        }
        let address = server.address("postgres", "127.0.0.1", "sslmode=verify-full&sslrootcert=CA");
        let error = version_of(&address).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::WrongName { .. })), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the server's certificate is not valid for `127.0.0.1`, but for `localhost`: use a name of the certificate as \
             the host, or `sslmode=verify-ca` to accept every name"
        );
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_server_of_an_unknown_authority_is_refused() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let stranger = Authority::new("Test authority");
        let server = TlsServer::start(&authority, &stranger.server(&["localhost"]), ENCRYPTED_ONLY, &[]);
        assert!(version_of(&server.address("postgres", "localhost", "sslmode=require")).await.unwrap().is_some());
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let address = server.address("postgres", "localhost", &format!("sslmode={mode}&sslrootcert=CA"));
            let error = version_of(&address).await.unwrap_err();
            assert!(matches!(error, PostgresError::Tls(TlsError::UnknownIssuer)), "{mode}: {error:?}");
            assert!(error.to_string().contains("set `sslrootcert` to the file of its authority"), "{error}");
        }
        // The authorities of the operating system do not know this one either.
        let error = version_of(&server.address("postgres", "localhost", "sslrootcert=system")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::UnknownIssuer | TlsError::NoSystemRoots)), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn an_expired_certificate_is_refused() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let server = TlsServer::start(&authority, &authority.expired_server(&["localhost"]), ENCRYPTED_ONLY, &[]);
        assert!(version_of(&server.address("postgres", "localhost", "sslmode=require")).await.unwrap().is_some());
        let address = server.address("postgres", "localhost", "sslmode=verify-ca&sslrootcert=CA");
        let error = version_of(&address).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::Expired)), "{error:?}");
        assert!(error.to_string().contains("has expired: renew it on the server"), "{error}");
    });
}

/// As `openssl req -new -x509` makes it: its own authority.
#[test]
#[ignore = needs_postgres!()]
fn a_server_with_a_certificate_of_its_own_is_verified_by_that() {
    block_on(async {
        let (authority, own) = (Authority::new("Test authority"), Certificate::of_its_own("localhost"));
        let server = TlsServer::start(&authority, &own, ENCRYPTED_ONLY, &[]);
        let root = server.file("own.pem", &own.certificate);
        let address = |host| server.address("postgres", host, &format!("sslmode=verify-full&sslrootcert={root}"));
        assert!(version_of(&address("localhost")).await.unwrap().is_some());
        let error = version_of(&address("127.0.0.1")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::WrongName { .. })), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_client_is_known_by_its_certificate() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let hba = "hostnossl postgres postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 cert\n";
        let server = TlsServer::start(&authority, &authority.server(&["localhost"]), hba, &[]);
        let with = |client: &Certificate, name: &str| {
            let certificate = server.file(&format!("{name}.crt"), &client.certificate);
            let key = server.file(&format!("{name}.key"), &client.key);
            let files = format!("sslmode=verify-full&sslrootcert=CA&sslcert={certificate}&sslkey={key}");
            server.address("postgres", "localhost", &files)
        };
        assert!(version_of(&with(&authority.client("postgres"), "postgres")).await.unwrap().is_some());

        // Another role, another authority, and none.
        let error = version_of(&with(&authority.client("bea"), "bea")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Refused(_)), "{error:?}");
        let stranger = Authority::new("Another authority").client("postgres");
        let error = version_of(&with(&stranger, "stranger")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::ClientCertificate(_))), "{error:?}");
        assert!(error.to_string().contains("set `sslcert` and `sslkey`"), "{error}");
        let none = server.address("postgres", "localhost", "sslmode=verify-full&sslrootcert=CA");
        let error = version_of(&none).await.unwrap_err();
        assert!(matches!(error, PostgresError::Refused(_)), "{error:?}");

        // A key that others can read, that is missing, and that belongs to another certificate.
        let client = authority.client("postgres");
        let address = with(&client, "mine");
        let key = server.files.path().join("mine.key");
        fs::write(&key, &authority.client("postgres").key).unwrap();
        let error = ConnectOptions::from_address(&address).unwrap_err().to_string();
        assert!(error.contains("mine.key of `sslkey` cannot be used: the key does not fit the certificate"), "{error}");
        fs::write(&key, &client.key).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let error = ConnectOptions::from_address(&address).unwrap_err().to_string();
        assert!(error.contains("others can read the private key; run `chmod 600` on it"), "{error}");
        fs::remove_file(&key).unwrap();
        let error = ConnectOptions::from_address(&address).unwrap_err().to_string();
        assert!(error.contains("mine.key of `sslkey` cannot be used: No such file"), "{error}");
        let error = ConnectOptions::from_address(&server.address("postgres", "h", "sslrootcert=/no/such")).unwrap_err();
        assert!(error.to_string().contains("/no/such of `sslrootcert` cannot be used"), "{error}");
    });
}

/// As `openssl x509 -req` makes it without `-extfile`, such as in the documentation of PostgreSQL:
/// `openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt`. These files are valid until 2120.
#[test]
#[ignore = needs_postgres!()]
fn a_client_can_have_a_certificate_of_version_1() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let hba = "hostnossl postgres postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 cert\n";
        let certificate = authority.server(&["localhost"]);
        let files = [
            ("server.crt", &*certificate.certificate),
            ("server.key", &*certificate.key),
            ("ca.crt", include_str!("support/version_1/ca.crt")),
            ("pg_hba.conf", hba),
        ];
        let server = Server::start_with_files(&[("ssl", "on"), ("ssl_ca_file", "ca.crt")], &files);
        let server = TlsServer { server, files: tempfile::tempdir().unwrap() };
        let certificate = server.file("client.crt", include_str!("support/version_1/client.crt"));
        let key = server.file("client.key", include_str!("support/version_1/client.key"));
        let parameters = format!("sslmode=require&sslcert={certificate}&sslkey={key}");
        assert!(version_of(&server.address("postgres", "localhost", &parameters)).await.unwrap().is_some());
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_server_without_tls_is_refused_if_the_mode_needs_it() {
    block_on(async {
        let url = Server::shared().url().to_owned();
        assert_eq!(version_of(&format!("{url}?sslmode=prefer")).await.unwrap(), None);
        let error = version_of(&format!("{url}?sslmode=require")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::NotOffered)), "{error:?}");
    });
}

/// TLS 1.2 at most, and a password: SCRAM binds it to the channel.
#[test]
#[ignore = needs_postgres!()]
fn a_password_is_bound_to_the_channel() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let hba = "hostnossl postgres postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        let settings = [("ssl_max_protocol_version", "TLSv1.2")];
        let server = TlsServer::start(&authority, &authority.server(&["localhost"]), hba, &settings);
        connect(server.server.url()).await.batch_execute("alter role postgres password 'p@ss/word#1'").await.unwrap();
        let address = server.address("postgres", "localhost", "sslmode=require&channel_binding=require");
        let with = |password: &str| address.replacen("postgres@", &format!("postgres:{password}@"), 1);
        assert_eq!(version_of(&with("p%40ss%2Fword%231")).await.unwrap().as_deref(), Some("TLSv1.2"));
        let error = version_of(&with("wrong")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Refused(_)), "{error:?}");
        let error = version_of(&with("p@ss/word#1")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Address(_)) && !error.to_string().contains("word#1"), "{error}");
        let newest = format!("{}&ssl_min_protocol_version=TLSv1.3", with("p%40ss%2Fword%231"));
        let error = version_of(&newest).await.unwrap_err();
        assert!(matches!(error, PostgresError::Tls(TlsError::Handshake(_))), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_repository_enrolls_and_cancels_over_tls() {
    block_on(async {
        let authority = Authority::new("Test authority");
        let server = TlsServer::start(&authority, &authority.server(&["localhost"]), ENCRYPTED_ONLY, &[]);
        connect(server.server.url()).await.batch_execute("create database app").await.unwrap();
        // Nothing but encrypted connections reach this database.
        let address = server.address("app", "localhost", "sslmode=verify-full&sslrootcert=CA");
        let mut repository = PostgresRepository::connect(&address, 2).await.unwrap();
        let options = ConnectOptions::from_address(&address).unwrap();
        let mut observer = options.connect().await.unwrap();
        enroll_postgres::seed::load(&mut observer, &seed()).await.unwrap();
        // Enough rows for a copy.
        let report = Request::new(1, &body(0, 2100)).enroll(&mut repository).await.unwrap();
        assert_eq!(report.counts().added, 2100);

        let mut blocker = options.connect().await.unwrap();
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contacts in access exclusive mode").await.unwrap();
        let pid = support::pid(&repository.pool().get().await.unwrap()).await;
        let host = repository.clone();
        tokio::select! {
            biased;
            answer = host.query("select from enroll.contacts", &[]) => panic!("{answer:?}"),
            () = until_blocked(&observer, pid) => {}
        }
        until_session_ended(&observer, pid).await;

        let info = options.inspect().await.unwrap();
        assert_eq!((info.tls, info.server_tls.as_deref()), (Some(TlsVersion::Tls13), Some("TLSv1.3")));
        assert!(!info.has_pooler && info.prepared_statements && !info.is_read_only, "{info:?}");
        assert_eq!((&*info.user, &*info.database, &*info.application_name), ("postgres", "app", "enroll"));
        info.server.check().unwrap();
        let plain = ConnectOptions::from_address(&server.address("postgres", "localhost", "sslmode=disable")).unwrap();
        let info = plain.inspect().await.unwrap();
        assert_eq!((info.tls, info.server_tls), (None, None));
    });
}

/// The test runs itself again, with the authority of the test as the one of the operating system.
#[test]
#[ignore = needs_postgres!()]
fn the_authorities_of_the_system_are_used() {
    const CHILD: &str = "ENROLL_TEST_SYSTEM_ROOTS";
    if let Ok(address) = std::env::var(CHILD) {
        return block_on(async {
            assert!(version_of(&address).await.unwrap().is_some());
            let error = version_of(&address.replace("localhost", "127.0.0.1")).await.unwrap_err();
            assert!(matches!(error, PostgresError::Tls(TlsError::WrongName { .. })), "{error:?}");
        });
    }
    let authority = Authority::new("Test authority");
    let server = TlsServer::start(&authority, &authority.server(&["localhost"]), ENCRYPTED_ONLY, &[]);
    let address = server.address("postgres", "localhost", "sslrootcert=system");
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["the_authorities_of_the_system_are_used", "--exact", "--include-ignored"]).env(CHILD, address);
    let root: &Path = &server.files.path().join("ca.pem");
    let output = test.env("SSL_CERT_FILE", root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
