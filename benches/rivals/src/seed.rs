//! Loads a seed into the tables of the rivals.

use diesel::prelude::*;
use enroll::contact::{BirthDate, Contact};
use enroll::seed::Seed;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::sqlite::{
    Id, NewContact, NewContactTag, NewConversation, NewRecord, NewRun, NewStepContact, call_flows, channels,
    communication_preferences, contact_tags, contacts, conversations, custom_objects, custom_records, runs, sequences,
    step_contacts, steps, tags,
};
use crate::{Error, rules};

/// Loads a seed of one organization into SQLite, in one transaction.
///
/// # Errors
/// The database's error.
pub fn sqlite(connection: &mut SqliteConnection, seed: &Seed) -> Result<(), Error> {
    let organization = seed.organization_id.as_uuid();
    let organization_id = Id(organization);
    connection.immediate_transaction(|c| {
        for row in seed.channels.iter().map(|row| &row.row) {
            let values = (
                channels::id.eq(Id(row.id.as_uuid())),
                channels::organization_id.eq(organization_id),
                channels::kind.eq(row.kind.as_str()),
                channels::address.eq(&*row.address),
                channels::enabled.eq(row.enabled),
            );
            diesel::insert_into(channels::table).values(values).execute(c)?;
        }
        for row in seed.call_flows.iter().map(|row| &row.row) {
            let values = (call_flows::id.eq(Id(row.id.as_uuid())), call_flows::organization_id.eq(organization_id));
            diesel::insert_into(call_flows::table).values(values).execute(c)?;
        }
        for row in seed.custom_objects.iter().map(|row| &row.row) {
            let values = (
                custom_objects::id.eq(Id(row.id.as_uuid())),
                custom_objects::organization_id.eq(organization_id),
                custom_objects::properties.eq(serde_json::to_string(&row.properties)?),
            );
            diesel::insert_into(custom_objects::table).values(values).execute(c)?;
        }
        for row in seed.sequences.iter().map(|row| &row.row) {
            let sequence_id = Id(row.id.as_uuid());
            let values = (
                sequences::id.eq(sequence_id),
                sequences::organization_id.eq(organization_id),
                sequences::status.eq(row.status.as_str()),
                sequences::settings.eq(serde_json::to_string(&row.settings)?),
            );
            diesel::insert_into(sequences::table).values(values).execute(c)?;
            for step in &row.steps {
                let values = (
                    steps::id.eq(Id(step.id.as_uuid())),
                    steps::sequence_id.eq(sequence_id),
                    steps::position.eq(step.position),
                    steps::channel_kind.eq(step.channel_kind.as_str()),
                    steps::channel_id.eq(step.channel_id.map(|id| Id(id.as_uuid()))),
                );
                diesel::insert_into(steps::table).values(values).execute(c)?;
            }
        }
        for row in seed.tags.iter().map(|row| &row.row) {
            let values = (
                tags::id.eq(Id(row.id.as_uuid())),
                tags::organization_id.eq(organization_id),
                tags::name.eq(&*row.name),
                tags::system_created.eq(row.system_created),
            );
            diesel::insert_into(tags::table).values(values).execute(c)?;
        }
        for row in seed.contacts.iter().map(|row| &row.row) {
            let created_at = row.created_at.map(enroll::Timestamp::millis);
            let values = NewContact::new(contact(row)?, organization, created_at);
            diesel::insert_into(contacts::table).values(values).execute(c)?;
        }
        for row in seed.communication_preferences.iter().map(|row| &row.row) {
            let values = (
                communication_preferences::contact_id.eq(Id(row.contact_id.as_uuid())),
                communication_preferences::channel_id.eq(Id(row.channel_id.as_uuid())),
                communication_preferences::opt_in.eq(row.opt_in),
            );
            diesel::insert_into(communication_preferences::table).values(values).execute(c)?;
        }
        for row in seed.conversations.iter().map(|row| &row.row) {
            let values = NewConversation {
                id: Id(row.id.as_uuid()),
                organization_id,
                contact_id: Id(row.contact_id.as_uuid()),
                channel_id: Id(row.channel_id.as_uuid()),
                status: row.status.as_str(),
                created_at: row.created_at.map(enroll::Timestamp::millis),
            };
            diesel::insert_into(conversations::table).values(values).execute(c)?;
        }
        for row in seed.runs.iter().map(|row| &row.row) {
            let values = NewRun {
                id: Id(row.id.as_uuid()),
                organization_id,
                sequence_id: Id(row.sequence_id.as_uuid()),
                contact_id: Id(row.contact_id.as_uuid()),
                status: row.status.as_str(),
                started_at: row.started_at.millis(),
            };
            diesel::insert_into(runs::table).values(values).execute(c)?;
        }
        for row in seed.step_contacts.iter().map(|row| &row.row) {
            let values = NewStepContact {
                id: Id(row.id.as_uuid()),
                organization_id,
                run_id: Id(row.run_id.as_uuid()),
                sequence_id: Id(row.sequence_id.as_uuid()),
                step_id: Id(row.step_id.as_uuid()),
                contact_id: Id(row.contact_id.as_uuid()),
                status: row.status.as_str(),
                scheduled_at: row.scheduled_at.millis(),
                channel_id: row.channel_id.map(|id| Id(id.as_uuid())),
                default_call_flow_id: row.default_call_flow_id.map(|id| Id(id.as_uuid())),
                times_processed: i32::try_from(row.times_processed)?,
                enrollment_id: row.enrollment_id.map(|id| Id(id.as_uuid())),
            };
            diesel::insert_into(step_contacts::table).values(values).execute(c)?;
        }
        for row in seed.contact_tags.iter().map(|row| &row.row) {
            let values = NewContactTag { contact_id: Id(row.contact_id.as_uuid()), tag_id: Id(row.tag_id.as_uuid()) };
            diesel::insert_into(contact_tags::table).values(values).execute(c)?;
        }
        for row in seed.custom_records.iter().map(|row| &row.row) {
            let values = NewRecord {
                id: Id(row.id.as_uuid()),
                organization_id,
                custom_object_id: Id(row.custom_object_id.as_uuid()),
                resource: row.resource.as_str(),
                resource_id: Id(row.resource_id),
                contact_id: Id(contact_of(seed, row.resource_id)),
                properties: serde_json::to_string(&row.properties)?,
            };
            diesel::insert_into(custom_records::table).values(values).execute(c)?;
        }
        Ok(())
    })
}

