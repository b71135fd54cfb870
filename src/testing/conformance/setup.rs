//! The rows that the cases share, and helpers for requests, loads and commits.

use serde_json::{Value, json};
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

use super::{BlockOn, Fixture};
use crate::answer::{EnrollError, Receipt};
use crate::changes::ChangeSet;
use crate::command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey, ListRef};
use crate::contact::ContactKeys;
use crate::enroll::{accept_async, enroll_contacts_async};
use crate::ids::{ChannelId, ContactId, EnrollmentId, OrganizationId, SequenceId, StepId, TagId};
use crate::inbox::AsyncInbox;
use crate::model::{CommunicationPreference, Run, StepContact, StepContactStatus, Tag};
use crate::plan::{EnrollmentPlan, plan_enrollment};
use crate::policy::EnrollmentPolicy;
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::report::EnrollmentReport;
use crate::repository::{AsyncRepository, RepositoryError, RepositoryErrorKind};
use crate::request::EnrollmentRequest;
use crate::seed::{HostRow, HostWrite, Seed, WriteKind};
use crate::snapshot::{ContactAggregate, Snapshot};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// The organization of the cases.
pub(super) const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(id(1, 1));
/// An organization with the same ids and keys.
pub(super) const OTHER_ORGANIZATION: OrganizationId = OrganizationId::from_uuid(id(1, 2));

pub(super) const SMS: ChannelId = ChannelId::from_uuid(id(2, 1));
pub(super) const MAIL: ChannelId = ChannelId::from_uuid(id(2, 2));
/// A channel that does not exist.
pub(super) const NO_CHANNEL: ChannelId = ChannelId::from_uuid(id(2, 99));

/// Has steps 1 and 2 of kind `phone` and step 3 of kind `email`.
pub(super) const SEQUENCE: SequenceId = SequenceId::from_uuid(id(3, 1));
pub(super) const OTHER_SEQUENCE: SequenceId = SequenceId::from_uuid(id(3, 2));

/// Ann has it.
pub(super) const TAG: TagId = TagId::from_uuid(id(9, 1));

/// Has every field, every key and related rows of every table.
pub(super) const ANN: ContactId = ContactId::from_uuid(id(5, 1));
/// Has a phone.
pub(super) const BOB: ContactId = ContactId::from_uuid(id(5, 2));
/// Has an email.
pub(super) const CAT: ContactId = ContactId::from_uuid(id(5, 3));
/// Merged. The row still contains her keys.
pub(super) const DOT: ContactId = ContactId::from_uuid(id(5, 4));
/// Pending in step 2, so that an enrollment in step 1 ignores her.
pub(super) const EVE: ContactId = ContactId::from_uuid(id(5, 5));
/// Finished in step 1.
pub(super) const FAY: ContactId = ContactId::from_uuid(id(5, 6));

pub(super) const BOBS_PHONE: &str = "+12025550124";
pub(super) const DOTS_PHONE: &str = "+12025550126";
pub(super) const EVES_PHONE: &str = "+12025550127";
pub(super) const FAYS_PHONE: &str = "+12025550128";
/// Belongs to no contact.
pub(super) const NEW_PHONE: &str = "+12025550150";
pub(super) const OTHER_NEW_PHONE: &str = "+12025550151";

/// Returns the id of row `n` of a table.
pub(super) const fn id(kind: u64, n: u64) -> Uuid {
    Uuid::from_u64_pair(kind << 16 | 0x4000, 1 << 63 | n)
}

pub(super) fn step(n: u64) -> StepId {
    StepId::from_uuid(id(4, n))
}

pub(super) fn enrollment(n: u64) -> EnrollmentId {
    EnrollmentId::from_uuid(id(13, n))
}

/// Returns two organizations with the same rows.
#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) fn given() -> Seed {
    let mut seed = organization();
    let other = organization();
    for (table, rows) in seed.as_object_mut().into_iter().flatten() {
        let others = other[table.as_str()].as_array().into_iter().flatten().cloned();
        let others = others.map(|mut row| {
            row["organization_id"] = json!(OTHER_ORGANIZATION);
            row
        });
        if let Some(rows) = rows.as_array_mut() {
            rows.extend(others);
        }
    }
    seed["organization_id"] = json!(ORGANIZATION);
    serde_json::from_value(seed).expect("the seed is valid")
}

