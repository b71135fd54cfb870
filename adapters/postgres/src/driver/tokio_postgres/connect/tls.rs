//! TLS with rustls: what is verified, and the client's certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore,
    SignatureScheme,
};
use std::fmt;
use std::io;
use std::iter;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::environment::is_private;
use super::info::TlsVersion;
use super::settings::{ClientFiles, Root, SslMode, TlsSettings};
use crate::{FileProblem, TlsError};

/// Encrypts connections. Clones share the sessions that the server can resume.
#[derive(Clone)]
pub(super) struct Connector {
    make: MakeRustlsConnect,
    verifier: Arc<Verifier>,
}

impl Connector {
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = if settings.only_newest { &[&TLS13][..] } else { &[&TLS13, &TLS12] };
        let verifier = Arc::new(Verifier {
            roots: settings.root.as_ref().map(roots).transpose()?,
            has_name: settings.mode == SslMode::VerifyFull,
            provider: Arc::clone(&provider),
            version: OnceLock::new(),
        });
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|e| TlsError::Handshake(e.to_string()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::clone(&verifier) as _);
        let mut config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let client = client_certificate(files, &verifier.provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client)))
            }
        };
        if settings.is_direct {
            // Without a request before the handshake, the server knows the protocol by this name alone.
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Self { make: MakeRustlsConnect::new(config), verifier })
    }

    pub(super) fn make(&self) -> MakeRustlsConnect {
        self.make.clone()
    }

    /// Returns the version of TLS of the first handshake, if there was one.
    pub(super) fn version(&self) -> Option<TlsVersion> {
        self.verifier.version.get().copied()
    }

    /// Returns true if the server is verified. Then an unencrypted connection cannot replace this one.
    pub(super) fn verifies(&self) -> bool {
        self.verifier.roots.is_some()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Verifies the certificate of the server as far as the mode asks for it.
struct Verifier {
    /// `None` accepts every certificate.
    roots: Option<Roots>,
    /// True if the certificate must be valid for the name of the host.
    has_name: bool,
    provider: Arc<CryptoProvider>,
    version: OnceLock<TlsVersion>,
}

struct Roots {
    store: RootCertStore,
    /// The certificates of a file. One of them can be the server's own.
    pinned: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    fn verify(
        &self,
        roots: &Roots,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, intermediates, now, algorithms) {
            // `openssl req -x509` makes a server's certificate that is an authority too. The period of validity is checked
            // before the kind of the certificate.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if roots.pinned.contains(certificate) => {}
            answer => answer?,
        }
        if self.has_name { verify_server_name(&parsed, name) } else { Ok(()) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            self.verify(roots, certificate, intermediates, name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // The signature is verified in every mode: channel binding needs the server to own the key of its certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.version.get_or_init(|| TlsVersion::Tls12);
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.version.get_or_init(|| TlsVersion::Tls13);
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn roots(root: &Root) -> Result<Roots, TlsError> {
    let mut store = RootCertStore::empty();
    let pinned = match root {
        Root::System => {
            // Single files of the system may be broken.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
            Vec::new()
        }
        Root::File(path) => {
            let certificates = certificates("sslrootcert", path)?;
            let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
            if added == 0 {
                return Err(file_error("sslrootcert", path, FileProblem::NoCertificate));
            }
            certificates
        }
    };
    Ok(Roots { store, pinned })
}

fn client_certificate(files: &ClientFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("sslcert", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| match e {
        rustls::pki_types::pem::Error::Io(e) => file_error("sslkey", &files.key, FileProblem::Read(e)),
        _ => file_error("sslkey", &files.key, FileProblem::NoKey),
    })?;
    let is_private = std::fs::metadata(&files.key).is_ok_and(|metadata| is_private(&metadata));
    if !is_private {
        return Err(file_error("sslkey", &files.key, FileProblem::Permissions));
    }
    let failed = |e: Error| file_error("sslkey", &files.key, FileProblem::Key(e.to_string()));
    let client = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).map_err(failed)?);
    match client.keys_match() {
        // A certificate of version 1, as `openssl x509 -req` makes it without extensions: rustls cannot read it to compare,
        // but the server accepts it.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown) | Error::InvalidCertificate(_)) => Ok(client),
        Err(e) => Err(failed(e)),
    }
}

fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |e| match e {
        rustls::pki_types::pem::Error::Io(e) => file_error(parameter, path, FileProblem::Read(e)),
        _ => file_error(parameter, path, FileProblem::NoCertificate),
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(file_error(parameter, path, FileProblem::NoCertificate));
    }
    Ok(certificates)
}

fn file_error(parameter: &'static str, path: &Path, problem: FileProblem) -> TlsError {
    TlsError::File { parameter, path: path.to_owned(), problem }
}

/// Returns the error of TLS in an error of the driver.
pub(super) fn error_of(error: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    iter::successors(Some(error), |error| error.source()).find_map(|error| {
        // An I/O error does not return the error that it contains as its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let error = error.downcast_ref::<Error>().or_else(|| inner?.downcast_ref())?;
        Some(classify(error))
    })
}

fn classify(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsError::NotYetValid,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsError::UnknownIssuer,
            CertificateError::NotValidForNameContext { expected, presented } => TlsError::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| name_of(name)).collect(),
            },
            other => TlsError::Certificate(other.to_string()),
        },
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate),
        ) => TlsError::ClientCertificate(format!("{alert:?}")),
        other => TlsError::Handshake(other.to_string()),
    }
}

/// Returns a name of a certificate without its kind: `DnsName("db.example")`.
fn name_of(name: &str) -> String {
    let inner = name.split_once('(').map(|(_, inner)| inner.trim_end_matches(')').trim_matches('"'));
    inner.unwrap_or(name).to_owned()
}
