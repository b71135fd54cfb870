//! Strategies for single rows and requests, to combine with a [`fixture`](crate::testing::fixture).

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::pool::{CONTACT, SEQUENCE, STEP, id, read, uuid};
use crate::contact::Contact;
use crate::ids::{SequenceId, StepId};
use crate::model::{Sequence, SequenceSettings, Step};
use crate::request::{EnrollmentRequest, Recipient};

/// Returns a strategy for recipients: with valid and invalid phones and emails in several spellings, and any other field.
///
/// The keys come from a small pool, the one of [`contact`], so that recipients often find a contact or repeat each other.
pub fn recipient() -> impl Strategy<Value = Recipient<'static>> {
    super::entry().prop_map(|mut entry| {
        if entry["phone"].is_null() {
            // The default policy requires a phone, which can be blank.
            entry["phone"] = json!("");
        }
        entry["properties"] = json!(null);
        let body = json!({ "to": [entry] }).to_string();
        EnrollmentRequest::from_json(body.as_bytes()).into_owned().to.into_iter().next().unwrap_or_default()
    })
}

/// Returns a strategy for requests of 1 to 12 [recipients](recipient), for the first step of a sequence.
pub fn request() -> impl Strategy<Value = EnrollmentRequest<'static>> {
    vec(recipient(), 1..=12).prop_map(EnrollmentRequest::new)
}

/// Returns a strategy for contacts of every state, with keys from a small pool.
///
/// All have one id: [`World::add_contact`](crate::testing::World::add_contact) makes ids and keys unique.
pub fn contact() -> impl Strategy<Value = Contact> {
    super::contact().prop_map(|contact| {
        let mut row = contact.fields;
        row["id"] = id(CONTACT, 0);
        row["external_id"] = json!(contact.external_id);
        row["phone"] = json!(contact.phone);
        row["email"] = json!(contact.email);
        read(row)
    })
}

/// Returns a strategy for active sequences with these settings, and with two or three steps of any kind.
///
/// The steps have no channel: [`World::add_sequence`](crate::testing::World::add_sequence) gives them one.
pub fn sequence_with(settings: SequenceSettings) -> impl Strategy<Value = Sequence> {
    super::sequence().prop_map(move |sequence| {
        let step = |(n, step): (usize, &super::Step)| {
            Step::new(StepId::from_uuid(uuid(STEP, n)), step.position, read(json!(step.kind)))
        };
        let steps = sequence.steps.iter().enumerate().map(step).collect();
        let mut row = Sequence::new(SequenceId::from_uuid(uuid(SEQUENCE, 0)), "Generated", steps);
        row.settings = settings.clone();
        row
    })
}