fn organization() -> Value {
    let started_at = "2026-01-05T09:30:00.123Z";
    let contact = |n: u64, fields: Value| {
        let mut row = json!({ "id": id(5, n), "created_at": started_at, "updated_at": "2026-01-06T09:30:00Z" });
        for (key, value) in fields.as_object().into_iter().flatten() {
            row[key] = value.clone();
        }
        row
    };
    let run = |n: u64, contact: u64, status: &str| json!({ "id": id(7, n), "sequence_id": SEQUENCE, "contact_id": id(5, contact), "status": status, "started_at": started_at });
    let step_contact = |n: u64, contact: u64, step: u64, status: &str| {
        json!({
            "id": id(8, n), "run_id": id(7, n), "sequence_id": SEQUENCE, "step_id": id(4, step),
            "contact_id": id(5, contact), "status": status, "scheduled_at": started_at,
        })
    };
    let mut anns_step_contact = step_contact(1, 1, 1, "finished");
    anns_step_contact["channel_id"] = json!(SMS);
    anns_step_contact["default_call_flow_id"] = json!(id(12, 1));
    anns_step_contact["times_processed"] = json!(3);
    anns_step_contact["enrollment_id"] = json!(enrollment(900));
    json!({
        "channels": [
            { "id": SMS, "kind": "phone", "address": "+12025550100", "name": "Main line" },
            { "id": MAIL, "kind": "email", "address": "Hello@example.com" },
            { "id": id(2, 3), "kind": "whatsapp", "address": "+12025550100" },
            { "id": id(2, 4), "kind": "fax", "address": "+12025550101", "enabled": false },
        ],
        "sequences": [
            {
                "id": SEQUENCE, "title": "Welcome", "status": "active",
                "settings": {
                    "on_re_add": "include", "max_runs": 5, "max_adds_per_period": { "count": 4, "seconds": 86400 },
                    "default_call_flow_id": id(12, 1),
                },
                "steps": [
                    { "id": step(1), "position": 1, "channel_kind": "phone", "channel_id": SMS },
                    { "id": step(2), "position": 2, "channel_kind": "phone", "channel_id": SMS },
                    { "id": step(3), "position": 3_000_000_000_i64, "channel_kind": "email", "channel_id": MAIL },
                ],
            },
            {
                "id": OTHER_SEQUENCE, "title": "", "status": "draft",
                "steps": [{ "id": step(1), "position": 9, "channel_kind": "whatsapp" }],
            },
        ],
        "custom_objects": [{
            "id": id(10, 1), "key": "order",
            "properties": [
                { "key": "count", "type": "number", "required": true, "default": 1 },
                { "key": "weight", "type": "float" },
                { "key": "note", "type": "text", "default": "none" },
                { "key": "tags", "type": "list" },
                { "key": "more", "type": "map" },
            ],
        }],
        "call_flows": [{ "id": id(12, 1), "name": "Reception" }],
        "tags": [{ "id": TAG, "name": "VIP", "system_created": false }],
        "contacts": [
            contact(1, json!({
                "external_id": "ann-1", "phone": "+12025550123", "email": "Ann.O\u{2019}Hara@Example.com",
                "name": "Ann O\u{2019}Hara \u{1f33b}", "first_name": "Ann", "last_name": "O\u{2019}Hara",
                "language": "en", "default_channel_id": SMS,
                "address": {
                    "address_line_one": "1 Main St", "address_line_two": "Flat \"2\"", "city": "Kigali", "state": "K",
                    "post_code": "00100", "country": "RW",
                },
                "birth_date": { "day": 29, "month": 2, "year": 1992 }, "state": "open",
            })),
            contact(2, json!({ "phone": BOBS_PHONE })),
            contact(3, json!({ "email": "cat@example.com", "birth_date": { "month": 5 }, "address": { "city": "Paris" } })),
            contact(4, json!({ "phone": DOTS_PHONE, "email": "dot@example.com", "external_id": "dot-1", "state": "merged" })),
            contact(5, json!({ "phone": EVES_PHONE, "state": "archived" })),
            contact(6, json!({ "phone": FAYS_PHONE, "name": " " })),
        ],
        "communication_preferences": [
            { "contact_id": ANN, "channel_id": SMS, "opt_in": true },
            { "contact_id": ANN, "channel_id": MAIL, "opt_in": false },
        ],
        "conversations": [
            { "id": id(6, 1), "contact_id": ANN, "channel_id": SMS, "status": "closed", "created_at": started_at },
            { "id": id(6, 2), "contact_id": ANN, "channel_id": MAIL, "status": "open" },
            { "id": id(6, 3), "contact_id": ANN, "channel_id": MAIL, "status": "spam", "created_at": started_at },
        ],
        "runs": [run(1, 1, "finished"), run(5, 5, "active"), run(6, 6, "finished")],
        "step_contacts": [anns_step_contact, step_contact(5, 5, 2, "pending"), step_contact(6, 6, 1, "finished")],
        "contact_tags": [{ "contact_id": ANN, "tag_id": id(9, 1) }],
        "custom_records": [
            {
                "id": id(11, 1), "custom_object_id": id(10, 1), "resource": "contact", "resource_id": ANN,
                "properties": {
                    "count": 3, "weight": 3.0, "note": "a \"b\" \\ \u{e9}", "tags": [1, 1e16, -0.5, null, true],
                    "more": { "k": { "deep": [] } },
                },
            },
            {
                "id": id(11, 2), "custom_object_id": id(10, 1), "resource": "step_contact", "resource_id": id(8, 6),
                "properties": { "count": i64::MAX },
            },
        ],
    })
}

