//! Reads with a fixed number of statements: reference data in one round trip, a load in two.

use enroll::contact::{Contact, KeyKind};
use enroll::model::{CallFlow, Channel, ContactTag, CustomObject, Sequence, Step, Tag};
use enroll::snapshot::ContactAggregate;
use enroll::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, ReferenceData, ReferenceQuery, Snapshot,
    SnapshotQuery, TagId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Begin, Bound, Row, Transaction};
use crate::fields::ColumnReader;
use crate::id_ranges::ContactRanges;
use crate::statements::Prepared;
use crate::tables::{Table, read_enrollment};

/// Reads the rows that a request refers to.
pub(crate) async fn reference_data(
    client: impl Begin,
    statements: &Prepared,
    query: &ReferenceQuery,
) -> Result<ReferenceData, PostgresError> {
    let params = ReferenceParams::new(query);
    let transaction = client.begin_read().await?;
    read_reference_data(query, &transaction.query_last(params.queries(statements).map(Some)).await?)
}

/// Reads the facts that the planner needs.
///
/// At READ COMMITTED, each statement sees the rows that were committed before it. A contact is therefore read with its
/// version before its related rows: if one of these changes meanwhile, the version is stale, and the commit is refused.
pub(crate) async fn load(
    client: impl Begin,
    statements: &Prepared,
    query: &SnapshotQuery,
) -> Result<Snapshot, PostgresError> {
    let params = ReferenceParams::new(&query.reference);
    let [external_ids, phones, emails] =
        KeyKind::ALL.map(|kind| query.keys.get(kind).iter().map(|key| &**key).collect::<Vec<&str>>());
    let organization = &params.organization;
    let tag_id = query.tag_id.map(TagId::as_uuid);
    let [enrollment, channels, sequence, steps, object, call_flow] = params.queries(statements).map(Some);
    let queries = [
        enrollment,
        channels,
        sequence,
        steps,
        object,
        call_flow,
        tag_id.as_ref().map(|id| (&statements.tag, vec![organization as _, id as _])),
        Some((&statements.owners, vec![organization, &external_ids, &phones, &emails])),
    ];
    let mut transaction = client.begin_read().await?;
    let [enrollment, channels, sequence, steps, object, call_flow, tag, owners] =
        transaction.query_all(queries).await?;
    let reference = read_reference_data(&query.reference, &[enrollment, channels, sequence, steps, object, call_flow])?;

    let ids = owners.iter().map(|row| ColumnReader::new(row).read()).collect::<Result<BTreeSet<Uuid>, _>>()?;
    let ranges = ContactRanges::new(ids);
    let channel = query.channel_id.map(ChannelId::as_uuid);
    let object = query.reference.custom_object_id.filter(|_| query.resource.is_some());
    let object = object.map(CustomObjectId::as_uuid);
    let queries: [Option<Bound<'_>>; 7] = [
        Some((&statements.contacts, ranges.contacts(organization))),
        Some((&statements.preferences, ranges.related(organization, &channel))),
        Some((&statements.conversations, ranges.related(organization, &channel))),
        Some((&statements.runs, ranges.related(organization, &params.sequence))),
        Some((&statements.step_contacts, ranges.related(organization, &params.sequence))),
        Some((&statements.records, ranges.related(organization, &object))),
        tag_id.as_ref().map(|id| (&statements.contact_tags, ranges.related(organization, id))),
    ];
    let [contacts, preferences, conversations, runs, step_contacts, records, contact_tags] =
        transaction.query_last(queries).await?;
    let mut aggregates = BTreeMap::new();
    for row in &contacts {
        let contact = read_contact(row)?;
        if ranges.contains(contact.contact.id.as_uuid()) {
            aggregates.insert(contact.contact.id, contact);
        }
    }
    related_rows(&mut aggregates, &preferences, |contact| &mut contact.preferences, |row| row.contact_id)?;
    related_rows(&mut aggregates, &conversations, |contact| &mut contact.conversations, |row| row.contact_id)?;
    related_rows(&mut aggregates, &runs, |contact| &mut contact.runs, |row| row.contact_id)?;
    related_rows(&mut aggregates, &step_contacts, |contact| &mut contact.step_contacts, |row| row.contact_id)?;
    related_records(&mut aggregates, &records)?;
    for row in &contact_tags {
        let row = ContactTag::read(&mut ColumnReader::new(row))?;
        if let Some(contact) = aggregates.get_mut(&row.contact_id) {
            contact.tags.push(row.tag_id);
        }
    }
    let mut snapshot = Snapshot::new(reference);
    for row in &tag {
        let tag = Tag::read(&mut ColumnReader::new(row))?;
        snapshot.tags.insert(tag.id, tag);
    }
    snapshot.contacts = aggregates.into_iter().map(|(id, contact)| (id, Arc::new(contact))).collect();
    Ok(snapshot)
}

