//! What is read: a fixed number of statements, however many keys are asked for.
//!
//! Keys and ids go in as arrays. `cross join` pins the order, so that each is one look-up in an index.

use enroll::contact::KeyKind;
use enroll::ids::are_adjacent;
use enroll::model::Sequence;
use enroll::query::{ReferenceQuery, SnapshotQuery};
use enroll::snapshot::{ContactAggregate, ReferenceData, Snapshot, Versioned};
use enroll::stored_enrollment::StoredEnrollment;
use enroll::{ContactId, EnrollmentId, OrganizationId};
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Connection, Params, params};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

use crate::error::SqliteError;
use crate::rows::{self, Columns, columns};

/// Reads what a request refers to. The caller sees to one snapshot.
pub(crate) fn reference_data(connection: &Connection, query: &ReferenceQuery) -> Result<ReferenceData, SqliteError> {
    let mut reference = ReferenceData::new(query.organization_id);
    let organization = query.organization_id.as_uuid();
    each(connection, CHANNELS, [organization], |columns| {
        let channel = rows::channel(columns)?;
        reference.channels.insert(channel.value.id, channel);
        Ok(())
    })?;
    let of_sequence = [organization, query.sequence_id.as_uuid()];
    let mut sequence: Option<Versioned<Sequence>> = None;
    each(connection, SEQUENCE, of_sequence, |columns| {
        sequence = Some(rows::sequence(columns)?);
        Ok(())
    })?;
    if let Some(Versioned { version, value: row }) = sequence {
        let mut row = Arc::unwrap_or_clone(row);
        each(connection, STEPS, of_sequence, |columns| {
            row.steps.push(rows::step(columns)?);
            Ok(())
        })?;
        reference.sequences.insert(row.id, Versioned::new(version, row));
    }
    if let Some(id) = query.custom_object_id {
        each(connection, CUSTOM_OBJECT, [organization, id.as_uuid()], |columns| {
            reference.custom_objects.insert(id, rows::custom_object(columns)?);
            Ok(())
        })?;
    }
    if let Some(id) = query.call_flow_id {
        each(connection, CALL_FLOW, [organization, id.as_uuid()], |columns| {
            reference.call_flows.insert(id, rows::call_flow(columns)?);
            Ok(())
        })?;
    }
    if let Some(id) = query.enrollment_id
        && let Some(stands) = enrollment(connection, query.organization_id, id)?
    {
        reference.enrollments.insert(id, Arc::new(stands));
    }
    Ok(reference)
}