/// Returns a request that writes to every table, and both creates and updates where possible.
pub(super) fn request_with_everything(n: u64) -> TestRequest {
    let request = TestRequest::new(
        n,
        json!([
            { "external_id": "ann-1", "phone": "+12025550123", "properties": { "weight": 2.5, "note": null } },
            { "phone": BOBS_PHONE, "email": "Bob@Example.com", "name": "Bob", "last_name": "Ross", "language": "fr",
              "default_channel_id": MAIL,
              "address": { "city": "Lyon", "postal_code": "69001" }, "birth_date": { "day": 1, "month": 5 }, "properties": { "count": 7 } },
            { "phone": NEW_PHONE, "external_id": "new-1", "email": "Neu@B\u{fc}cher.example", "first_name": "N\u{e9}w", "last_name": "One",
              "birth_date": { "year": 1980 }, "properties": { "count": 0, "tags": [1, 1.0, 1e16, "x"], "more": { "a": { "b": null } } } },
            { "phone": OTHER_NEW_PHONE },
            { "phone": FAYS_PHONE, "name": "Fay" },
            { "phone": "junk" },
        ]),
    );
    let data = json!({ "custom_object_id": id(10, 1), "resource": "contact" });
    request.with("custom_data", data).with("voice_options", json!({ "default_call_flow_id": id(12, 1) }))
}

/// The number of contacts with adjacent ids.
pub(super) const ADJACENT_CONTACTS: u64 = 12;

/// Returns the id of a contact with adjacent ids, like the contacts of one request.
pub(super) fn adjacent_contact(n: u64) -> ContactId {
    ContactId::from_uuid(Uuid::from_u64_pair(0x0190_0000_0000_7000 + 2 * n, 1 << 63 | n))
}

/// Returns the phone of a contact with adjacent ids.
pub(super) fn adjacent_phone(n: u64) -> String {
    format!("+120255501{}", 60 + n)
}

