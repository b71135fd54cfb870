//! Reads with a fixed number of statements, for any number of keys.
//!
//! Keys and ids are bound as arrays. `cross join` fixes the join order: SQLite searches an index once per array element.

use enroll::contact::{KeyKind, Text};
use enroll::model::{CallFlow, Channel, ContactTag, CustomObject, Sequence};
use enroll::snapshot::{ContactAggregate, Versioned};
use enroll::{
    ContactId, EnrollmentId, EnrollmentState, OrganizationId, Outcome, ReferenceData, ReferenceQuery, Snapshot,
    SnapshotQuery, StoredEnrollment,
};
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Connection, Params, params};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

use crate::error::SqliteError;
use crate::fields::ColumnReader;
use crate::id_ranges::{ContactRanges, Related, RelatedQuery};
use crate::tables::{Row, read_enrollment};
use crate::trace::prepare;

/// Reads the rows that a request refers to. The caller opens the transaction, so that they are one snapshot.
pub(crate) fn reference_data(connection: &Connection, query: &ReferenceQuery) -> Result<ReferenceData, SqliteError> {
    let mut reference = ReferenceData::new(query.organization_id);
    let organization = query.organization_id.as_uuid();
    for_each_row(connection, CHANNELS, [organization], |columns| {
        let channel = Channel::read_versioned(columns)?;
        reference.channels.insert(channel.value.id, channel);
        Ok(())
    })?;
    let sequence_key = [organization, query.sequence_id.as_uuid()];
    let mut sequence: Option<Versioned<Sequence>> = None;
    for_each_row(connection, SEQUENCE, sequence_key, |columns| {
        sequence = Some(Sequence::read_versioned(columns)?);
        Ok(())
    })?;
    if let Some(Versioned { version, value }) = sequence {
        let mut sequence = Arc::unwrap_or_clone(value);
        for_each_row(connection, STEPS, sequence_key, |columns| {
            sequence.steps.push(Row::read(columns)?);
            Ok(())
        })?;
        reference.sequences.insert(sequence.id, Versioned::new(version, sequence));
    }
    if let Some(id) = query.custom_object_id {
        for_each_row(connection, CUSTOM_OBJECT, [organization, id.as_uuid()], |columns| {
            reference.custom_objects.insert(id, CustomObject::read_versioned(columns)?);
            Ok(())
        })?;
    }
    if let Some(id) = query.call_flow_id {
        for_each_row(connection, CALL_FLOW, [organization, id.as_uuid()], |columns| {
            reference.call_flows.insert(id, CallFlow::read_versioned(columns)?);
            Ok(())
        })?;
    }
    if let Some(id) = query.enrollment_id
        && let Some(stored) = enrollment(connection, query.organization_id, id)?
    {
        reference.enrollments.insert(id, Arc::new(stored));
    }
    Ok(reference)
}

