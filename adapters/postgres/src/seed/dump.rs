//! All that stands, read back.

use enroll::model::Tag;
use enroll::seed::Seed;
use enroll::snapshot::{ContactAggregate, Versioned};
use enroll::{ContactId, OrganizationId, ReferenceData, SequenceId, Snapshot, TagId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use crate::read::round;
use crate::statements::columns;
use crate::{Error, rows};

/// All rows of all organizations, as one snapshot of the database; those of another than `organization_id` name theirs.
///
/// # Errors
/// Whatever the database says.
pub async fn dump(client: &mut Client, organization_id: OrganizationId) -> Result<Seed, Error> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let mut snapshots = Vec::new();
    for row in transaction
        .query_typed("select organization_id from enroll.organizations order by organization_id", &[])
        .await?
    {
        snapshots.push(snapshot(&transaction, rows::id(&row, 0)?).await?);
    }
    transaction.commit().await?;
    Ok(Seed::dump(&snapshots, organization_id))
}

async fn snapshot(transaction: &Transaction<'_>, organization_id: OrganizationId) -> Result<Snapshot, Error> {
    let organization = organization_id.as_uuid();
    macro_rules! all {
        ($columns:ident, $table:literal, $order:literal) => {{
            let sql = concat!(
                "select ",
                columns!($columns),
                " from enroll.",
                $table,
                " where organization_id = $1 order by ",
                $order
            );
            of(transaction, sql, &organization).await?
        }};
    }
    let mut reference = ReferenceData::new(organization_id);
    for row in all!(channel, "channels", "id") {
        reference.channels.insert(rows::id(&row, 0)?, rows::channel(&row)?);
    }
    for row in all!(custom_object, "custom_objects", "id") {
        reference.custom_objects.insert(rows::id(&row, 0)?, rows::custom_object(&row)?);
    }
    for row in all!(call_flow, "call_flows", "id") {
        reference.call_flows.insert(rows::id(&row, 0)?, rows::call_flow(&row)?);
    }
    let mut steps: BTreeMap<SequenceId, Vec<_>> = BTreeMap::new();
    for row in all!(step, "steps", "position, id") {
        let (sequence_id, step) = rows::step(&row)?;
        steps.entry(sequence_id).or_default().push(step);
    }
    for row in all!(sequence, "sequences", "id") {
        let (version, mut sequence) = rows::sequence(&row)?;
        sequence.steps = steps.remove(&sequence.id).unwrap_or_default();
        reference.sequences.insert(sequence.id, Versioned::new(version, sequence));
    }
    for row in all!(enrollment, "enrollments", "id") {
        let enrollment = rows::enrollment(&row)?;
        reference.enrollments.insert(enrollment.id, Arc::new(enrollment));
    }

    let mut people = BTreeMap::new();
    for row in all!(contact, "contacts", "id") {
        let (version, contact) = rows::contact(&row)?;
        people.insert(contact.id, ContactAggregate::new(contact, version));
    }
    let preferences = all!(preference, "communication_preferences", "contact_id, channel_id");
    round(&mut people, &preferences, rows::preference, |row| row.contact_id, |person| &mut person.preferences)?;
    let conversations = all!(conversation, "conversations", "id");
    round(&mut people, &conversations, rows::conversation, |row| row.contact_id, |person| &mut person.conversations)?;
    let runs = all!(run, "runs", "id");
    round(&mut people, &runs, rows::run, |row| row.contact_id, |person| &mut person.runs)?;
    let step_contacts = all!(step_contact, "step_contacts", "id");
    round(&mut people, &step_contacts, rows::step_contact, |row| row.contact_id, |person| &mut person.step_contacts)?;
    for row in all!(record, "custom_records", "id") {
        let (contact_id, record) = rows::record(&row)?;
        if let Some(person) = people.get_mut(&contact_id) {
            person.records.push(record);
        }
    }
    let sql =
        "select contact_id, tag_id from enroll.contact_tags where organization_id = $1 order by contact_id, tag_id";
    for row in of(transaction, sql, &organization).await? {
        if let Some(person) = people.get_mut(&rows::id::<ContactId>(&row, 0)?) {
            person.tags.push(rows::id::<TagId>(&row, 1)?);
        }
    }

    let mut snapshot = Snapshot::new(reference);
    snapshot.contacts = people.into_iter().map(|(id, person)| (id, Arc::new(person))).collect();
    let sql = "select id, name, system_created from enroll.tags where organization_id = $1 order by id";
    for row in of(transaction, sql, &organization).await? {
        let mut tag = Tag::new(rows::id(&row, 0)?, row.try_get(1)?);
        tag.system_created = row.try_get(2)?;
        snapshot.tags.insert(tag.id, tag);
    }
    Ok(snapshot)
}

async fn of(transaction: &Transaction<'_>, sql: &str, organization: &Uuid) -> Result<Vec<Row>, Error> {
    Ok(transaction.query_typed(sql, &[(organization, Type::UUID)]).await?)
}
