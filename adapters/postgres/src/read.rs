//! `reference_data` and `load`: a fixed number of statements, in one round trip and in two.

use enroll::contact::KeyKind;
use enroll::repository::are_adjacent;
use enroll::snapshot::{ContactAggregate, Versioned};
use enroll::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, ReferenceData, ReferenceQuery, Snapshot,
    SnapshotQuery,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use crate::statements::{Bound, Prepared, query_all};
use crate::{Error, rows};

pub(crate) async fn reference_data(
    client: &impl GenericClient,
    statements: &Prepared,
    query: &ReferenceQuery,
) -> Result<ReferenceData, Error> {
    let named = Named::of(query);
    reference_data_from(query, &query_all(client, named.queries(statements)).await?)
}

/// Where the statements are not of one snapshot, each sees what is committed when it runs: so a contact is read with its
/// version before anything round it, and what changes in between leaves the plan with a version that no longer holds.
pub(crate) async fn load(
    client: &impl GenericClient,
    statements: &Prepared,
    query: &SnapshotQuery,
) -> Result<Snapshot, Error> {
    let named = Named::of(&query.reference);
    let [external_ids, phones, emails] =
        KeyKind::ALL.map(|kind| query.keys.get(kind).iter().map(|key| &**key).collect::<Vec<&str>>());
    let organization = &named.organization;
    let [enrollment, channels, sequence, steps, object, call_flow] = named.queries(statements);
    let queries = [
        enrollment,
        channels,
        sequence,
        steps,
        object,
        call_flow,
        (&statements.holders, vec![organization, &external_ids, &phones, &emails]),
    ];
    let [enrollment, channels, sequence, steps, object, call_flow, holders] = query_all(client, queries).await?;
    let reference = reference_data_from(&query.reference, &[enrollment, channels, sequence, steps, object, call_flow])?;

    let found = Found::of(&holders)?;
    let channel = query.channel_id.map(ChannelId::as_uuid);
    let object = query.reference.custom_object_id.filter(|_| query.resource.is_some());
    let object = object.map(CustomObjectId::as_uuid);
    let queries: [Bound<'_>; 6] = [
        (&statements.contacts, vec![organization, &found.firsts, &found.lasts]),
        (&statements.preferences, found.round(organization, &channel)),
        (&statements.conversations, found.round(organization, &channel)),
        (&statements.runs, found.round(organization, &named.sequence)),
        (&statements.step_contacts, found.round(organization, &named.sequence)),
        (&statements.records, found.round(organization, &object)),
    ];
    let [contacts, preferences, conversations, runs, step_contacts, records] = query_all(client, queries).await?;
    let mut people = BTreeMap::new();
    for row in &contacts {
        // Those who lie between are not asked for.
        if found.ids.binary_search(&rows::id(row, 0)?).is_ok() {
            let (version, contact) = rows::contact(row)?;
            people.insert(contact.id, ContactAggregate::new(contact, version));
        }
    }
    round(&mut people, &preferences, rows::preference, |row| row.contact_id, |person| &mut person.preferences)?;
    round(&mut people, &conversations, rows::conversation, |row| row.contact_id, |person| &mut person.conversations)?;
    round(&mut people, &runs, rows::run, |row| row.contact_id, |person| &mut person.runs)?;
    round(&mut people, &step_contacts, rows::step_contact, |row| row.contact_id, |person| &mut person.step_contacts)?;
    for row in &records {
        let (contact_id, record) = rows::record(row)?;
        if let Some(person) = people.get_mut(&contact_id) {
            person.records.push(record);
        }
    }
    let mut snapshot = Snapshot::new(reference);
    snapshot.contacts = people.into_iter().map(|(id, person)| (id, Arc::new(person))).collect();
    Ok(snapshot)
}

/// The contacts that keys have found, as parameters.
struct Found {
    /// Sorted, each once, however many of its keys are named.
    ids: Vec<Uuid>,
    /// The first and the last of each stretch of neighbours, those who have none too.
    firsts: Vec<Uuid>,
    lasts: Vec<Uuid>,
    /// The first and the last of some who lie side by side.
    sample: [Option<Uuid>; 2],
    /// How many rows round these are too many to read all of them in passing: any where nobody lies side by side.
    too_many: i64,
}

