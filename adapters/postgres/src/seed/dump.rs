//! Reads all rows of a database.

use enroll::model::{CallFlow, Channel, ContactTag, CustomObject, Sequence, Step, Tag};
use enroll::seed::Seed;
use enroll::{OrganizationId, ReferenceData, SequenceId, Snapshot};
use std::sync::Arc;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use crate::fields::ColumnReader;
use crate::read::{Aggregates, read_contact, related_records, related_rows};
use crate::tables::{ENROLLMENT, Table, names, read_enrollment};
use crate::{PostgresError, Timeouts};
use enroll::contact::{Contact, Text};

/// Reads all rows of all organizations, as one snapshot of the database.
///
/// Rows of an organization other than `organization_id` name theirs.
///
/// # Errors
/// [`PostgresError`] if the rows cannot be read.
pub async fn dump(client: &mut Client, organization_id: OrganizationId) -> Result<Seed, PostgresError> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    transaction.batch_execute(&Timeouts::for_long_statements().set_local()).await?;
    let sql = "select organization_id, name from enroll.organizations order by organization_id";
    let (mut snapshots, mut names) = (Vec::new(), Vec::new());
    for row in transaction.query_typed(sql, &[]).await? {
        let mut columns = ColumnReader::new(&row);
        let (organization_id, name): (OrganizationId, Text) = (columns.read()?, columns.read()?);
        snapshots.push(OrganizationReader { transaction: &transaction, organization_id }.snapshot().await?);
        names.push((organization_id, name));
    }
    transaction.commit().await?;
    let mut seed = Seed::dump(&snapshots, organization_id);
    for (organization_id, name) in names.iter().filter(|(_, name)| !name.is_empty()) {
        seed.name_organization(*organization_id, name);
    }
    Ok(seed)
}

struct OrganizationReader<'t> {
    transaction: &'t Transaction<'t>,
    organization_id: OrganizationId,
}

impl OrganizationReader<'_> {
    async fn snapshot(&self) -> Result<Snapshot, PostgresError> {
        let mut snapshot = Snapshot::new(self.reference_data().await?);
        snapshot.contacts = self.contacts().await?.into_iter().map(|(id, contact)| (id, Arc::new(contact))).collect();
        for row in self.all::<Tag>("", "id").await? {
            let tag = Tag::read(&mut ColumnReader::new(&row))?;
            snapshot.tags.insert(tag.id, tag);
        }
        Ok(snapshot)
    }

    async fn reference_data(&self) -> Result<ReferenceData, PostgresError> {
        let mut reference = ReferenceData::new(self.organization_id);
        macro_rules! load {
            ($row:ty, $rows:ident) => {
                for row in self.all::<$row>("version, ", "id").await? {
                    let row = <$row>::read_versioned(&mut ColumnReader::new(&row))?;
                    reference.$rows.insert(row.value.id, row);
                }
            };
        }
        load!(Channel, channels);
        load!(CallFlow, call_flows);
        load!(CustomObject, custom_objects);
        load!(Sequence, sequences);
        for row in self.all::<Step>("sequence_id, ", "position, id").await? {
            let mut columns = ColumnReader::new(&row);
            let sequence_id: SequenceId = columns.read()?;
            if let Some(sequence) = reference.sequences.get_mut(&sequence_id) {
                Arc::make_mut(&mut sequence.value).steps.push(Step::read(&mut columns)?);
            }
        }
        for row in self.query(ENROLLMENT, "enrollments", "id").await? {
            let enrollment = read_enrollment(&mut ColumnReader::new(&row))?;
            reference.enrollments.insert(enrollment.id, Arc::new(enrollment));
        }
        Ok(reference)
    }

    async fn contacts(&self) -> Result<Aggregates, PostgresError> {
        let mut contacts = Aggregates::new();
        for row in self.all::<Contact>("version, ", "id").await? {
            let contact = read_contact(&row)?;
            contacts.insert(contact.contact.id, contact);
        }
        macro_rules! load {
            ($row:ident, $rows:ident, $order:literal) => {
                let rows = self.all::<enroll::model::$row>("", $order).await?;
                related_rows(&mut contacts, &rows, |contact| &mut contact.$rows, |row| row.contact_id)?;
            };
        }
        load!(CommunicationPreference, preferences, "contact_id, channel_id");
        load!(Conversation, conversations, "id");
        load!(Run, runs, "id");
        load!(StepContact, step_contacts, "id");
        related_records(&mut contacts, &self.all::<enroll::model::CustomRecord>("contact_id, ", "id").await?)?;
        for row in self.all::<ContactTag>("", "contact_id, tag_id").await? {
            let tag = ContactTag::read(&mut ColumnReader::new(&row))?;
            if let Some(contact) = contacts.get_mut(&tag.contact_id) {
                contact.tags.push(tag.tag_id);
            }
        }
        Ok(contacts)
    }

    /// Reads all rows of a table. `first_columns` precede the columns of the row.
    async fn all<T: Table>(&self, first_columns: &str, order: &str) -> Result<Vec<Row>, PostgresError> {
        self.query(&format!("{first_columns}{}", names::<T>()), T::NAME, order).await
    }

    async fn query(&self, columns: &str, table: &str, order: &str) -> Result<Vec<Row>, PostgresError> {
        let sql = format!("select {columns} from enroll.{table} where organization_id = $1 order by {order}");
        Ok(self.transaction.query_typed(&sql, &[(&self.organization_id.as_uuid(), Type::UUID)]).await?)
    }
}