/// Returns the seed with contacts that have adjacent ids. The contacts in the middle have many related rows of another
/// sequence.
#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) fn seed_with_adjacent_contacts() -> Seed {
    let mut rows = json!({
        "organization_id": ORGANIZATION, "contacts": [], "communication_preferences": [], "conversations": [], "runs": [],
        "step_contacts": [], "contact_tags": [], "custom_records": [],
    });
    let mut add = |table: &str, row: Value| rows[table].as_array_mut().expect("the table is a list").push(row);
    for n in 0..ADJACENT_CONTACTS {
        let contact = adjacent_contact(n);
        add("contacts", json!({ "id": contact, "phone": adjacent_phone(n) }));
        if n % 5 == 0 {
            add("communication_preferences", json!({ "contact_id": contact, "channel_id": SMS, "opt_in": true }));
        }
        if n % 2 == 1 {
            add(
                "conversations",
                json!({ "id": id(6, 1000 + n), "contact_id": contact, "channel_id": SMS, "status": "open" }),
            );
            add(
                "custom_records",
                json!({ "id": id(11, 1000 + n), "custom_object_id": id(10, 1), "resource": "contact", "resource_id": contact }),
            );
        }
        if n % 3 == 0 {
            add("contact_tags", json!({ "contact_id": contact, "tag_id": TAG }));
        }
        add(
            "conversations",
            json!({ "id": id(6, 2000 + n), "contact_id": contact, "channel_id": MAIL, "status": "closed" }),
        );
        let others = if (4..8).contains(&n) { 14 } else { 1 };
        let sequences = (0..(n + 1) % 3).map(|_| SEQUENCE).chain((0..others).map(|_| OTHER_SEQUENCE));
        for (place, sequence) in (1000 + 100 * n..).zip(sequences) {
            let started_at = "2026-01-05T09:30:00Z";
            let run = json!({
                "id": id(7, place), "sequence_id": sequence, "contact_id": contact, "status": "finished", "started_at": started_at,
            });
            add("runs", run);
            let step_contact = json!({
                "id": id(8, place), "run_id": id(7, place), "sequence_id": sequence, "step_id": step(2),
                "contact_id": contact, "status": "finished", "scheduled_at": started_at,
            });
            add("step_contacts", step_contact);
        }
    }
    let adjacent: Seed = serde_json::from_value(rows).expect("the seed is valid");
    let mut seed = given();
    seed.contacts.extend(adjacent.contacts);
    seed.communication_preferences.extend(adjacent.communication_preferences);
    seed.conversations.extend(adjacent.conversations);
    seed.runs.extend(adjacent.runs);
    seed.step_contacts.extend(adjacent.step_contacts);
    seed.contact_tags.extend(adjacent.contact_tags);
    seed.custom_records.extend(adjacent.custom_records);
    seed
}

/// A request of a case.
#[derive(Clone)]
pub(super) struct TestRequest {
    pub(super) organization_id: OrganizationId,
    pub(super) sequence_id: SequenceId,
    pub(super) id: EnrollmentId,
    pub(super) at: Timestamp,
    pub(super) list: Option<ListRef>,
    pub(super) body: Value,
    pub(super) policy: EnrollmentPolicy,
}

impl TestRequest {
    /// Returns a request of the entries for the first step of the sequence.
    #[expect(clippy::expect_used, reason = "the case fails")]
    #[expect(clippy::needless_pass_by_value, reason = "a case writes its entries in place")]
    pub(super) fn new(n: u64, to: Value) -> Self {
        let policy = EnrollmentPolicy { phone_required: false, ..EnrollmentPolicy::default() };
        Self {
            organization_id: ORGANIZATION,
            sequence_id: SEQUENCE,
            id: enrollment(n),
            at: "2026-02-01T15:00:00Z".parse().expect("an instant"),
            list: None,
            body: json!({ "to": to, "step_id": step(1) }),
            policy,
        }
    }

    /// Returns a request whose entries have only a phone.
    pub(super) fn phones(n: u64, phones: &[&str]) -> Self {
        Self::new(n, phones.iter().map(|phone| json!({ "phone": phone })).collect())
    }

