//! Erases a person.

use enroll::contact::{ContactKeys, KeyKind};
use enroll::erase::{EraseError, EraseMode, Erased, Person, PersonQuery};
use enroll::{ContactId, EnrollmentId, OrganizationId, Outcome, RepositoryError};
use postgres_types::{Json, ToSql};
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Begin, Execute, Row, Transaction, Values};
use crate::fields::{ColumnReader, JsonText};
use crate::query::Query;
use crate::statements::Prepared;

/// Removes the rows of the person, and the person from stored commands and outcomes. Rolls back if it is a preview.
///
/// The locks have the order of a commit: the organization, the enrollments, the related rows, the contact. So a commit that
/// was planned before cannot write the person again: it finds that the contact or the command changed.
pub(crate) async fn erase(
    client: impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    query: &PersonQuery,
    mode: EraseMode,
) -> Result<Erased, Failure> {
    let organization = organization_id.as_uuid();
    let mut transaction = client.begin().await?;
    // The triggers of the schema stay enabled: they count the rows of the lists.
    transaction.query(&statements.lock_organization, &[&organization]).await?;
    let mut erasure = Erasure { transaction: &mut transaction, organization };
    let person = erasure.find(query).await?;
    let mut erased = Erased::default();
    erased.recipients = erasure.erase_from_commands(&person).await?;
    if let Some(contact_id) = person.contact_id() {
        erased.outcomes = erasure.erase_from_outcomes(&person, contact_id).await?;
        let id = contact_id.as_uuid();
        for (table, count) in [
            ("custom_records", &mut erased.custom_records),
            ("contact_tags", &mut erased.contact_tags),
            ("step_contacts", &mut erased.step_contacts),
            ("runs", &mut erased.runs),
            ("conversations", &mut erased.conversations),
            ("communication_preferences", &mut erased.communication_preferences),
        ] {
            let sql = format!("delete from enroll.{table} where organization_id = $1 and contact_id = $2::uuid");
            *count = erasure.execute(&sql, &[&id]).await?;
        }
        let sql = "delete from enroll.contacts where organization_id = $1 and id = $2::uuid";
        erased.contacts = erasure.execute(sql, &[&id]).await?;
    }
    if erased == Erased::default() {
        return Err(EraseError::NotFound.into());
    }
    if mode == EraseMode::Confirmed {
        transaction.commit().await?;
    }
    Ok(erased)
}

struct Erasure<'t, T> {
    transaction: &'t mut T,
    organization: Uuid,
}

