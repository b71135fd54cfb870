//! Writes rows as a host does: one at a time, in plain SQL that leaves versions to the triggers.

use enroll::model::{Conversation, Step};
use enroll::seed::{HostRow, HostWrite, Seed, WriteKind};
use enroll::{OrganizationId, SequenceId};
use std::iter::once;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use crate::fields::{Array, Arrays};
use crate::tables::Table;
use crate::{PostgresError, Timeouts};

/// Inserts all rows of a seed, with their organizations, in one transaction. A name replaces that of an existing
/// organization.
///
/// # Errors
/// [`PostgresError`] if a row cannot be stored. Then nothing is written.
pub async fn load(client: &mut Client, seed: &Seed) -> Result<(), PostgresError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&Timeouts::for_long_statements().set_local()).await?;
    for organization_id in seed.organization_ids() {
        add_organization(&transaction, organization_id).await?;
    }
    for row in &seed.organizations {
        let id = row.organization_id.unwrap_or(seed.organization_id).as_uuid();
        let sql = "update enroll.organizations set name = $2 where organization_id = $1";
        transaction.execute_typed(sql, &[(&id, Type::UUID), (&&*row.row.name, Type::TEXT)]).await?;
    }
    for write in &seed.inserts() {
        write_row(&transaction, write).await?;
    }
    Ok(transaction.commit().await?)
}

#[cfg(feature = "testing")]
pub(crate) async fn host_write(client: &mut Client, write: &HostWrite) -> Result<(), PostgresError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&Timeouts::for_long_statements().set_local()).await?;
    if write.kind == WriteKind::Insert {
        add_organization(&transaction, write.organization_id).await?;
    }
    write_row(&transaction, write).await?;
    Ok(transaction.commit().await?)
}

async fn add_organization(transaction: &Transaction<'_>, id: OrganizationId) -> Result<(), PostgresError> {
    let sql = "insert into enroll.organizations (organization_id) values ($1) on conflict do nothing";
    transaction.execute_typed(sql, &[(&id.as_uuid(), Type::UUID)]).await?;
    Ok(())
}

async fn write_row(transaction: &Transaction<'_>, write: &HostWrite) -> Result<(), PostgresError> {
    let (organization_id, kind) = (write.organization_id, write.kind);
    let row = match &write.row {
        HostRow::Channel(row) => TableRow::new(row, ID),
        // The steps of a sequence are written separately.
        HostRow::Sequence(row) => TableRow::new(row, ID),
        HostRow::Step { sequence_id, step: row } => step(*sequence_id, row),
        HostRow::CallFlow(row) => TableRow::new(row, ID),
        HostRow::CustomObject(row) => TableRow::new(row, ID),
        HostRow::Tag(row) => TableRow::new(row, ID),
        HostRow::Contact(row) => TableRow::new(row, ID),
        HostRow::CommunicationPreference(row) => TableRow::new(row, &["contact_id", "channel_id"]),
        HostRow::Conversation(row) => conversation(transaction, organization_id, row).await?,
        HostRow::Run(row) => TableRow::new(row, ID),
        HostRow::StepContact(row) => TableRow::new(row, ID),
        HostRow::ContactTag(row) => TableRow::new(row, &["contact_id", "tag_id"]),
        // A trigger derives the column `contact_id`.
        HostRow::CustomRecord(row) => TableRow::new(row, ID),
    };
    row.write(transaction, organization_id, kind).await?;
    if let (WriteKind::Insert, HostRow::Sequence(sequence)) = (kind, &write.row) {
        for row in &sequence.steps {
            step(sequence.id, row).write(transaction, organization_id, kind).await?;
        }
    }
    Ok(())
}

/// A row to write: the columns of its key except the organization, and the others. Each array has one element.
struct TableRow<'r> {
    table: &'static str,
    key: Cells<'r>,
    rest: Cells<'r>,
}

type Cells<'r> = Vec<(&'static str, Box<dyn Array + 'r>)>;

impl<'r> TableRow<'r> {
    /// Splits the columns of a row into its key and the others.
    fn new<T: Table>(row: &'r T, key: &[&str]) -> Self {
        let mut arrays = Arrays::new();
        T::push_arrays(once(row), &mut arrays);
        let cells = T::columns().into_iter().map(|column| column.name).zip(arrays);
        let (key, rest) = cells.partition(|(name, _)| key.contains(name));
        Self { table: T::NAME, key, rest }
    }

    async fn write(
        self,
        transaction: &Transaction<'_>,
        organization_id: OrganizationId,
        kind: WriteKind,
    ) -> Result<(), PostgresError> {
        let Self { table, key, rest } = &self;
        let has_key = assignments(key, 2).join(" and ");
        let sql = match kind {
            WriteKind::Insert => {
                let names: Vec<&str> = key.iter().chain(rest).map(|(name, _)| *name).collect();
                let values: Vec<String> = (2..).take(names.len()).map(|n| format!("${n}")).collect();
                let (names, values) = (names.join(", "), values.join(", "));
                format!("insert into enroll.{table} (organization_id, {names}) values ($1, {values})")
            }
            WriteKind::Update => {
                let set = match &rest[..] {
                    [] => assignments(key, 2),
                    rest => assignments(rest, 2 + key.len()),
                };
                format!("update enroll.{table} set {} where organization_id = $1 and {has_key}", set.join(", "))
            }
            WriteKind::Delete => format!("delete from enroll.{table} where organization_id = $1 and {has_key}"),
        };
        let organization = organization_id.as_uuid();
        let rest = rest.iter().filter(|_| kind != WriteKind::Delete);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&organization];
        parameters.extend(key.iter().chain(rest).flat_map(|(_, cell)| cell.cells()));
        match transaction.execute(&sql, &parameters).await? {
            0 => Err(PostgresError::NoSuchRow { table }),
            _ => Ok(()),
        }
    }
}

fn assignments(columns: &[(&str, Box<dyn Array + '_>)], first: usize) -> Vec<String> {
    (first..).zip(columns).map(|(n, (name, _))| format!("{name} = ${n}")).collect()
}

fn step(sequence_id: SequenceId, row: &Step) -> TableRow<'_> {
    let mut step = TableRow::new(row, ID);
    step.key.push(("sequence_id", Box::new(vec![sequence_id.as_uuid()])));
    step
}

async fn conversation<'r>(
    transaction: &Transaction<'_>,
    organization_id: OrganizationId,
    row: &'r Conversation,
) -> Result<TableRow<'r>, PostgresError> {
    let sql =
        "select coalesce((select kind <> 'email' from enroll.channels where organization_id = $1 and id = $2), true)";
    let ids = [(&organization_id.as_uuid() as _, Type::UUID), (&row.channel_id.as_uuid() as _, Type::UUID)];
    let one_at_most: bool = transaction.query_typed_one(sql, &ids).await?.try_get(0)?;
    let mut conversation = TableRow::new(row, ID);
    conversation.rest.push(("one_at_most", Box::new(vec![one_at_most])));
    Ok(conversation)
}

const ID: &[&str] = &["id"];
