//! The secret of an endpoint, and the signature of a message by the convention Standard Webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::str::FromStr;

/// The key of the signatures of an endpoint. It has no `Debug`, so that no log contains it.
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// Returns a new random secret.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the text that the receiver gets: `whsec_` and the bytes in base64.
    pub(crate) fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Returns the value of the header `webhook-signature`. `seconds` is the value of `webhook-timestamp`.
    pub(crate) fn sign(&self, id: &str, seconds: i64, body: &str) -> Result<String, InvalidSecret> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| InvalidSecret)?;
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        STANDARD.decode(encoded).map(Self).map_err(|_| InvalidSecret)
    }
}

/// The stored secret is not one.
#[derive(Debug, thiserror::Error)]
#[error("the secret is not `{PREFIX}` and base64")]
pub(crate) struct InvalidSecret;

const PREFIX: &str = "whsec_";
/// The number of random bytes. The convention asks for 24 to 64.
const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the convention's own libraries.
    #[test]
    fn a_signature_is_the_one_of_the_convention() {
        let secret: Secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        let body = r#"{"email":"test@example.com","username":"test_user"}"#;
        let signature = secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body).unwrap();
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn a_secret_is_random_and_is_read_back() {
        let [one, other] = [(), ()].map(|()| Secret::generate().unwrap());
        assert!(one.0 != other.0 && one.0.len() == 32);
        assert!(one.to_text().parse::<Secret>().unwrap().0 == one.0);
        for bad in ["", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_?"] {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
    }
}