/// Loads a seed of one organization into PostgreSQL, in one transaction.
///
/// # Errors
/// The database's error.
pub async fn postgres(connection: &mut PgConnection, seed: &Seed) -> Result<(), Error> {
    let organization_id = seed.organization_id.as_uuid();
    let mut c = connection.begin().await?;
    for row in seed.channels.iter().map(|row| &row.row) {
        let sql = "insert into channels values ($1, $2, $3, $4, $5)";
        let query = sqlx::query(sql).bind(row.id.as_uuid()).bind(organization_id);
        query.bind(row.kind.as_str()).bind(&*row.address).bind(row.enabled).execute(&mut *c).await?;
    }
    for row in seed.call_flows.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into call_flows values ($1, $2)");
        query.bind(row.id.as_uuid()).bind(organization_id).execute(&mut *c).await?;
    }
    for row in seed.custom_objects.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into custom_objects values ($1, $2, $3::jsonb)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id);
        query.bind(serde_json::to_string(&row.properties)?).execute(&mut *c).await?;
    }
    for row in seed.sequences.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into sequences values ($1, $2, $3, $4::jsonb)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id).bind(row.status.as_str());
        query.bind(serde_json::to_string(&row.settings)?).execute(&mut *c).await?;
        for step in &row.steps {
            let query = sqlx::query("insert into steps values ($1, $2, $3, $4, $5)");
            let query = query.bind(step.id.as_uuid()).bind(row.id.as_uuid()).bind(step.position);
            let channel_id = step.channel_id.map(enroll::ChannelId::as_uuid);
            query.bind(step.channel_kind.as_str()).bind(channel_id).execute(&mut *c).await?;
        }
    }
    for row in seed.tags.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into tags values ($1, $2, $3, $4)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id);
        query.bind(&*row.name).bind(row.system_created).execute(&mut *c).await?;
    }
    for row in seed.contacts.iter().map(|row| &row.row) {
        let contact = contact(row)?;
        sqlx::query(
            "insert into contacts
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, $14, $15, $16)",
        )
        .bind(contact.id)
        .bind(organization_id)
        .bind(&contact.external_id)
        .bind(&contact.phone)
        .bind(&contact.email)
        .bind(&contact.email_key)
        .bind(&contact.name)
        .bind(&contact.language)
        .bind(contact.default_channel_id)
        .bind(&contact.address)
        .bind(contact.birth_day)
        .bind(contact.birth_month)
        .bind(contact.birth_year)
        .bind(&contact.state)
        .bind(row.created_at.map(enroll::Timestamp::as_datetime))
        .bind(row.updated_at.map(enroll::Timestamp::as_datetime))
        .execute(&mut *c)
        .await?;
    }
    for row in seed.communication_preferences.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into communication_preferences values ($1, $2, $3)");
        let query = query.bind(row.contact_id.as_uuid()).bind(row.channel_id.as_uuid());
        query.bind(row.opt_in).execute(&mut *c).await?;
    }
    for row in seed.conversations.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into conversations values ($1, $2, $3, $4, $5, $6)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id).bind(row.contact_id.as_uuid());
        let created_at = row.created_at.map(enroll::Timestamp::as_datetime);
        query.bind(row.channel_id.as_uuid()).bind(row.status.as_str()).bind(created_at).execute(&mut *c).await?;
    }
    for row in seed.runs.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into runs values ($1, $2, $3, $4, $5, $6)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id).bind(row.sequence_id.as_uuid());
        let query = query.bind(row.contact_id.as_uuid()).bind(row.status.as_str());
        query.bind(row.started_at.as_datetime()).execute(&mut *c).await?;
    }
    for row in seed.step_contacts.iter().map(|row| &row.row) {
        let sql = "insert into step_contacts values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let query = sqlx::query(sql).bind(row.id.as_uuid()).bind(organization_id).bind(row.run_id.as_uuid());
        let query = query.bind(row.sequence_id.as_uuid()).bind(row.step_id.as_uuid()).bind(row.contact_id.as_uuid());
        let query = query.bind(row.status.as_str()).bind(row.scheduled_at.as_datetime());
        let query = query.bind(row.channel_id.map(enroll::ChannelId::as_uuid));
        let query = query.bind(row.default_call_flow_id.map(enroll::CallFlowId::as_uuid));
        let query = query.bind(i32::try_from(row.times_processed)?);
        query.bind(row.enrollment_id.map(enroll::EnrollmentId::as_uuid)).execute(&mut *c).await?;
    }
    for row in seed.contact_tags.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into contact_tags values ($1, $2)");
        query.bind(row.contact_id.as_uuid()).bind(row.tag_id.as_uuid()).execute(&mut *c).await?;
    }
    for row in seed.custom_records.iter().map(|row| &row.row) {
        let query = sqlx::query("insert into custom_records values ($1, $2, $3, $4, $5, $6, $7::jsonb)");
        let query = query.bind(row.id.as_uuid()).bind(organization_id).bind(row.custom_object_id.as_uuid());
        let query = query.bind(row.resource.as_str()).bind(row.resource_id).bind(contact_of(seed, row.resource_id));
        query.bind(serde_json::to_string(&row.properties)?).execute(&mut *c).await?;
    }
    Ok(c.commit().await?)
}