/// Reads an enrollment, without what it asks for.
pub(crate) fn enrollment(
    connection: &Connection,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Option<StoredEnrollment>, SqliteError> {
    let mut found = None;
    each(connection, ENROLLMENT, [organization_id.as_uuid(), id.as_uuid()], |columns| {
        found = Some(rows::enrollment(columns)?);
        Ok(())
    })?;
    Ok(found)
}

/// Reads the facts that an enrollment is planned on. The caller sees to one snapshot.
pub(crate) fn load(connection: &Connection, query: &SnapshotQuery) -> Result<Snapshot, SqliteError> {
    let organization = query.reference.organization_id.as_uuid();
    let mut found = Vec::new();
    let lists = [
        (KeyKind::ExternalId, BY_EXTERNAL_ID, query.keys.external_ids()),
        (KeyKind::Phone, BY_PHONE, query.keys.phones()),
        (KeyKind::Email, BY_EMAIL, query.keys.emails()),
    ];
    for (kind, by_key, texts) in lists {
        // Whoever was found holds its other keys too, and nobody else does: the database sees to that.
        let held: HashSet<&str> =
            found.iter().filter_map(|person: &Arc<ContactAggregate>| person.contact.key(kind)).collect();
        let open: Vec<_> = texts.iter().filter(|text| !held.contains(text.as_str())).collect();
        if !open.is_empty() {
            let keys = array(open.into_iter().map(|text| Value::Text(text.as_str().to_owned())));
            each(connection, by_key, params![organization, keys], |columns| {
                let (contact, version) = rows::contact(columns)?;
                found.push(Arc::new(ContactAggregate::new(contact, version)));
                Ok(())
            })?;
        }
    }
    let mut people = People::of(found);
    if !people.is_empty() {
        round(connection, query, &mut people)?;
    }
    let mut snapshot = Snapshot::new(reference_data(connection, &query.reference)?);
    snapshot.contacts = people.into_snapshot();
    Ok(snapshot)
}

/// Contacts in the order of their ids, with what was read round them so far.
pub(crate) struct People {
    list: Vec<Arc<ContactAggregate>>,
    /// Whose the last row was: most rows come in the same order.
    last: usize,
}

impl People {
    pub(crate) fn of(mut list: Vec<Arc<ContactAggregate>>) -> Self {
        list.sort_by_key(|person| person.contact.id);
        list.dedup_by_key(|person| person.contact.id);
        Self { list, last: 0 }
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts a row to its contact.
    pub(crate) fn put(&mut self, contact_id: ContactId, row: impl FnOnce(&mut ContactAggregate)) {
        let is_at = |place: &usize| self.list.get(*place).is_some_and(|person| person.contact.id == contact_id);
        let near = [self.last, self.last + 1].into_iter().find(is_at);
        let search = || self.list.binary_search_by_key(&contact_id, |person| person.contact.id).ok();
        let Some(place) = near.or_else(search) else { return };
        self.last = place;
        if let Some(person) = self.list.get_mut(place) {
            row(Arc::make_mut(person));
        }
    }

    pub(crate) fn into_snapshot(self) -> BTreeMap<ContactId, Arc<ContactAggregate>> {
        self.list.into_iter().map(|person| (person.contact.id, person)).collect()
    }
}

/// Reads the rows round the contacts, as far as they matter.
fn round(connection: &Connection, query: &SnapshotQuery, people: &mut People) -> Result<(), SqliteError> {
    let ids: Vec<Uuid> = people.list.iter().map(|person| person.contact.id.as_uuid()).collect();
    let round =
        Round { connection, organization: query.reference.organization_id.as_uuid(), contacts: Stretches::of(&ids) };
    if let Some(channel_id) = query.channel_id {
        let channel = channel_id.as_uuid();
        round.read(people, &PREFERENCES, channel, rows::preference, |person| &mut person.preferences)?;
        round.read(people, &CONVERSATIONS, channel, rows::conversation, |person| &mut person.conversations)?;
    }
    let sequence = query.reference.sequence_id.as_uuid();
    round.read(people, &RUNS, sequence, rows::run, |person| &mut person.runs)?;
    round.read(people, &STEP_CONTACTS, sequence, rows::step_contact, |person| &mut person.step_contacts)?;
    if let (Some(_), Some(object_id)) = (query.resource, query.reference.custom_object_id) {
        round.read(people, &RECORDS, object_id.as_uuid(), rows::record, |person| &mut person.records)?;
    }
    Ok(())
}

/// What rows are read round.
struct Round<'c> {
    connection: &'c Connection,
    organization: Uuid,
    contacts: Stretches<'c>,
}

/// How the rows of a table are read.
struct Reading {
    /// Those round each of some contacts that belong to a channel, a sequence or a custom object.
    of_each: &'static str,
    /// All that stand round the contacts from one to another, in their order, up to a number: the contact, whether they
    /// belong there, and the same.
    from_to: &'static str,
}

impl Round<'_> {
    /// Neighbours are read in passing, as long as not much else stands round them; the others are looked up.
    fn read<T>(
        &self,
        people: &mut People,
        reading: &Reading,
        belongs_to: Uuid,
        row: impl Fn(&mut Columns<'_, '_>) -> rusqlite::Result<rows::OfContact<T>>,
        list: impl Fn(&mut ContactAggregate) -> &mut Vec<T>,
    ) -> Result<(), SqliteError> {
        let mut apart = self.contacts.apart.clone();
        for stretch in &self.contacts.long {
            let most = i64::try_from(stretch.ids.len()).unwrap_or(i64::MAX).saturating_mul(MOST_EACH);
            let (mut found, mut reached) = (0, stretch.first);
            let params = params![self.organization, stretch.first, stretch.last, belongs_to, most];
            each(self.connection, reading.from_to, params, |columns| {
                (found, reached) = (found + 1, columns.take()?);
                if columns.take()? {
                    let (contact_id, row) = row(columns)?;
                    people.put(contact_id, |person| list(person).push(row));
                }
                Ok(())
            })?;
            if found == most {
                // Whether all of the last one's were read is not known.
                people.put(ContactId::from_uuid(reached), |person| list(person).clear());
                apart.extend(stretch.ids.iter().filter(|id| **id >= reached));
            }
        }
        if apart.is_empty() {
            return Ok(());
        }
        let params = params![self.organization, ids(apart.into_iter()), belongs_to];
        each(self.connection, reading.of_each, params, |columns| {
            let (contact_id, row) = row(columns)?;
            people.put(contact_id, |person| list(person).push(row));
            Ok(())
        })
    }
}

/// Sorted ids, by how their rows are found fastest.
pub(crate) struct Stretches<'i> {
    /// Neighbours, whose rows are read in passing.
    pub(crate) long: Vec<Stretch<'i>>,
    /// Those whose rows are looked up.
    pub(crate) apart: Vec<Uuid>,
}

/// Ids that lie side by side.
pub(crate) struct Stretch<'i> {
    pub(crate) first: Uuid,
    pub(crate) last: Uuid,
    ids: &'i [Uuid],
}

impl<'i> Stretches<'i> {
    pub(crate) fn of(sorted: &'i [Uuid]) -> Self {
        let (mut long, mut apart) = (Vec::new(), Vec::new());
        for ids in sorted.chunk_by(|a, b| are_adjacent(*a, *b)) {
            match *ids {
                [first, .., last] if ids.len() >= LONG => long.push(Stretch { first, last, ids }),
                _ => apart.extend(ids),
            }
        }
        Self { long, apart }
    }
}