    /// Makes it a part of the list whose first request is number 1.
    pub(super) fn of_list(mut self) -> Self {
        self.list = Some(ListRef { id: enrollment(1), at: self.at });
        self
    }

    /// Returns the upload tag of the list, as the first commit creates it.
    #[expect(clippy::expect_used, reason = "the case fails")]
    pub(super) fn upload_tag(&self) -> Tag {
        let list = self.list.expect("the request belongs to a list");
        Tag::new(list.upload_tag_id(self.organization_id), &format!("Upload {}", list.at))
    }

    pub(super) fn in_organization(mut self, organization_id: OrganizationId) -> Self {
        self.organization_id = organization_id;
        self
    }

    pub(super) fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    fn with_enrollment<T>(&self, run: impl AsyncFnOnce(&Engine<'_>, &Enrollment<'_>) -> T) -> impl Future<Output = T> {
        let test = self.clone();
        async move {
            let body = test.body.to_string();
            let request = EnrollmentRequest::from_json(body.as_bytes());
            let enrollment = Enrollment {
                organization_id: test.organization_id,
                sequence_id: test.sequence_id,
                key: EnrollmentKey::Id(test.id),
                at: test.at,
                list: test.list,
                request: &request,
            };
            run(&Engine::new(&test.policy), &enrollment).await
        }
    }

    /// Enrolls with the default retries.
    pub(super) async fn try_enroll<R: AsyncRepository>(&self, handle: &mut R) -> Result<EnrollmentReport, EnrollError> {
        let enrolled = async |engine: &Engine<'_>, enrollment: &Enrollment<'_>| {
            enroll_contacts_async(handle, engine, enrollment).await.map(|enrolled| enrolled.report)
        };
        self.with_enrollment(enrolled).await
    }

    pub(super) async fn accept<R: AsyncInbox>(&self, handle: &mut R) -> Result<Receipt, EnrollError> {
        self.with_enrollment(async |engine, enrollment| accept_async(handle, engine, enrollment).await).await
    }

    #[expect(clippy::panic, reason = "the case fails")]
    pub(super) async fn enroll<R: AsyncRepository>(&self, handle: &mut R) -> EnrollmentReport {
        match self.try_enroll(handle).await {
            Ok(report) => report,
            Err(e) => panic!("the enrollment failed: {}", chain(&e)),
        }
    }

    /// Plans on the current rows, without a commit.
    pub(super) async fn plan<R: AsyncRepository>(&self, handle: &mut R) -> EnrollmentPlan {
        let command = self.command(handle).await;
        let snapshot = load(handle, &command.snapshot_query()).await;
        plan(&command, &snapshot)
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    pub(super) async fn command<R: AsyncRepository>(&self, handle: &mut R) -> EnrollmentCommand {
        self.with_enrollment(async |engine, enrollment| {
            let reference =
                handle.reference_data(&enrollment.reference_query()).await.expect("the reference data loads");
            EnrollmentCommand::check(enrollment, &reference, engine).expect("the request is accepted")
        })
        .await
    }
}

#[expect(clippy::panic, reason = "the case fails")]
pub(super) fn plan(command: &EnrollmentCommand, snapshot: &Snapshot) -> EnrollmentPlan {
    match plan_enrollment(command, snapshot) {
        Ok(plan) => plan,
        Err(rejection) => panic!("the plan is rejected: {rejection}"),
    }
}

#[expect(clippy::panic, reason = "the case fails")]
pub(super) async fn load<R: AsyncRepository>(handle: &mut R, query: &SnapshotQuery) -> Snapshot {
    match handle.load(query).await {
        Ok(snapshot) => snapshot,
        Err(e) => panic!("the load failed: {}", chain(&e)),
    }
}

/// Commits, and returns only the kind of an error.
pub(super) async fn commit<R: AsyncRepository>(handle: &mut R, changes: &ChangeSet) -> Result<(), RepositoryErrorKind> {
    handle.commit(changes).await.map_err(|e| e.kind())
}

/// Commits changes that must not conflict.
#[expect(clippy::panic, reason = "the case fails")]
pub(super) async fn must_commit<R: AsyncRepository>(handle: &mut R, changes: &ChangeSet) {
    if let Err(e) = handle.commit(changes).await {
        panic!("the commit failed: {}", chain(&e));
    }
}

/// Returns a query of contacts by keys, with the related rows of the suite's sequence, object, channel and tag.
pub(super) fn snapshot_query(external_ids: &[&str], phones: &[&str], emails: &[&str]) -> SnapshotQuery {
    let lists = [external_ids, phones, emails].map(|texts| texts.iter().map(|text| (*text).into()).collect());
    SnapshotQuery {
        reference: reference_query(),
        keys: ContactKeys::new(lists),
        channel_id: Some(SMS),
        resource: Some(crate::model::Resource::Contact),
        tag_id: Some(TAG),
    }
}

pub(super) fn reference_query() -> ReferenceQuery {
    ReferenceQuery {
        organization_id: ORGANIZATION,
        enrollment_id: None,
        sequence_id: SEQUENCE,
        custom_object_id: Some(crate::ids::CustomObjectId::from_uuid(id(10, 1))),
        call_flow_id: Some(crate::ids::CallFlowId::from_uuid(id(12, 1))),
    }
}

/// The seeded database of a case.
pub(super) struct Setup<F, B> {
    pub(super) fixture: F,
    runtime: PhantomData<fn() -> B>,
}

impl<F: Fixture, B: BlockOn> Setup<F, B> {
    pub(super) async fn new() -> Self {
        Self::from_seed(&given()).await
    }

