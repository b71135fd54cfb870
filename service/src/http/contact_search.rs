//! What a client knows of the contacts that it looks for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use enroll::contact::{Email, PhoneNumber};
use enroll::{
    AsyncRepository, Engine, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
    OrganizationId, RepositoryError, SequenceId, Timestamp,
};
use uuid::Uuid;

use super::query::Parameters;
use crate::handles::Handle;
use crate::sql::ContactFilter;

/// The keys and a part of the name of contacts, as the client wrote them.
#[derive(Debug, Serialize)]
pub(crate) struct ContactSearch {
    phone: Option<String>,
    email: Option<String>,
    external_id: Option<String>,
    name: Option<String>,
}

/// The contacts to find: those that have all of this. A member that is `null` or blank is absent; another member is ignored if it
/// is `null`, blank or empty.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContactSearch)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ContactSearchDoc {
    /// As in a request to enroll people, or exactly as stored.
    #[schema(pattern = r"^[^\x00]*$")]
    phone: Option<String>,
    /// Case is ignored.
    #[schema(pattern = r"^[^\x00]*$")]
    email: Option<String>,
    /// A part of the name. The case of ASCII letters is ignored.
    #[schema(pattern = r"^[^\x00]*$")]
    name: Option<String>,
    /// The sender's own id.
    #[schema(pattern = r"^[^\x00]*$")]
    external_id: Option<String>,
    /// The number of contacts to return; default 50.
    #[schema(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The number of contacts to skip; default 0.
    offset: Option<u32>,
}

impl ContactSearch {
    /// The parameters that are read.
    pub(crate) const NAMES: [&'static str; 4] = ["phone", "email", "external_id", "name"];

    pub(crate) fn from_body(parameters: &mut Parameters) -> Self {
        let [phone, email, external_id, name] =
            Self::NAMES.map(|name| parameters.text(name).map(|text| text.trim().to_owned()));
        Self { phone, email, external_id, name }
    }

    /// Reads a query, in which an unescaped `+` is a space.
    pub(crate) fn from_query(parameters: &mut Parameters) -> Self {
        let phone = parameters.text("phone").map(with_plus_of_phone);
        let email = parameters.text("email").map(with_plus_of_email);
        let search = Self::from_body(parameters);
        Self { phone, email, ..search }
    }

    /// Returns the filter with the forms in which keys are stored and compared.
    pub(crate) async fn filter(
        self,
        handle: &mut Handle,
        policy: &EnrollmentPolicy,
        organization_id: OrganizationId,
    ) -> Result<ContactFilter, RepositoryError> {
        let phones = match self.phone {
            Some(phone) => stored_forms(phone, handle, policy, organization_id).await?,
            None => Vec::new(),
        };
        let email_key = self.email.as_deref().map(email_key);
        Ok(ContactFilter { phones, email_key, external_id: self.external_id, name: self.name })
    }
}

/// Returns the phone as the engine reads it, and as it was written: a stored phone can be no valid number.
pub(super) async fn stored_forms(
    phone: String,
    handle: &mut Handle,
    policy: &EnrollmentPolicy,
    organization_id: OrganizationId,
) -> Result<Vec<String>, RepositoryError> {
    let engine = Engine::new(policy);
    let read = match PhoneNumber::read(&phone, None, engine.phones) {
        Ok(number) => Ok(number),
        Err(_) => {
            let reference = Enrollment {
                organization_id,
                // A request to no sequence: only the channels of the organization are needed.
                sequence_id: SequenceId::from_uuid(Uuid::nil()),
                key: EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::nil())),
                at: Timestamp::EPOCH,
                list: None,
                request: &EnrollmentRequest::default(),
            };
            let reference = handle.inbox().reference_data(&reference.reference_query()).await?;
            PhoneNumber::read(&phone, engine.region(&reference, None).as_ref(), engine.phones)
        }
    };
    let read = read.ok().map(|number| number.as_str().to_owned()).filter(|number| *number != phone);
    Ok(read.into_iter().chain([phone]).collect())
}

fn email_key(text: &str) -> String {
    Email::parse(text).unwrap_or_else(|_| Email::stored(text)).key().to_owned()
}

/// Returns a phone of a query with its `+`.
pub(super) fn with_plus_of_phone(text: &str) -> String {
    match text.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit() || c == '(') => format!("+{}", rest.trim_end()),
        _ => text.trim().to_owned(),
    }
}

/// Returns an email of a query with its `+`. No email that is valid contains a space.
fn with_plus_of_email(text: &str) -> String {
    let text = text.trim();
    let with_plus = text.replace(' ', "+");
    if Email::parse(&with_plus).is_ok() { with_plus } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unescaped_plus_of_a_query_is_restored() {
        for (text, phone) in [
            ("+12025550123", "+12025550123"),
            (" 12025550123", "+12025550123"),
            (" (1) 202 555 0123 ", "+(1) 202 555 0123"),
            (" n/a ", "n/a"),
        ] {
            assert_eq!(with_plus_of_phone(text), phone);
        }
        for (text, email) in
            [("ann tag@example.org", "ann+tag@example.org"), (" ann@example.org", "ann@example.org"), ("n a", "n a")]
        {
            assert_eq!(with_plus_of_email(text), email);
        }
        assert_eq!(email_key("Ann@Example.ORG"), "ann@example.org");
    }
}
