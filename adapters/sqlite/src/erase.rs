//! Erases a person. The caller opens the transaction.

use enroll::contact::{ContactKeys, ContactState, KeyKind};
use enroll::erase::{EraseError, Erased, Person, PersonQuery};
use enroll::{ContactId, EnrollmentId, OrganizationId, Outcome, RepositoryError};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::trace::prepare;

/// Removes the rows of the person, and the person from stored commands and outcomes.
pub(crate) fn erase(
    connection: &Connection,
    organization_id: OrganizationId,
    query: &PersonQuery,
) -> Result<Erased, Failure> {
    let organization = organization_id.as_uuid();
    let person = find(connection, organization, query)?;
    let mut erased = Erased::default();
    erased.recipients = erase_from_commands(connection, organization, &person)?;
    if let Some(contact_id) = person.contact_id() {
        erased.outcomes = erase_from_outcomes(connection, organization, &person, contact_id)?;
        let key = [organization, contact_id.as_uuid()];
        for (table, count) in [
            ("enroll_custom_records", &mut erased.custom_records),
            ("enroll_contact_tags", &mut erased.contact_tags),
            ("enroll_step_contacts", &mut erased.step_contacts),
            ("enroll_runs", &mut erased.runs),
            ("enroll_conversations", &mut erased.conversations),
            ("enroll_communication_preferences", &mut erased.communication_preferences),
        ] {
            let sql = format!("delete from {table} where organization_id = ?1 and contact_id = ?2");
            *count = connection.execute(&sql, key)? as u64;
        }
        erased.contacts = connection.execute(DELETE_CONTACT, key)? as u64;
    }
    if erased == Erased::default() { Err(EraseError::NotFound.into()) } else { Ok(erased) }
}

/// Finds the contact with the id or one of the keys. A merged contact counts, because its row still shows its keys.
fn find(connection: &Connection, organization: Uuid, query: &PersonQuery) -> Result<Person, Failure> {
    let id = query.id.map(ContactId::as_uuid);
    let [external_id, phone, email] = KeyKind::ALL.map(|kind| query.key(kind));
    let mut statement = connection.prepare(FIND)?;
    let found = statement.query_map(params![organization, id, external_id, phone, email], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, [row.get(2)?, row.get(3)?, row.get(4)?]))
    })?;
    let found: Vec<(Uuid, String, [Option<String>; 3])> = found.collect::<Result<_, _>>()?;
    if found.len() > 1 {
        let listed = found.iter().map(|(id, state, _)| Ok((ContactId::from_uuid(*id), state.parse()?)));
        let listed: Result<Vec<(ContactId, ContactState)>, enroll::UnknownWordError> = listed.collect();
        return Err(EraseError::Several(listed.map_err(|_| SqliteError::UnknownState)?).into());
    }
    let (id, shown) = match found.into_iter().next() {
        Some((id, _, keys)) => (Some(id), keys),
        None => (None, [None, None, None]),
    };
    let mut keys = [const { Vec::new() }; 3];
    for ((kind, shown), keys) in KeyKind::ALL.into_iter().zip(shown).zip(&mut keys) {
        for key in [shown.as_deref(), query.key(kind)].into_iter().flatten() {
            let other: Option<i64> =
                connection.query_row(&holder(kind), params![organization, key, id], |row| row.get(0)).optional()?;
            // The key of a merged contact can belong to somebody else by now.
            if other.is_none() {
                keys.push(key.into());
            }
        }
    }
    Ok(Person::new(id.map(ContactId::from_uuid), ContactKeys::new(keys)))
}

fn erase_from_commands(connection: &Connection, organization: Uuid, person: &Person) -> Result<u64, Failure> {
    let mut erased = 0;
    let ids: Vec<Uuid> = {
        let mut statement = connection.prepare(WITH_COMMAND)?;
        let ids = statement.query_map([organization], |row| row.get(0))?;
        ids.collect::<Result<_, _>>()?
    };
    for id in ids {
        let json: String = prepare(connection, COMMAND)?.query_row([organization, id], |row| row.get(0))?;
        if let Some((command, removed)) = person.erase_from_json(EnrollmentId::from_uuid(id), json.as_bytes())? {
            let json = serde_json::to_string(&command).map_err(SqliteError::from)?;
            let params = params![organization, id, json, command.erased_recipients()];
            prepare(connection, REPLACE_COMMAND)?.execute(params)?;
            erased += removed as u64;
        }
    }
    Ok(erased)
}

fn erase_from_outcomes(
    connection: &Connection,
    organization: Uuid,
    person: &Person,
    contact_id: ContactId,
) -> Result<u64, Failure> {
    let mut erased = 0;
    let chunks: Vec<(Uuid, i64, String)> = {
        let mut statement = connection.prepare(OUTCOMES)?;
        let pattern = format!("%{contact_id}%");
        let chunks =
            statement.query_map(params![organization, pattern], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        chunks.collect::<Result<_, _>>()?
    };
    for (id, first, json) in chunks {
        let mut outcomes: Vec<Outcome> = serde_json::from_str(&json).map_err(SqliteError::from)?;
        erased += person.erase_from_outcomes(&mut outcomes) as u64;
        let json = serde_json::to_string(&outcomes).map_err(SqliteError::from)?;
        prepare(connection, REPLACE_OUTCOMES)?.execute(params![organization, id, first, json])?;
    }
    Ok(erased)
}

/// Returns the statement that finds another contact that holds a key.
fn holder(kind: KeyKind) -> String {
    let column = match kind {
        KeyKind::ExternalId => "held_external_id",
        KeyKind::Phone => "held_phone",
        KeyKind::Email => "held_email",
    };
    format!("select 1 from enroll_contacts where organization_id = ?1 and {column} = ?2 and id is not ?3")
}

/// Why an erasure failed, inside a transaction.
pub(crate) struct Failure(pub(crate) EraseError);

impl From<EraseError> for Failure {
    fn from(error: EraseError) -> Self {
        Self(error)
    }
}

impl From<SqliteError> for Failure {
    fn from(error: SqliteError) -> Self {
        Self(RepositoryError::from(error).into())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        SqliteError::from(error).into()
    }
}

const FIND: &str = "select id, state, external_id, phone, email_key from enroll_contacts \
     where organization_id = ?1 and (id = ?2 or external_id = ?3 or phone = ?4 or email_key = ?5) order by id";
const DELETE_CONTACT: &str = "delete from enroll_contacts where organization_id = ?1 and id = ?2";
const WITH_COMMAND: &str = "select id from enroll_enrollments indexed by enroll_enrollments_waiting \
         where organization_id = ?1 and state = 'accepted' \
     union all select id from enroll_enrollments indexed by enroll_enrollments_failed \
         where organization_id = ?1 and state = 'failed' and command is not null";
const COMMAND: &str = "select command from enroll_enrollments where organization_id = ?1 and id = ?2";
const REPLACE_COMMAND: &str = "update enroll_enrollments set command = ?3, erased_recipients = ?4 \
     where organization_id = ?1 and id = ?2";
const OUTCOMES: &str = "select enrollment_id, first_index, outcomes from enroll_enrollment_outcomes \
     where organization_id = ?1 and outcomes like ?2";
const REPLACE_OUTCOMES: &str = "update enroll_enrollment_outcomes set outcomes = ?4 \
     where organization_id = ?1 and enrollment_id = ?2 and first_index = ?3";
