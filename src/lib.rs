//! Enrolls contacts into outreach sequences.
//!
//! One operation adds up to 4000 recipients to one step of a sequence. It finds the contacts of the recipients, creates
//! the missing ones, and writes conversations, tags and custom data. It returns one outcome for each recipient, with
//! all reasons and notes. A host embeds the crate and brings its own storage.
//!
//! # Data flow
//!
//! 1. A host reads a request into an [`EnrollmentRequest`], and names it with an [`EnrollmentKey`].
//! 2. [`EnrollmentCommand::check`] checks the request against the rows that it refers to ([`ReferenceData`]). It returns a command or a
//!    [`Rejection`] with all faults.
//! 3. The [`Repository`] loads a [`Snapshot`]: every fact that a rule may read, in one call.
//! 4. [`plan_enrollment`] applies the rules. It returns a [`ChangeSet`] and an [`EnrollmentReport`], and does no I/O.
//! 5. The repository commits the change set exactly once. If a guarded fact changed, the engine plans again.
//!
//! [`enroll_contacts`] runs all of this. [`preview`] leaves out the commit. [`accept`] and [`process`] split it: accept
//! stores the command before the answer, and a worker processes it later.
//!
//! ```
//! use enroll::model::{Channel, ChannelKind, Sequence, Step};
//! use enroll::snapshot::{Version, Versioned};
//! use enroll::uuid::Uuid;
//! use enroll::{
//!     ChannelId, Disposition, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
//!     InMemoryRepository, OrganizationId, ReferenceData, SequenceId, Snapshot, StepId, enroll_contacts,
//! };
//!
//! // The storage: an organization with a phone channel, and an active sequence with one step on that channel.
//! let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
//! let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(2)), ChannelKind::Phone, "+12025550100");
//! let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(3)), 1, ChannelKind::Phone);
//! step.channel_id = Some(channel.id);
//! let sequence = Sequence::new(SequenceId::from_uuid(Uuid::from_u128(4)), "Welcome", vec![step]);
//! let sequence_id = sequence.id;
//! let mut reference = ReferenceData::new(organization_id);
//! reference.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
//! reference.sequences.insert(sequence_id, Versioned::new(Version::FIRST, sequence));
//! let mut repository = InMemoryRepository::new();
//! repository.insert(Snapshot::new(reference));
//!
//! // The request: two spellings of one phone.
//! let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "(202) 555-0123"}, {"phone": "202-555-0123"}]}"#);
//! let enrollment = Enrollment {
//!     organization_id,
//!     sequence_id,
//!     key: EnrollmentKey::Idempotency("import-7"),
//!     at: "2026-02-01T15:00:00Z".parse()?,
//!     list: None,
//!     request: &request,
//! };
//! let policy = EnrollmentPolicy::default();
//! let report = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment)?.report;
//!
//! assert_eq!(report.outcomes[0].disposition, Disposition::Added);
//! assert_eq!(report.outcomes[1].disposition, Disposition::Duplicate);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! The types of the operation are at the root. Each other type has one path, in the module of its subject.
//!
//! | Module | Contents |
//! |---|---|
//! | [`request`] | the members of a request: entries, custom data, voice options |
//! | [`policy`] | the switches of an [`EnrollmentPolicy`], where hosts may choose between rules |
//! | [`fault`] | the faults of a [`Rejection`], each with its code and path |
//! | [`report`] | the details of an [`EnrollmentReport`]: counts, the upload tag, faults of custom data |
//! | [`contact`] | a contact, its keys, and the normalization of phones and emails |
//! | [`model`] | the other stored rows: channels, sequences, runs, step contacts, custom objects |
//! | [`value`] | the values of custom data |
//! | [`snapshot`] | the parts of a [`Snapshot`]: contacts with their related rows, and versions |
//! | [`plan`] | the decision table of the planner |
//! | [`changes`] | the parts of a [`ChangeSet`], and how to apply one in memory |
//! | [`operation`] | the operation as a state machine, for hosts with another kind of I/O |
//! | [`repository`], [`inbox`] | the storage traits' contracts and their helper types |
//! | [`events`] | what happened to enrollments, as a log that a host reads in order |
//! | [`erase`] | erasing a person: the contact and the stored requests that belong to it |
//! | [`memory`] | the errors of the [`InMemoryRepository`] |
//!
//! # Features
//!
//! - `phone-regex` (default): the fast variant of the phone crate. Without it, the results are the same, the memory is
//!   a seventh, and each number takes longer.
//! - `phonenumber`: a second phone normalizer, on the `phonenumber` crate.
//! - `schema`: OpenAPI schemas of requests, reports, faults and their parts, as implementations of `utoipa::ToSchema`. See
//!   [OpenAPI](#openapi).
//! - `seed`: the modules `seed` and `vectors`, with rows as JSON, a demo organization, and the runner of test vectors.
//! - `testing`: the module `testing`, the test kit for a host's policy and repository: fixtures, proptest strategies, the
//!   conformance suite, and the vectors of a folder.
//!
//! # OpenAPI
//!
//! With the feature `schema`, a host's own document gets the shapes from the engine's types. They describe the default policy, and
//! JSON Schema 2020-12, as OpenAPI 3.1 has it. Their texts are the comments of the fields. The
//! example `openapi` of the repository has a route.
//!
//! ```
//! # #[cfg(feature = "schema")] {
//! use enroll::utoipa::{self, OpenApi};
//! use enroll::{EnrollmentReport, EnrollmentRequest, Rejection};
//!
//! #[derive(OpenApi)]
//! #[openapi(components(schemas(EnrollmentRequest, EnrollmentReport, Rejection)))]
//! struct Document;
//!
//! let json = serde_json::to_value(Document::openapi())?;
//! let recipient = &json["components"]["schemas"]["Recipient"];
//! assert_eq!(recipient["required"], serde_json::json!(["phone"]));
//! assert_eq!(recipient["properties"]["name"]["maxLength"], 255);
//! # }
//! # Ok::<(), serde_json::Error>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// No input panics.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod answer;
pub mod changes;
mod command;
pub mod contact;
pub mod erase;
pub mod events;
pub mod fault;
mod ids;
pub mod inbox;
pub mod memory;
pub mod model;
pub mod operation;
pub mod plan;
pub mod policy;
mod query;
mod rehearsal;
pub mod report;
pub mod repository;
pub mod request;
#[cfg(feature = "seed")]
pub mod seed;
pub mod snapshot;
mod stored_enrollment;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;
#[cfg(feature = "seed")]
pub mod vectors;

