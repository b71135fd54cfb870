//! Reads all rows, and checks the counts that triggers keep.

#[path = "../../../../tests/row_counts/mod.rs"]
mod row_counts;

use enroll::OrganizationId;
use enroll::seed::Seed;
use enroll_postgres::seed;

use crate::support::connect;

/// Returns all rows of a database. Rows of another organization contain its id.
///
/// # Panics
/// If a count of rows is wrong.
pub(crate) async fn dump(url: &str, organization_id: OrganizationId) -> Seed {
    let mut client = connect(url).await;
    let wrong = client.query(&row_counts::wrong_counts("postgres"), &[]).await.unwrap();
    assert!(wrong.is_empty(), "the counts of rows are right: {wrong:?}");
    seed::dump(&mut client, organization_id).await.unwrap()
}
