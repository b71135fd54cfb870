//! Inserts new rows. A short list is sent as one array per column, together with the other statements. A long list is
//! copied, which costs the server less per row but needs two more round trips.

use enroll::ContactId;
use enroll::changes::{Conflict, RecordCreation, RowChanges};
use enroll::contact::Contact;
use enroll::model::{ContactTag, Conversation, Run, StepContact};
use std::collections::HashSet;
use uuid::Uuid;

use super::guards::LockedGuards;
use super::statement::{Write, arrays};
use crate::PostgresError;
use crate::driver::Transaction;
use crate::fields::Arrays;
use crate::query::Query;
use crate::statements::Prepared;
use crate::tables::Table;

/// The new rows of a table.
pub(super) struct TableInsert<'a> {
    insert: &'a Query,
    copy: &'a Query,
    rows: usize,
    all: Box<dyn Fn() -> Arrays<'a> + Send + Sync + 'a>,
    none: Arrays<'a>,
}

impl<'a> TableInsert<'a> {
    /// `extra` returns the arrays of the columns in front of the listed ones, and `row` the listed part of a row.
    fn new<T: Sync, R: Table + 'a>(
        insert: &'a Query,
        copy: &'a Query,
        rows: &'a [T],
        extra: impl Fn(&'a [T]) -> Arrays<'a> + Send + Sync + 'a,
        row: impl Fn(&'a T) -> &'a R + Clone + Send + Sync + 'a,
    ) -> Self {
        let arrays = move |rows: &'a [T]| {
            let mut arrays = extra(rows);
            R::push_arrays(rows.iter().map(row.clone()), &mut arrays);
            arrays
        };
        let none = arrays(&[]);
        Self { insert, copy, rows: rows.len(), all: Box::new(move || arrays(rows)), none }
    }

    pub(super) fn is_long(&self) -> bool {
        self.rows >= LONG
    }

    pub(super) fn of_all_rows(&self) -> Write<'a> {
        Write::new(self.insert).arrays((self.all)())
    }

    /// Inserts no rows, but reports the same refusals as an insert, and locks the table.
    ///
    /// The connection survives a refused insert. With `tokio-postgres`, it does not survive a copy that is refused before it
    /// begins.
    pub(super) fn of_no_rows(&mut self) -> Write<'a> {
        Write::new(self.insert).arrays(std::mem::take(&mut self.none))
    }

    pub(super) async fn copy(
        &self,
        transaction: &mut impl Transaction,
        organization: &Uuid,
    ) -> Result<(), PostgresError> {
        transaction.copy(self.copy, self.insert, organization, &(self.all)()).await
    }
}

/// Returns the inserts in their order: contacts first.
pub(super) fn inserts<'a>(s: &'a Prepared, rows: &'a RowChanges, guards: &'a LockedGuards) -> [TableInsert<'a>; 6] {
    // `Version::FIRST`, as the column stores it.
    let versions = |rows: &[Contact]| arrays!(rows, _row => 1_i64);
    let one_at_most = |rows: &[Conversation]| arrays!(rows, row => guards.one_at_most(row.channel_id));
    let contacts_of_records = |rows: &[RecordCreation]| arrays!(rows, row => row.contact_id.as_uuid());
    [
        TableInsert::new(&s.insert_contacts, &s.copy_contacts, &rows.contacts_created, versions, |row: &Contact| row),
        TableInsert::new(
            &s.insert_conversations,
            &s.copy_conversations,
            &rows.conversations_created,
            one_at_most,
            |row: &Conversation| row,
        ),
        TableInsert::new(&s.insert_runs, &s.copy_runs, &rows.runs_created, |_| Arrays::new(), |row: &Run| row),
        TableInsert::new(
            &s.insert_step_contacts,
            &s.copy_step_contacts,
            &rows.step_contacts_created,
            |_| Arrays::new(),
            |row: &StepContact| row,
        ),
        TableInsert::new(
            &s.insert_contact_tags,
            &s.copy_contact_tags,
            &rows.contact_tags_created,
            |_| Arrays::new(),
            |row: &ContactTag| row,
        ),
        TableInsert::new(
            &s.insert_records,
            &s.copy_records,
            &rows.records_created,
            contacts_of_records,
            |row: &RecordCreation| &row.record,
        ),
    ]
}

/// Checks that each related row belongs to a contact that the change set creates or updates.
pub(super) fn check_contacts(rows: &RowChanges) -> Result<(), Conflict> {
    let created = rows.contacts_created.iter().map(|contact| contact.id);
    let written: HashSet<ContactId> = created.chain(rows.contacts_updated.iter().map(|update| update.id)).collect();
    let related = (rows.conversations_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_reactivated.iter().map(|row| row.contact_id))
        .chain(rows.step_contacts_created.iter().map(|row| row.contact_id))
        .chain(rows.step_contacts_updated.iter().map(|row| row.contact_id))
        .chain(rows.contact_tags_created.iter().map(|row| row.contact_id))
        .chain(rows.records_created.iter().map(|row| row.contact_id))
        .chain(rows.records_updated.iter().map(|row| row.contact_id));
    match related.into_iter().find(|id| !written.contains(id)) {
        Some(id) => Err(Conflict::ContactNotWritten(id)),
        None => Ok(()),
    }
}

/// The number of rows from which a list is copied. 2000 rows save about 1.6 ms, but a copy needs two more round trips.
const LONG: usize = 2000;