    pub(super) async fn from_seed(given: &Seed) -> Self {
        let fixture = F::fresh().await;
        fixture.seed(given).await;
        Self { fixture, runtime: PhantomData }
    }

    pub(super) async fn open(&self) -> F::Repository {
        self.fixture.open().await
    }

    /// Returns all rows, sorted, so that two dumps can be compared.
    pub(super) async fn dump(&self) -> Value {
        sorted(&self.fixture.dump(ORGANIZATION).await)
    }

    pub(super) async fn try_write(&self, kind: WriteKind, row: HostRow) -> Result<(), RepositoryError> {
        self.fixture.host_write(&HostWrite::new(ORGANIZATION, kind, row)).await
    }

    /// Writes a row as a host. The write must succeed.
    #[expect(clippy::panic, reason = "the case fails")]
    pub(super) async fn write(&self, kind: WriteKind, row: HostRow) {
        if let Err(e) = self.try_write(kind, row.clone()).await {
            panic!("the host's {kind:?} of {row:?} failed: {}", chain(&e));
        }
    }

    /// Returns the stored enrollment with the id.
    #[expect(clippy::panic, reason = "the case fails")]
    pub(super) async fn stored(&self, enrollment_id: EnrollmentId) -> Option<Arc<StoredEnrollment>> {
        let mut query = reference_query();
        query.enrollment_id = Some(enrollment_id);
        match self.open().await.reference_data(&query).await {
            Ok(reference) => reference.enrollments.get(&enrollment_id).cloned(),
            Err(e) => panic!("the load of reference data failed: {}", chain(&e)),
        }
    }

    /// Returns the contacts that have a tag, sorted.
    pub(super) async fn tagged(&self, tag_id: TagId) -> Vec<ContactId> {
        let rows = self.fixture.dump(ORGANIZATION).await.contact_tags;
        let own = rows.iter().filter(|row| row.organization_id.is_none() && row.row.tag_id == tag_id);
        let mut contacts: Vec<ContactId> = own.map(|row| row.row.contact_id).collect();
        contacts.sort_unstable();
        contacts
    }

