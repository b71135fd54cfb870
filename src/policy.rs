//! What a host may decide otherwise than documented.

use serde::{Deserialize, Serialize};

use crate::contact::Region;

/// The switches of the engine. The default of each is the documented behaviour.
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
    /// Whether an entry without `phone` is refused with the whole request (SPEC 3), or left to SPEC 4.2.
    pub phone_required: bool,
    /// The region in which phone numbers without `+` are read. `None`: the region of the phone of the channel
    /// used, else of the organization's first enabled phone channel by id, else none (SPEC 4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_region: Option<Region>,
    /// Whose address makes a recipient eligible (SPEC 4.2).
    pub address_source: AddressSource,
    /// What becomes of a recipient whose keys name different contacts (SPEC 4.3).
    pub identity_conflict: IdentityConflict,
    /// What an entry does to a contact that exists (SPEC 4.3).
    pub existing_contact: ExistingContact,
    /// Whether blocked and opted-out contacts are ignored (SPEC 4.5).
    pub consent: Consent,
    /// Which contacts of the step are reprocessed (SPEC 4.6 b).
    pub reprocess: Reprocess,
}

impl Default for EnrollmentPolicy {
    fn default() -> Self {
        Self {
            phone_required: true,
            default_region: None,
            address_source: AddressSource::default(),
            identity_conflict: IdentityConflict::default(),
            existing_contact: ExistingContact::default(),
            consent: Consent::default(),
            reprocess: Reprocess::default(),
        }
    }
}

/// Whose address makes a recipient eligible (SPEC 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressSource {
    /// The entry must bring the address that the step needs.
    #[default]
    EntryOnly,
    /// The matched contact's address does too, also where the entry's is bad.
    EntryThenContact,
}

/// What becomes of a recipient whose keys name different contacts (SPEC 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityConflict {
    /// The first key's contact is enrolled, with a note for each key of another.
    #[default]
    PreferKeyOrder,
    /// The recipient is ignored.
    Refuse,
}

/// What an entry does to a contact that exists (SPEC 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExistingContact {
    /// Blank fields are filled; nothing stored is replaced.
    #[default]
    FillBlank,
    /// Nothing changes.
    Keep,
    /// What the entry gives replaces what is stored.
    Overwrite,
}

/// Whether blocked and opted-out contacts are ignored (SPEC 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// They are ignored.
    #[default]
    Enforce,
    /// They are enrolled; whoever sends has to ask.
    LeaveToSender,
}

/// Which contacts of the step are reprocessed (SPEC 4.6 b).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reprocess {
    /// Whoever is in the step, whatever the status.
    #[default]
    AnyStatus,
    /// Only who is pending or active in it.
    LiveOnly,
}
