#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// No input panics.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

pub mod changes;
pub mod command;
pub mod contact;
pub mod fault;
pub mod ids;
pub mod inbox;
pub mod memory;
pub mod model;
pub mod operation;
pub mod plan;
pub mod policy;
pub mod query;
pub mod report;
pub mod repository;
pub mod request;
#[cfg(feature = "seed")]
pub mod seed;
pub mod snapshot;
pub mod stored_enrollment;
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

pub use changes::ChangeSet;
pub use command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey, Retry, StoredCommand};
pub use enroll::{
    EnrollError, Enrolled, ProcessOutcome, Receipt, accept, accept_async, enroll_contacts, enroll_contacts_async,
    preview, preview_async, process, process_async,
};
pub use fault::Rejection;
pub use ids::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId,
    RunId, SequenceId, StepContactId, StepId, TagId,
};
pub use inbox::{AsyncInbox, DynAsyncInbox, Inbox};
pub use memory::InMemoryRepository;
pub use plan::{EnrollmentPlan, plan_enrollment};
pub use policy::EnrollmentPolicy;
pub use query::SnapshotQuery;
pub use report::{Disposition, EnrollmentReport};
pub use repository::{AsyncRepository, DynAsyncRepository, Repository};
pub use request::{EnrollmentRequest, Recipient};
pub use snapshot::{ReferenceData, Snapshot};
pub use time::{Timestamp, TimestampError};
pub use words::UnknownWordError;