    /// Loads the contact with a new handle.
    #[expect(clippy::panic, reason = "the case fails")]
    pub(super) async fn load_contact(&self, contact_id: ContactId, query: &SnapshotQuery) -> ContactAggregate {
        let snapshot = load(&mut self.open().await, query).await;
        match snapshot.contacts.get(&contact_id) {
            Some(contact) => ContactAggregate::clone(contact),
            None => panic!("contact `{contact_id}` is not loaded, only {:?}", snapshot.contacts.keys()),
        }
    }
}

/// Sets the versions that a change set expects, since a storage counts versions in its own way.
pub(super) fn set_expected_versions(snapshot: &mut Snapshot, changes: &ChangeSet) {
    let (reference, guards) = (&mut snapshot.reference, changes.guards());
    if let (id, Some(version)) = guards.sequence {
        reference.sequences.entry(id).and_modify(|row| row.version = version);
    }
    for (id, version) in guards.channels.iter().filter_map(|(id, version)| Some((*id, (*version)?))) {
        reference.channels.entry(id).and_modify(|row| row.version = version);
    }
    if let Some((id, Some(version))) = guards.custom_object {
        reference.custom_objects.entry(id).and_modify(|row| row.version = version);
    }
    if let Some((id, Some(version))) = guards.call_flow {
        reference.call_flows.entry(id).and_modify(|row| row.version = version);
    }
    let updated = changes.rows().contacts_updated.iter().map(|update| (update.id, update.expected));
    for (id, version) in guards.contacts.iter().copied().chain(updated) {
        snapshot.contacts.entry(id).and_modify(|contact| Arc::make_mut(contact).version = version);
    }
}

/// Returns the rows of a seed as JSON, each table sorted.
#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) fn sorted(given: &Seed) -> Value {
    let mut seed = serde_json::to_value(given).expect("a seed serializes");
    for rows in seed.as_object_mut().into_iter().flat_map(|tables| tables.values_mut()) {
        if let Some(rows) = rows.as_array_mut() {
            rows.sort_by_cached_key(Value::to_string);
        }
    }
    // A storage need not keep the order of steps.
    for sequence in seed["sequences"].as_array_mut().into_iter().flatten() {
        if let Some(steps) = sequence["steps"].as_array_mut() {
            steps.sort_by_cached_key(Value::to_string);
        }
    }
    seed
}

/// Returns the number of rows of a table in a dump, without those of other organizations.
pub(super) fn count(dump: &Value, table: &str) -> usize {
    let rows = dump[table].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().filter(|row| row["organization_id"].is_null()).count()
}

/// Fails for the first table in which two dumps differ.
pub(super) fn assert_same(before: &Value, after: &Value, what: &str) {
    for (table, rows) in before.as_object().into_iter().flatten() {
        assert!(after[table] == *rows, "{what}: `{table}` differs\n  expected {rows}\n  got      {}", after[table]);
    }
}

/// Returns the text of an error and of all its sources.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

// Rows that several cases write.

pub(super) fn opt_in(contact_id: ContactId, opt_in: bool) -> HostRow {
    HostRow::CommunicationPreference(CommunicationPreference::new(contact_id, SMS, opt_in))
}

/// Returns a contact of the seed.
#[expect(clippy::panic, reason = "the case fails")]
pub(super) fn contact(contact_id: ContactId) -> crate::contact::Contact {
    let found = given().contacts.into_iter().find(|row| row.row.id == contact_id && row.organization_id.is_none());
    match found {
        Some(row) => row.row,
        None => panic!("`{contact_id}` is not in the seed"),
    }
}

/// Returns the step contact of a contact of the seed, in another status.
#[expect(clippy::panic, reason = "the case fails")]
pub(super) fn step_contact_row(contact_id: ContactId, status: StepContactStatus) -> HostRow {
    let found = given().step_contacts.into_iter().find(|row| row.row.contact_id == contact_id);
    match found {
        Some(row) => HostRow::StepContact(StepContact { status, ..row.row }),
        None => panic!("`{contact_id}` has no step contact"),
    }
}

/// Returns a new run of a contact, and a step contact in it.
pub(super) fn new_run_and_step_contact(n: u64, contact_id: ContactId, at: Timestamp) -> (Run, StepContact) {
    let run = Run::new(id(7, n).into(), SEQUENCE, contact_id, at);
    (run, StepContact::new(id(8, n).into(), &run, step(2)))
}