/// How many neighbours it takes to read them in passing.
const LONG: usize = 8;
/// How many rows round each of them, on average, are read in passing: where there are more, they are looked up.
const MOST_EACH: i64 = 4;

/// Runs a query, and hands over the columns of each row.
pub(crate) fn each(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut row: impl FnMut(&mut Columns<'_, '_>) -> rusqlite::Result<()>,
) -> Result<(), SqliteError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(found) = rows.next()? {
        row(&mut Columns::of(found))?;
    }
    Ok(())
}

/// Values as a parameter for `rarray`.
pub(crate) fn array(values: impl Iterator<Item = Value>) -> Array {
    Rc::new(values.collect())
}

/// Ids as a parameter for `rarray`.
pub(crate) fn ids(ids: impl Iterator<Item = Uuid>) -> Array {
    array(ids.map(|id| Value::Blob(id.as_bytes().to_vec())))
}

macro_rules! of_organization {
    ($columns:ident, $table:literal, $id:literal) => {
        concat!("select ", columns!($columns), " from ", $table, " where organization_id = ?1 and ", $id, " = ?2")
    };
}

macro_rules! by_key {
    ($held:literal) => {
        concat!(
            "select ",
            columns!(contacts),
            " from rarray(?2) k cross join enroll_contacts c on c.organization_id = ?1 and c.",
            $held,
            " = k.value"
        )
    };
}

macro_rules! round {
    ($columns:ident, $table:literal, $of:literal) => {
        Reading {
            of_each: concat!(
                "select ",
                columns!($columns),
                " from rarray(?2) k cross join ",
                $table,
                " r on r.organization_id = ?1 and r.contact_id = k.value and r.",
                $of,
                " = ?3"
            ),
            from_to: concat!(
                "select r.contact_id, r.",
                $of,
                " = ?4, ",
                columns!($columns),
                " from ",
                $table,
                " r where r.organization_id = ?1 and r.contact_id between ?2 and ?3 order by r.contact_id limit ?5"
            ),
        }
    };
}

const CHANNELS: &str = concat!("select ", columns!(channels), " from enroll_channels c where organization_id = ?1");
const SEQUENCE: &str = of_organization!(sequences, "enroll_sequences s", "id");
/// In the order in which they were inserted.
const STEPS: &str = concat!(
    "select ",
    columns!(steps),
    " from enroll_steps t where organization_id = ?1 and sequence_id = ?2 order by rowid"
);
const CUSTOM_OBJECT: &str = of_organization!(custom_objects, "enroll_custom_objects o", "id");
const CALL_FLOW: &str = of_organization!(call_flows, "enroll_call_flows f", "id");
const ENROLLMENT: &str = of_organization!(enrollments, "enroll_enrollments e", "id");
const BY_EXTERNAL_ID: &str = by_key!("held_external_id");
const BY_PHONE: &str = by_key!("held_phone");
const BY_EMAIL: &str = by_key!("held_email");
const PREFERENCES: Reading = round!(preferences, "enroll_communication_preferences", "channel_id");
const CONVERSATIONS: Reading = round!(conversations, "enroll_conversations", "channel_id");
const RUNS: Reading = round!(runs, "enroll_runs", "sequence_id");
const STEP_CONTACTS: Reading = round!(step_contacts, "enroll_step_contacts", "sequence_id");
const RECORDS: Reading = round!(records, "enroll_custom_records", "custom_object_id");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteRepository;
    use crate::write::{CONTACTS, CONTACTS_FROM_TO, RAISE_CONTACTS};

    /// Each row that is read is found by an index, also where the table is large and was analyzed; neighbours are read in its
    /// order.
    #[test]
    fn nothing_but_the_keys_is_scanned() {
        let repository = SqliteRepository::open_in_memory().unwrap();
        let round = [PREFERENCES, CONVERSATIONS, RUNS, STEP_CONTACTS, RECORDS];
        let of_contacts = round.iter().flat_map(|reading| [reading.of_each, reading.from_to]);
        let of_context = [SEQUENCE, STEPS, CUSTOM_OBJECT, CALL_FLOW, ENROLLMENT, CHANNELS];
        let contacts = [BY_EXTERNAL_ID, BY_PHONE, BY_EMAIL, CONTACTS, CONTACTS_FROM_TO, RAISE_CONTACTS];
        for sql in of_context.into_iter().chain(contacts).chain(of_contacts) {
            let mut statement = repository.connection().prepare(&format!("explain query plan {sql}")).unwrap();
            let steps =
                statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>().unwrap();
            // The few steps of a sequence are sorted.
            let other_than_keys = |step: &&String| {
                let scans = step.starts_with("SCAN") && *step != "SCAN k VIRTUAL TABLE INDEX 1:";
                scans || (step.contains("TEMP B-TREE") && sql != STEPS)
            };
            let others: Vec<_> = steps.iter().filter(other_than_keys).collect();
            assert!(others.is_empty(), "{sql}: {steps:#?}");
            assert!(steps.iter().any(|step| step.starts_with("SEARCH")), "{sql}: {steps:#?}");
        }
    }
}
