//! A build without the feature `tls`.

use super::info::TlsVersion;
use super::settings::TlsSettings;
use crate::TlsError;

/// Does not exist: this build has no TLS.
#[derive(Clone, Debug)]
pub(super) enum Connector {}

impl Connector {
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        Err(TlsError::NotBuilt { mode: settings.mode.as_str() })
    }

    pub(super) fn make(&self) -> tokio_postgres::NoTls {
        match *self {}
    }

    pub(super) fn version(&self) -> Option<TlsVersion> {
        match *self {}
    }

    pub(super) fn verifies(&self) -> bool {
        match *self {}
    }
}

pub(super) fn error_of(_error: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    None
}