mod enroll;
mod format;
mod lenient;
mod reference_checks;
mod text;
mod time;
mod words;

pub use answer::{EnrollError, Enrolled, ProcessOutcome, Receipt};
pub use changes::change_set::ChangeSet;
pub use command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey, ListRef, ReadAs, Retry, StoredCommand};
pub use enroll::{
    accept, accept_async, enroll_contacts, enroll_contacts_async, preview, preview_async, process, process_async,
};
pub use fault::rejection::Rejection;
pub use ids::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId,
    RunId, SequenceId, StepContactId, StepId, TagId,
};
pub use inbox::traits::{AsyncInbox, DynAsyncInbox, Inbox};
pub use memory::repository::InMemoryRepository;
pub use plan::planner::{EnrollmentPlan, plan_enrollment};
pub use policy::enrollment_policy::EnrollmentPolicy;
pub use query::{ReferenceQuery, SnapshotQuery};
pub use rehearsal::Rehearsal;
pub use report::outcome::{Disposition, EnrollmentReport, Outcome};
pub use report::reason::{Note, Reason};
pub use repository::error::{RepositoryError, RepositoryErrorKind};
pub use repository::traits::{AsyncRepository, DynAsyncRepository, Repository};
pub use request::body::{EnrollmentRequest, Recipient};
pub use snapshot::facts::{ReferenceData, Snapshot};
pub use stored_enrollment::{EnrollmentState, StoredEnrollment};
pub use time::{Timestamp, TimestampError};
pub use words::UnknownWordError;
// Types of these crates are part of the API.
#[cfg(feature = "schema")]
pub use utoipa;
pub use {chrono, uuid};

/// Compiles the code blocks of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