fn contact(row: &Contact) -> Result<rules::Contact, Error> {
    let BirthDate { day, month, year, .. } = row.profile.birth_date.unwrap_or_default();
    Ok(rules::Contact {
        id: row.id.as_uuid(),
        external_id: row.external_id.as_deref().map(str::to_owned),
        phone: row.phone.as_deref().map(str::to_owned),
        email: row.email.as_ref().map(|email| email.as_str().to_owned()),
        email_key: row.email.as_ref().map(|email| email.key().to_owned()),
        name: row.profile.name.as_deref().map(str::to_owned),
        language: row.profile.language.as_deref().map(str::to_owned),
        default_channel_id: row.profile.default_channel_id.map(enroll::ChannelId::as_uuid),
        address: row.profile.address.as_ref().map(serde_json::to_string).transpose()?,
        birth_day: day.map(i32::from),
        birth_month: month.map(i32::from),
        birth_year: year.map(i32::from),
        state: row.state.as_str().to_owned(),
    })
}

/// Returns the contact of a record: the resource itself, or the contact of the step contact.
fn contact_of(seed: &Seed, resource_id: Uuid) -> Uuid {
    let step_contact = seed.step_contacts.iter().find(|row| row.row.id.as_uuid() == resource_id);
    step_contact.map_or(resource_id, |row| row.row.contact_id.as_uuid())
}
