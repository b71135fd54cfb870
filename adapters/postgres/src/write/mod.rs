//! The commit: the organization's row, the guards, the rows. What counts is the state after all of it.

mod guards;
mod insert;
mod update;

use enroll::ChangeSet;
use tokio_postgres::Transaction;
use uuid::Uuid;

use crate::Error;
use crate::begin::Begin;
use crate::statements::{Prepared, execute_all};
use guards::Held;

pub(crate) type DateTime = chrono::DateTime<chrono::Utc>;

/// Writes a change set: all of it, or nothing.
pub(crate) async fn commit(client: &mut impl Begin, statements: &Prepared, changes: &ChangeSet) -> Result<(), Error> {
    let owners = insert::owners(changes.rows())?;
    let transaction = client.begin().await?;
    let held = guards::hold(&transaction, statements, changes).await?;
    write(&transaction, statements, changes, &owners, &held).await?;
    Ok(transaction.commit().await?)
}

/// Always the same statements, also where a list is empty: their number is a promise. Contacts that change and the short
/// lists of new rows go in one round trip; each long list is copied after it. No list rests on another.
async fn write(
    transaction: &Transaction<'_>,
    statements: &Prepared,
    changes: &ChangeSet,
    owners: &[Uuid],
    held: &Held,
) -> Result<(), Error> {
    let organization = changes.organization_id().as_uuid();
    let updates = update::contacts(statements, changes)?;
    let (long, short): (Vec<_>, Vec<_>) = insert::lists(statements, changes.rows(), owners, held)
        .into_iter()
        .partition(|list| held.may_copy && list.is_long());
    let short: Vec<_> = short.iter().map(|list| (list.insert, list.columns())).collect();

    let mut writes: Vec<_> = updates.iter().map(|update| update.bound(&organization)).collect();
    writes.extend(short.iter().map(|(insert, columns)| insert::bound(insert, &organization, columns)));
    if long.is_empty() {
        writes.push((&statements.engine_wrote, vec![&organization]));
    }
    let counts = execute_all(transaction, &writes).await?;
    update::check(&updates, &counts)?;
    for list in &long {
        list.copy(transaction, &organization).await?;
    }
    if !long.is_empty() {
        transaction.execute(&statements.engine_wrote, &[&organization]).await?;
    }
    Ok(())
}