/// Reads an enrollment without its command.
pub(crate) fn enrollment(
    connection: &Connection,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Option<StoredEnrollment>, SqliteError> {
    let mut found = None;
    for_each_row(connection, ENROLLMENT, [organization_id.as_uuid(), id.as_uuid()], |columns| {
        found = Some(read_enrollment(columns)?);
        Ok(())
    })?;
    if let Some(enrollment) = &mut found {
        add_outcomes(connection, organization_id, enrollment)?;
    }
    Ok(found)
}

/// Reads the outcomes of a completed enrollment.
pub(crate) fn add_outcomes(
    connection: &Connection,
    organization_id: OrganizationId,
    enrollment: &mut StoredEnrollment,
) -> Result<(), SqliteError> {
    let EnrollmentState::Completed { report } = &mut enrollment.state else { return Ok(()) };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for_each_row(connection, OUTCOMES, [organization_id.as_uuid(), enrollment.id.as_uuid()], |columns| {
        outcomes.extend(columns.json::<Vec<Outcome>>()?);
        Ok(())
    })?;
    report.outcomes = outcomes.into_iter().collect();
    Ok(())
}

/// Reads the facts that the planner needs. The caller opens the transaction, so that they are one snapshot.
pub(crate) fn load(connection: &Connection, query: &SnapshotQuery) -> Result<Snapshot, SqliteError> {
    let organization = query.reference.organization_id.as_uuid();
    let mut found = Vec::new();
    let lists = [
        (KeyKind::ExternalId, BY_EXTERNAL_ID, query.keys.external_ids()),
        (KeyKind::Phone, BY_PHONE, query.keys.phones()),
        (KeyKind::Email, BY_EMAIL, query.keys.emails()),
    ];
    for (kind, by_key, texts) in lists {
        // Keys are unique: a key of a contact that was already found belongs to no other contact.
        let known: HashSet<&str> =
            found.iter().filter_map(|aggregate: &Arc<ContactAggregate>| aggregate.contact.key(kind)).collect();
        let unknown: Vec<_> = texts.iter().filter(|text| !known.contains(text.as_str())).collect();
        if !unknown.is_empty() {
            let keys = text_array(unknown.into_iter());
            for_each_row(connection, by_key, params![organization, keys], |columns| {
                found.push(Arc::new(read_contact(columns)?));
                Ok(())
            })?;
        }
    }
    let mut contacts = ContactAggregates::new(found);
    if !contacts.sorted.is_empty() {
        load_related_rows(connection, query, &mut contacts)?;
    }
    let mut snapshot = Snapshot::new(reference_data(connection, &query.reference)?);
    snapshot.contacts = contacts.into_map();
    if let Some(id) = query.tag_id {
        for_each_row(connection, TAG, [organization, id.as_uuid()], |columns| {
            snapshot.tags.insert(id, Row::read(columns)?);
            Ok(())
        })?;
    }
    Ok(snapshot)
}

/// Reads the version and the columns of a contact.
pub(crate) fn read_contact(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<ContactAggregate> {
    let version = columns.version()?;
    Ok(ContactAggregate::new(Row::read(columns)?, version))
}

/// Contacts in the order of their ids, with the related rows that were read so far.
pub(crate) struct ContactAggregates {
    sorted: Vec<Arc<ContactAggregate>>,
    /// The position of the last row's contact: most rows arrive in the same order.
    last: usize,
}

impl ContactAggregates {
    pub(crate) fn new(mut contacts: Vec<Arc<ContactAggregate>>) -> Self {
        contacts.sort_by_key(|aggregate| aggregate.contact.id);
        contacts.dedup_by_key(|aggregate| aggregate.contact.id);
        Self { sorted: contacts, last: 0 }
    }

    /// Changes the aggregate of a contact. Ignores a contact that was not loaded.
    pub(crate) fn update(&mut self, contact_id: ContactId, update: impl FnOnce(&mut ContactAggregate)) {
        let is_at = |index: &usize| self.sorted.get(*index).is_some_and(|found| found.contact.id == contact_id);
        let near = [self.last, self.last + 1].into_iter().find(is_at);
        let search = || self.sorted.binary_search_by_key(&contact_id, |aggregate| aggregate.contact.id).ok();
        let Some(index) = near.or_else(search) else { return };
        self.last = index;
        if let Some(aggregate) = self.sorted.get_mut(index) {
            update(Arc::make_mut(aggregate));
        }
    }

    pub(crate) fn into_map(self) -> BTreeMap<ContactId, Arc<ContactAggregate>> {
        self.sorted.into_iter().map(|aggregate| (aggregate.contact.id, aggregate)).collect()
    }
}

/// Reads the related rows of the contacts that the query selects.
fn load_related_rows(
    connection: &Connection,
    query: &SnapshotQuery,
    contacts: &mut ContactAggregates,
) -> Result<(), SqliteError> {
    let organization = query.reference.organization_id.as_uuid();
    let ids: Vec<Uuid> = contacts.sorted.iter().map(|aggregate| aggregate.contact.id.as_uuid()).collect();
    let ranges = ContactRanges::new(organization, &ids);
    macro_rules! load {
        ($query:ident, $belongs_to:expr, $list:ident) => {
            ranges.for_each_related(connection, &$query, $belongs_to, Row::read, |contact_id, related| {
                contacts.update(contact_id, |aggregate| match related {
                    Related::Row(row) => aggregate.$list.push(row),
                    Related::Discard => aggregate.$list.clear(),
                });
            })?;
        };
    }
    if let Some(channel_id) = query.channel_id {
        load!(PREFERENCES, channel_id.as_uuid(), preferences);
        load!(CONVERSATIONS, channel_id.as_uuid(), conversations);
    }
    let sequence = query.reference.sequence_id.as_uuid();
    load!(RUNS, sequence, runs);
    load!(STEP_CONTACTS, sequence, step_contacts);
    if let (Some(_), Some(object_id)) = (query.resource, query.reference.custom_object_id) {
        load!(RECORDS, object_id.as_uuid(), records);
    }
    if let Some(id) = query.tag_id {
        ranges.for_each_related(connection, &CONTACT_TAGS, id.as_uuid(), ContactTag::read, |contact_id, related| {
            contacts.update(contact_id, |aggregate| match related {
                Related::Row(row) => aggregate.tags.push(row.tag_id),
                Related::Discard => aggregate.tags.clear(),
            });
        })?;
    }
    Ok(())
}

/// Runs a query, and calls `found` for each row.
pub(crate) fn for_each_row(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut found: impl FnMut(&mut ColumnReader<'_, '_>) -> rusqlite::Result<()>,
) -> Result<(), SqliteError> {
    let mut statement = prepare(connection, sql)?;
    let (mut rows, mut count) = (statement.query(params)?, 0);
    while let Some(row) = rows.next()? {
        count += 1;
        found(&mut ColumnReader::new(row)).map_err(|e| SqliteError::from_row(e, row, sql))?;
    }
    drop(rows);
    statement.span.add(count);
    Ok(())
}

/// Returns values as a parameter of `rarray`.
pub(crate) fn array(values: impl Iterator<Item = Value>) -> Array {
    Rc::new(values.collect())
}

/// Returns texts as a parameter of `rarray`.
pub(crate) fn text_array<'t>(texts: impl Iterator<Item = &'t Text>) -> Array {
    array(texts.map(|text| Value::Text(text.as_str().to_owned())))
}

/// Returns ids as a parameter of `rarray`.
pub(crate) fn id_array(ids: impl Iterator<Item = Uuid>) -> Array {
    array(ids.map(|id| Value::Blob(id.as_bytes().to_vec())))
}

/// Selects the rows of the organization `?1` that have the key `?2`. `$first` precedes the columns of the row.
macro_rules! select {
    ($($first:literal,)? $columns:ident, $table:literal, $key:literal $(, $order:literal)?) => {
        concat!(
            "select ",
            $($first, ", ",)?
            $columns!(columns),
            " from ",
            $table,
            " where organization_id = ?1 and ",
            $key,
            " = ?2"
            $(, " order by ", $order)?
        )
    };
}

/// Selects the contacts that have one of the keys in the array `?2`.
macro_rules! by_key {
    ($key:literal) => {
        concat!(
            "select version, ",
            contacts!(columns),
            " from rarray(?2) k cross join enroll_contacts on organization_id = ?1 and ",
            $key,
            " = k.value"
        )
    };
}

macro_rules! related {
    ($columns:ident, $table:literal, $belongs_to:literal) => {
        RelatedQuery {
            by_id: concat!(
                "select contact_id, ",
                $columns!(columns),
                " from rarray(?2) k cross join ",
                $table,
                " on organization_id = ?1 and contact_id = k.value and ",
                $belongs_to,
                " = ?3"
            ),
            by_range: concat!(
                "select contact_id, ",
                $belongs_to,
                " = ?4, ",
                $columns!(columns),
                " from ",
                $table,
                " where organization_id = ?1 and contact_id between ?2 and ?3 order by contact_id limit ?5"
            ),
        }
    };
}

const CHANNELS: &str =
    concat!("select version, ", channels!(columns), " from enroll_channels where organization_id = ?1");
const SEQUENCE: &str = select!("version", sequences, "enroll_sequences", "id");
/// The order is that of the insertion.
const STEPS: &str = select!(steps, "enroll_steps", "sequence_id", "rowid");
const CUSTOM_OBJECT: &str = select!("version", custom_objects, "enroll_custom_objects", "id");
const CALL_FLOW: &str = select!("version", call_flows, "enroll_call_flows", "id");
const ENROLLMENT: &str = select!(enrollments, "enroll_enrollments", "id");
const TAG: &str = select!(tags, "enroll_tags", "id");
const OUTCOMES: &str = "select outcomes from enroll_enrollment_outcomes \
     where organization_id = ?1 and enrollment_id = ?2 order by first_index";
const BY_EXTERNAL_ID: &str = by_key!("held_external_id");
const BY_PHONE: &str = by_key!("held_phone");
const BY_EMAIL: &str = by_key!("held_email");
const PREFERENCES: RelatedQuery = related!(preferences, "enroll_communication_preferences", "channel_id");
const CONVERSATIONS: RelatedQuery = related!(conversations, "enroll_conversations", "channel_id");
const RUNS: RelatedQuery = related!(runs, "enroll_runs", "sequence_id");
const STEP_CONTACTS: RelatedQuery = related!(step_contacts, "enroll_step_contacts", "sequence_id");
const RECORDS: RelatedQuery = related!(records, "enroll_custom_records", "custom_object_id");
const CONTACT_TAGS: RelatedQuery = related!(contact_tags, "enroll_contact_tags", "tag_id");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteRepository;
    use crate::write::{CONTACTS_BY_ID, CONTACTS_BY_RANGE, RAISE_CONTACTS};

    /// Every read searches an index, and a range of contacts is read in the order of that index.
    #[test]
    fn only_the_array_of_keys_is_scanned() {
        let repository = SqliteRepository::open_in_memory().unwrap();
        let related = [PREFERENCES, CONVERSATIONS, RUNS, STEP_CONTACTS, RECORDS, CONTACT_TAGS];
        let related = related.iter().flat_map(|query| [query.by_id, query.by_range]);
        let reference_data = [SEQUENCE, STEPS, CUSTOM_OBJECT, CALL_FLOW, TAG, ENROLLMENT, OUTCOMES, CHANNELS];
        let contacts = [BY_EXTERNAL_ID, BY_PHONE, BY_EMAIL, CONTACTS_BY_ID, CONTACTS_BY_RANGE, RAISE_CONTACTS];
        for sql in reference_data.into_iter().chain(contacts).chain(related) {
            let mut statement = repository.connection().prepare(&format!("explain query plan {sql}")).unwrap();
            let steps =
                statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>().unwrap();
            // The few steps of a sequence may be sorted.
            let is_unexpected = |step: &&String| {
                let scans = step.starts_with("SCAN") && *step != "SCAN k VIRTUAL TABLE INDEX 1:";
                scans || (step.contains("TEMP B-TREE") && sql != STEPS)
            };
            let unexpected: Vec<_> = steps.iter().filter(is_unexpected).collect();
            assert!(unexpected.is_empty(), "{sql}: {steps:#?}");
            assert!(steps.iter().any(|step| step.starts_with("SEARCH")), "{sql}: {steps:#?}");
        }
    }
}
