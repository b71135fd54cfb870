//! All switches of a host's policy.

use super::{AddressSource, Consent, ExistingContact, IdentityConflict, Reprocess, UnknownKeys};
use serde::{Deserialize, Serialize};

use crate::contact::Region;

/// The settings of the engine. The default of each setting is the documented behaviour.
///
/// ```
/// use enroll::{EnrollmentPolicy, policy::ExistingContact};
///
/// let mut policy = EnrollmentPolicy::default();
/// policy.existing_contact = ExistingContact::Keep;
/// policy.default_region = Some("RW".parse()?);
/// # Ok::<(), enroll::contact::RegionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EnrollmentPolicy {
    /// Whether the engine refuses a request if an entry has no `phone` (spec 3). Otherwise spec 4.2 applies to the
    /// entry.
    pub phone_required: bool,
    /// The region in which phone numbers without `+` are read (spec 4.1).
    ///
    /// If it is absent, the engine uses the region of the phone of the channel used. If that has none, it uses the
    /// region of the organization's enabled channel of any phone kind (`phone`, `whatsapp`, `fax`) with the smallest
    /// id. If that has none either, only numbers with `+` are valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_region: Option<Region>,
    /// What happens to keys of a body that no field has (spec 3).
    pub unknown_keys: UnknownKeys,
    /// Which address can satisfy the channel kind of the step (spec 4.2).
    pub address_source: AddressSource,
    /// What happens to a recipient whose keys belong to different contacts (spec 4.3).
    pub identity_conflict: IdentityConflict,
    /// What a recipient changes on an existing contact (spec 4.3).
    pub existing_contact: ExistingContact,
    /// Whether blocked and opted-out contacts are ignored (spec 4.5).
    pub consent: Consent,
    /// Which contacts of the specified step are reprocessed (spec 4.6 b).
    pub reprocess: Reprocess,
}

impl Default for EnrollmentPolicy {
    fn default() -> Self {
        Self {
            phone_required: true,
            default_region: None,
            unknown_keys: UnknownKeys::default(),
            address_source: AddressSource::default(),
            identity_conflict: IdentityConflict::default(),
            existing_contact: ExistingContact::default(),
            consent: Consent::default(),
            reprocess: Reprocess::default(),
        }
    }
}