impl Found {
    fn of(holders: &[Row]) -> Result<Self, Error> {
        let ids = holders.iter().map(|row| rows::id(row, 0)).collect::<Result<BTreeSet<Uuid>, _>>()?;
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let stretches = || ids.chunk_by(|a, b| are_adjacent(*a, *b));
        let (firsts, lasts) = stretches().filter_map(|ids| Some((*ids.first()?, *ids.last()?))).unzip();
        let longest = stretches().max_by_key(|ids| ids.len()).filter(|ids| ids.len() >= LONG);
        let sample = longest.map(|ids| ids.get(..SAMPLE).unwrap_or(ids)).unwrap_or_default();
        let too_many = i64::try_from(sample.len()).unwrap_or(0) * TOO_MANY_EACH;
        let sample = [sample.first().copied(), sample.last().copied()];
        Ok(Self { ids, firsts, lasts, sample, too_many })
    }

    /// The parameters of a statement that reads what stands round them.
    fn round<'a>(&'a self, organization: &'a Uuid, belongs_to: &'a (dyn ToSql + Sync)) -> Vec<&'a (dyn ToSql + Sync)> {
        let Self { ids, firsts, lasts, sample: [first, last], too_many } = self;
        vec![organization, ids, firsts, lasts, first, last, too_many, belongs_to]
    }
}

/// How many neighbours it takes to read them in passing.
const LONG: usize = 8;
/// How many of them it is tried on.
const SAMPLE: usize = 16;
/// How many rows round each of them, on average, are too many to pass.
const TOO_MANY_EACH: i64 = 16;

/// What a reference data look-up names, as parameters.
struct Named {
    organization: Uuid,
    enrollment: Vec<Uuid>,
    sequence: Uuid,
    custom_object: Vec<Uuid>,
    call_flow: Vec<Uuid>,
}

impl Named {
    fn of(query: &ReferenceQuery) -> Self {
        Self {
            organization: query.organization_id.as_uuid(),
            enrollment: query.enrollment_id.map(EnrollmentId::as_uuid).into_iter().collect(),
            sequence: query.sequence_id.as_uuid(),
            custom_object: query.custom_object_id.map(CustomObjectId::as_uuid).into_iter().collect(),
            call_flow: query.call_flow_id.map(CallFlowId::as_uuid).into_iter().collect(),
        }
    }

    fn queries<'a>(&'a self, statements: &'a Prepared) -> [Bound<'a>; 6] {
        let organization = &self.organization;
        [
            (&statements.enrollment, vec![organization, &self.enrollment]),
            (&statements.channels, vec![organization]),
            (&statements.sequence, vec![organization, &self.sequence]),
            (&statements.steps, vec![organization, &self.sequence]),
            (&statements.custom_object, vec![organization, &self.custom_object]),
            (&statements.call_flow, vec![organization, &self.call_flow]),
        ]
    }
}

fn reference_data_from(
    query: &ReferenceQuery,
    [enrollment, channels, sequence, steps, object, call_flow]: &[Vec<Row>; 6],
) -> Result<ReferenceData, Error> {
    let mut reference = ReferenceData::new(query.organization_id);
    for row in enrollment {
        let enrollment = rows::enrollment(row)?;
        reference.enrollments.insert(enrollment.id, Arc::new(enrollment));
    }
    for row in channels {
        reference.channels.insert(rows::id(row, 0)?, rows::channel(row)?);
    }
    for row in sequence {
        let (version, mut sequence) = rows::sequence(row)?;
        for row in steps {
            sequence.steps.push(rows::step(row)?.1);
        }
        reference.sequences.insert(sequence.id, Versioned::new(version, sequence));
    }
    for row in object {
        reference.custom_objects.insert(rows::id(row, 0)?, rows::custom_object(row)?);
    }
    for row in call_flow {
        reference.call_flows.insert(rows::id(row, 0)?, rows::call_flow(row)?);
    }
    Ok(reference)
}

/// Puts rows round the contacts that they belong to.
pub(crate) fn round<T>(
    people: &mut BTreeMap<ContactId, ContactAggregate>,
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, Error>,
    contact_id: impl Fn(&T) -> ContactId,
    list: impl Fn(&mut ContactAggregate) -> &mut Vec<T>,
) -> Result<(), Error> {
    for row in rows {
        let row = read(row)?;
        if let Some(person) = people.get_mut(&contact_id(&row)) {
            list(person).push(row);
        }
    }
    Ok(())
}
