//! Ids: one newtype for each kind of row, and the derivation of new ids (spec 6).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub struct $name(Uuid);

        impl $name {
            /// Creates an id from a uuid.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the uuid.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    )*};
}

ids! {
    /// The id of an organization, the tenant of every row.
    OrganizationId,
    /// The id of a sequence.
    SequenceId,
    /// The id of a step.
    StepId,
    /// The id of a channel.
    ChannelId,
    /// The id of a contact.
    ContactId,
    /// The id of a conversation: one contact on one channel.
    ConversationId,
    /// The id of a run: one pass of a contact through a sequence.
    RunId,
    /// The id of a step contact: a contact in a step, in a run.
    StepContactId,
    /// The id of a tag.
    TagId,
    /// The id of a custom object.
    CustomObjectId,
    /// The id of a record of a custom object.
    CustomRecordId,
    /// The id of a call flow.
    CallFlowId,
    /// The id of an enrollment: one accepted request.
    EnrollmentId,
    /// The id of an event: one change of an enrollment's state.
    EventId,
}

impl EnrollmentId {
    /// Derives the id of an enrollment from its organization and idempotency key (spec 6).
    ///
    /// The same organization and key always give the same id: a UUIDv8 over SHA-256.
    #[must_use]
    pub fn from_idempotency_key(organization_id: OrganizationId, key: &str) -> Self {
        Self::derived(b"enroll idempotency key\0", organization_id.0, key.as_bytes())
    }

    /// Derives the id of a request that is one part of a larger import. Parts are counted from 0.
    ///
    /// Part 0 has the id itself. So the engine recognizes a key that was used for one request before.
    #[must_use]
    pub fn part(self, part: u32) -> Self {
        if part == 0 {
            return self;
        }
        Self::derived(b"enroll part of an import\0", self.0, &part.to_be_bytes())
    }

    fn derived(domain: &[u8], first: Uuid, second: &[u8]) -> Self {
        Self(uuid_v8(Sha256::new().chain_update(domain).chain_update(first.as_bytes()).chain_update(second)))
    }
}

impl EventId {
    /// Derives the id of an event, for a repository without random numbers. The number belongs to this event only.
    pub(crate) fn derived(organization_id: OrganizationId, enrollment_id: EnrollmentId, number: u64) -> Self {
        let ids = [organization_id.0, enrollment_id.0].map(Uuid::into_bytes).concat();
        let hash = Sha256::new().chain_update(b"enroll event\0").chain_update(ids).chain_update(number.to_be_bytes());
        Self(uuid_v8(hash))
    }
}

fn uuid_v8(hash: Sha256) -> Uuid {
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Returns true if both ids come from one instant and their recipients are at most 4 places apart in the request.
///
/// A table that is ordered by such an id has few rows between the two. So a repository can read a range of rows faster
/// than it finds each row. `chunk_by` splits sorted ids into ranges of adjacent ids.
///
/// ```
/// use enroll::repository::are_adjacent;
/// use uuid::Uuid;
///
/// let [first, second, fourth, of_another_instant] = [
///     "018e8b3c-5a00-7000-8400-000000000001",
///     "018e8b3c-5a00-7001-8400-000000000001",
///     "018e8b3c-5a00-7003-8400-000000000001",
///     "018e8b3c-5a01-7004-8400-000000000001",
/// ]
/// .map(|id| id.parse::<Uuid>().unwrap());
/// let ids = [first, second, fourth, of_another_instant];
/// let ranges: Vec<&[Uuid]> = ids.chunk_by(|a, b| are_adjacent(*a, *b)).collect();
/// assert_eq!(ranges, [&ids[..3], &ids[3..]]);
/// ```
#[must_use]
pub fn are_adjacent(first: Uuid, second: Uuid) -> bool {
    let [(first, _), (second, _)] = [first.as_u64_pair(), second.as_u64_pair()];
    first >> INDEX_BITS == second >> INDEX_BITS && (1..=NEAR).contains(&second.wrapping_sub(first))
}

/// The bits of a minted id that contain the index of the recipient: `rand_a` of a UUIDv7.
pub(crate) const INDEX_BITS: u32 = 12;
/// The maximum distance of adjacent recipients. A range scan also reads the rows between them. Such a row costs at most
/// a fifth of a lookup.
const NEAR: u64 = 4;

/// The kinds of row that an enrollment creates: four bits of each new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Contact = 1,
    Conversation = 2,
    Run = 3,
    StepContact = 4,
    Tag = 5,
    CustomRecord = 6,
}

/// Derives the ids of the rows that one enrollment creates (spec 6).
///
/// Each is a UUIDv7: the instant of the request in milliseconds (48 bits), the index of the recipient
/// (the 12 bits of `rand_a`), the kind of row (4 bits), and 58 bits of one hash over organization and
/// enrollment. So an id depends on the request only, and ids are ordered by time and index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minter {
    millis: u64,
    hash: u64,
}

impl Minter {
    pub(crate) fn new(organization_id: OrganizationId, enrollment_id: EnrollmentId, at: Timestamp) -> Self {
        let digest = Sha256::new()
            .chain_update(b"enroll minted ids\0")
            .chain_update(organization_id.0.as_bytes())
            .chain_update(enrollment_id.0.as_bytes())
            .finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        Self { millis: at.millis().unsigned_abs(), hash: u64::from_be_bytes(bytes) >> 6 }
    }

    pub(crate) fn mint<Id: From<Uuid>>(&self, kind: RowKind, index: usize) -> Id {
        debug_assert!(index < 1 << INDEX_BITS);
        let high = (self.millis << 16) | 0x7000 | (index as u64 & 0x0fff);
        let low = (0b10 << 62) | ((kind as u64) << 58) | self.hash;
        Id::from(Uuid::from_u64_pair(high, low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minter() -> Minter {
        let at = Timestamp::from_millis(1_769_958_000_123).unwrap();
        Minter::new(OrganizationId(Uuid::from_u128(1)), EnrollmentId(Uuid::from_u128(2)), at)
    }

    #[test]
    fn a_minted_id_is_a_uuid_v7_of_instant_and_index() {
        let id: Uuid = minter().mint(RowKind::CustomRecord, 3999);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let bytes = id.as_u128();
        assert_eq!(bytes >> 80, 1_769_958_000_123);
        assert_eq!((bytes >> 64) & 0xfff, 3999);
    }

    #[test]
    fn ids_of_one_kind_are_ordered_by_index_and_kinds_never_meet() {
        let minter = minter();
        let first: Uuid = minter.mint(RowKind::Contact, 0);
        let second: Uuid = minter.mint(RowKind::Contact, 1);
        let other: Uuid = minter.mint(RowKind::Run, 0);
        assert!(first < second);
        assert_ne!(first, other);
    }

    #[test]
    fn an_idempotency_key_names_one_enrollment_an_organization() {
        let [a, b] = [1, 2].map(|n| OrganizationId(Uuid::from_u128(n)));
        let id = EnrollmentId::from_idempotency_key(a, "k");
        assert_eq!(id, EnrollmentId::from_idempotency_key(a, "k"));
        assert_ne!(id, EnrollmentId::from_idempotency_key(b, "k"));
        assert_ne!(id, EnrollmentId::from_idempotency_key(a, "K"));
        assert_eq!(id.as_uuid().get_version_num(), 8);
    }
}
