//! The commit: the organization's row, the guards, the rows. What counts is the state after all of it.

mod guards;
mod insert;
mod statement;
mod update;

use enroll::ChangeSet;
use tokio_postgres::Transaction;

use crate::Error;
use crate::begin::Begin;
use crate::statements::Prepared;
use guards::Held;
use insert::List;
use statement::{Write, send};

pub(crate) type DateTime = chrono::DateTime<chrono::Utc>;

/// Writes a change set: all of it, or nothing.
pub(crate) async fn commit(client: &mut impl Begin, statements: &Prepared, changes: &ChangeSet) -> Result<(), Error> {
    insert::check_contacts(changes.rows())?;
    let transaction = client.begin().await?;
    let held = guards::hold(&transaction, statements, changes).await?;
    write(&transaction, statements, changes, &held).await?;
    Ok(transaction.commit().await?)
}

/// Always the same statements, also where a list is empty, since their number is a promise; and a copy for each list of
/// new rows that is long. What changes goes first, in one round trip with the lists that are short. Where one is long,
/// whatever comes before it is sent, and then it is copied.
async fn write(
    transaction: &Transaction<'_>,
    statements: &Prepared,
    changes: &ChangeSet,
    held: &Held,
) -> Result<(), Error> {
    let organization = changes.organization_id().as_uuid();
    let mut lists = insert::lists(statements, changes.rows(), held);
    let is_copied = |list: &List<'_>| held.may_copy && list.is_long();
    let mut waiting: Vec<Write<'_>> = update::writes(statements, changes)?.into();
    waiting.extend(lists.iter_mut().filter(|list| is_copied(list)).map(List::opened));
    for list in &lists {
        if is_copied(list) {
            if !waiting.is_empty() {
                send(transaction, &organization, std::mem::take(&mut waiting)).await?;
            }
            list.copy(transaction, &organization).await?;
        } else {
            waiting.push(list.inserted());
        }
    }
    waiting.push(Write::new(&statements.engine_wrote));
    send(transaction, &organization, waiting).await
}
