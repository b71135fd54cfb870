//! The rules of spec section 4. They read a command and a snapshot, and return a plan.
//!
//! The planner does no I/O, and reads no clock and no random source. `planner.rs` runs the stages: the target once, the
//! others for each recipient, in input order. Each stage has its own file.
//!
//! | Stage | Spec | File | Question |
//! |---|---|---|---|
//! | target | 6 | `target.rs` | Do the sequence, step, channel, custom object and call flow still allow the enrollment? |
//! | eligibility | 4.2 | `eligibility.rs` | Does the recipient have the address that the step needs? |
//! | identity | 4.3, 4.4 | `identity.rs` | Which contact is it, and which of its fields and keys change? |
//! | consent | 4.5 | `consent.rs` | Is the contact blocked or opted out? |
//! | enrollment | 4.6 | `enrollment.rs` | Is the contact added, added again, reprocessed or ignored? |
//! | conversation | 4.7 | `conversation.rs` | Which conversation is used? |
//! | tag | 4.7 | `tag.rs` | Does the contact get an upload tag? |
//! | custom data | 4.8 | `custom_data.rs` | Which record is created or updated? |
//!
//! Two files hold the state that the stages share:
//!
//! - `key_index.rs`: the contacts and their keys, kept up to date from recipient to recipient.
//! - `change_set.rs`: the rows to write, and the guards of the facts that these rows depend on.
//!
//! Stage 4.1, the normalization of phones and emails, runs earlier:
//! [`EnrollmentCommand::check`](crate::EnrollmentCommand::check) does it.

mod change_set;
mod consent;
mod conversation;
mod custom_data;
mod eligibility;
mod enrollment;
mod identity;
mod key_index;
pub(crate) mod planner;
mod tag;
mod target;

pub use enrollment::Row;
#[cfg(feature = "testing")]
pub(crate) use planner::EnrollmentPlan;
pub(crate) use planner::{plan_enrollment, reject_enrollment};