/// Contacts with their related rows, by id.
pub(crate) type Aggregates = BTreeMap<ContactId, ContactAggregate>;

/// Reads a contact without its related rows. The version precedes the columns.
pub(crate) fn read_contact(row: &impl Row) -> Result<ContactAggregate, PostgresError> {
    let mut columns = ColumnReader::new(row);
    let version = columns.version()?;
    Ok(ContactAggregate::new(Contact::read(&mut columns)?, version))
}

/// Reads the rows of a table into the contacts. Rows of other contacts are dropped.
pub(crate) fn related_rows<T: Table>(
    aggregates: &mut Aggregates,
    rows: &[impl Row],
    list: impl Fn(&mut ContactAggregate) -> &mut Vec<T>,
    contact_id: impl Fn(&T) -> ContactId,
) -> Result<(), PostgresError> {
    for row in rows {
        let row = T::read(&mut ColumnReader::new(row))?;
        if let Some(contact) = aggregates.get_mut(&contact_id(&row)) {
            list(contact).push(row);
        }
    }
    Ok(())
}

/// Reads custom records into the contacts. The contact id precedes the columns.
pub(crate) fn related_records(aggregates: &mut Aggregates, rows: &[impl Row]) -> Result<(), PostgresError> {
    for row in rows {
        let mut columns = ColumnReader::new(row);
        if let Some(contact) = aggregates.get_mut(&columns.read()?) {
            contact.records.push(Table::read(&mut columns)?);
        }
    }
    Ok(())
}

/// The parameters of a query for reference data.
struct ReferenceParams {
    organization: Uuid,
    enrollment: Vec<Uuid>,
    sequence: Uuid,
    custom_object: Vec<Uuid>,
    call_flow: Vec<Uuid>,
}

impl ReferenceParams {
    fn new(query: &ReferenceQuery) -> Self {
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

fn read_reference_data(
    query: &ReferenceQuery,
    [enrollment, channels, sequence, steps, object, call_flow]: &[Vec<impl Row>; 6],
) -> Result<ReferenceData, PostgresError> {
    let mut reference = ReferenceData::new(query.organization_id);
    for row in enrollment {
        let enrollment = read_enrollment(&mut ColumnReader::new(row))?;
        reference.enrollments.insert(enrollment.id, Arc::new(enrollment));
    }
    for row in channels {
        let channel = Channel::read_versioned(&mut ColumnReader::new(row))?;
        reference.channels.insert(channel.value.id, channel);
    }
    for row in sequence {
        let mut sequence = Sequence::read_versioned(&mut ColumnReader::new(row))?;
        let list = &mut Arc::make_mut(&mut sequence.value).steps;
        for row in steps {
            list.push(Step::read(&mut ColumnReader::new(row))?);
        }
        reference.sequences.insert(sequence.value.id, sequence);
    }
    for row in object {
        let object = CustomObject::read_versioned(&mut ColumnReader::new(row))?;
        reference.custom_objects.insert(object.value.id, object);
    }
    for row in call_flow {
        let call_flow = CallFlow::read_versioned(&mut ColumnReader::new(row))?;
        reference.call_flows.insert(call_flow.value.id, call_flow);
    }
    Ok(reference)
}