impl<T: Transaction> Erasure<'_, T> {
    /// Runs a query. The organization is its first parameter.
    async fn query(&mut self, sql: &str, values: &Values<'_>) -> Result<Vec<T::Row>, PostgresError> {
        let values = [&[&self.organization as &(dyn ToSql + Sync)][..], values].concat();
        self.transaction.query(&Query::new(sql), &values).await
    }

    async fn execute(&mut self, sql: &str, values: &Values<'_>) -> Result<u64, PostgresError> {
        let values = [&[&self.organization as &(dyn ToSql + Sync)][..], values].concat();
        self.transaction.execute(&Query::new(sql), &values).await
    }

    /// Finds the contact with the id or one of the keys. A merged contact counts, because its row still shows its keys.
    async fn find(&mut self, query: &PersonQuery) -> Result<Person, Failure> {
        let id = query.id.map(ContactId::as_uuid);
        let [external_id, phone, email] = KeyKind::ALL.map(|kind| query.key(kind));
        let found = self.query(FIND, &[&id, &external_id, &phone, &email]).await?;
        if found.len() > 1 {
            let listed = found.iter().map(|row| {
                let mut columns = ColumnReader::new(row);
                Ok((columns.read()?, columns.read()?))
            });
            let listed = listed.collect::<Result<Vec<_>, PostgresError>>()?;
            return Err(EraseError::Several(listed).into());
        }
        let (mut id, mut shown) = (None, [None, None, None]);
        if let Some(row) = found.first() {
            id = Some(row.get::<Uuid>(0)?);
            for (column, key) in (2_usize..).zip(&mut shown) {
                *key = row.get::<Option<&str>>(column)?;
            }
        }
        let mut keys = [const { Vec::new() }; 3];
        for ((kind, shown), keys) in KeyKind::ALL.into_iter().zip(shown).zip(&mut keys) {
            for key in [shown, query.key(kind)].into_iter().flatten() {
                // The key of a merged contact can belong to somebody else by now.
                if self.query(&holder(kind), &[&key, &id]).await?.is_empty() {
                    keys.push(key.into());
                }
            }
        }
        Ok(Person::new(id.map(ContactId::from_uuid), ContactKeys::new(keys)))
    }

    async fn erase_from_commands(&mut self, person: &Person) -> Result<u64, Failure> {
        let mut erased = 0;
        for row in self.query(WITH_COMMAND, &[]).await? {
            let id: Uuid = row.get(0)?;
            // A worker may have ended it meanwhile, in a commit before this transaction had the lock.
            let Some(row) = self.query(COMMAND, &[&id]).await?.pop() else { continue };
            let json: JsonText<'_> = row.get(0)?;
            if let Some((command, removed)) = person.erase_from_json(EnrollmentId::from_uuid(id), json.0)? {
                let total = i64::from(command.erased_recipients());
                self.execute(REPLACE_COMMAND, &[&id, &Json(&command), &total]).await?;
                erased += removed as u64;
            }
        }
        Ok(erased)
    }

    async fn erase_from_outcomes(&mut self, person: &Person, contact_id: ContactId) -> Result<u64, Failure> {
        let mut erased = 0;
        let pattern = format!("%{contact_id}%");
        for row in self.query(OUTCOMES, &[&pattern]).await? {
            let (id, first): (Uuid, i64) = (row.get(0)?, row.get(1)?);
            let mut columns = ColumnReader::new(&row);
            let _key: (Uuid, i64) = (columns.get()?, columns.get()?);
            let mut outcomes: Vec<Outcome> = columns.json()?;
            erased += person.erase_from_outcomes(&mut outcomes) as u64;
            self.execute(REPLACE_OUTCOMES, &[&id, &first, &Json(&outcomes)]).await?;
        }
        Ok(erased)
    }
}

/// Returns the query for another contact that holds a key.
fn holder(kind: KeyKind) -> String {
    let column = match kind {
        KeyKind::ExternalId => "held_external_id",
        KeyKind::Phone => "held_phone",
        KeyKind::Email => "held_email",
    };
    format!(
        "select id from enroll.contacts
        where organization_id = $1 and {column} = enroll.held($2::text) and id is distinct from $3::uuid"
    )
}

/// Why an erasure failed, inside a transaction.
pub(crate) struct Failure(pub(crate) EraseError);

impl From<EraseError> for Failure {
    fn from(error: EraseError) -> Self {
        Self(error)
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self(RepositoryError::from(error).into())
    }
}

const FIND: &str = "select id, state, external_id, phone, email_key from enroll.contacts
    where organization_id = $1 and (id = $2::uuid or external_id = $3::text or phone = $4::text or email_key = $5::text) order by id";
const WITH_COMMAND: &str = "select id from enroll.enrollments where organization_id = $1 and state = 'accepted'
    union all select id from enroll.enrollments
        where organization_id = $1 and state = 'failed' and removed_at is null";
const COMMAND: &str = "select command from enroll.enrollments
    where organization_id = $1 and id = $2::uuid and command is not null for no key update";
const REPLACE_COMMAND: &str = "update enroll.enrollments set command = $3::json, erased_recipients = $4::bigint
    where organization_id = $1 and id = $2::uuid";
const OUTCOMES: &str = "select enrollment_id, first_index, outcomes from enroll.enrollment_outcomes
    where organization_id = $1 and outcomes::text like $2::text for update";
const REPLACE_OUTCOMES: &str = "update enroll.enrollment_outcomes set outcomes = $4::json
    where organization_id = $1 and enrollment_id = $2::uuid and first_index = $3::bigint";
