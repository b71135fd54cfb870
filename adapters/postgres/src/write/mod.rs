//! Writes a change set: locks the organization, checks the guards, then writes the rows.
//!
//! Uniqueness is checked on the state after the commit: keys that move to another contact are emptied first, and step
//! contacts that stop being live are updated before others become live.

mod guards;
mod insert;
mod statement;
mod update;

use enroll::ChangeSet;
use enroll::changes::CompletionMode;

use crate::PostgresError;
use crate::driver::{Begin, Transaction};
use crate::statements::Prepared;
use guards::LockedGuards;
use insert::TableInsert;
use statement::{Write, send};

/// Writes a change set in one transaction or savepoint.
pub(crate) async fn commit(
    client: impl Begin,
    statements: &Prepared,
    changes: &ChangeSet,
) -> Result<(), PostgresError> {
    insert::check_contacts(changes.rows())?;
    let mut transaction = client.begin().await?;
    let guards = guards::lock_and_check(&mut transaction, statements, changes).await?;
    write(&mut transaction, statements, changes, &guards).await?;
    transaction.commit().await
}

/// Writes the rows with a fixed number of statements, even if a list is empty (repository contract), and one copy for each
/// long list of new rows.
///
/// The updates and the short lists are sent in one round trip. Before each copy, the waiting statements are sent.
async fn write(
    transaction: &mut impl Transaction,
    statements: &Prepared,
    changes: &ChangeSet,
    guards: &LockedGuards,
) -> Result<(), PostgresError> {
    let organization = changes.organization_id().as_uuid();
    let mut inserts = insert::inserts(statements, changes.rows(), guards);
    let is_copied = |insert: &TableInsert<'_>| guards.may_copy && insert.is_long();
    let mut waiting: Vec<Write<'_>> = update::writes(statements, changes)?.into();
    waiting.extend(inserts.iter_mut().filter(|insert| is_copied(insert)).map(TableInsert::of_no_rows));
    for insert in &inserts {
        if is_copied(insert) {
            if !waiting.is_empty() {
                send(transaction, &organization, std::mem::take(&mut waiting)).await?;
            }
            insert.copy(transaction, &organization).await?;
        } else {
            waiting.push(insert.of_all_rows());
        }
    }
    waiting.push(update::count_rows(statements, changes, &guards.replaced));
    waiting.push(Write::new(&statements.enable_triggers));
    let completion = changes.completion();
    if completion.mode == CompletionMode::Finish {
        // Last, so that claims wait for its row as briefly as possible.
        waiting.push(Write::new(&statements.end_lease).with(vec![Box::new(completion.enrollment.id.as_uuid())]));
    }
    send(transaction, &organization, waiting).await
}
