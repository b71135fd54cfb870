//! Distributes the tables over the servers of Citus.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use super::query::Plain;
use crate::schema::{LOCK, MIGRATION_LOCK};
use crate::{PostgresError, Timeouts, statements};

/// How Citus stores a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In shards, by the column `organization_id`. All rows of an organization are on one server.
    ByOrganization,
    /// A copy on each server.
    OnEachServer,
    /// On the coordinator, in the transactions of Citus.
    OnCoordinator,
}

impl Placement {
    /// Returns the statement that places the table `$1`.
    fn sql(self) -> &'static str {
        match self {
            Self::ByOrganization => {
                "select pg_catalog.create_distributed_table($1::text::regclass, 'organization_id', \
                 colocate_with => case $1::text::regclass when 'enroll.organizations'::regclass then 'none' \
                 else 'enroll.organizations' end)"
            }
            Self::OnEachServer => "select pg_catalog.create_reference_table($1::text::regclass)",
            Self::OnCoordinator => "select pg_catalog.citus_add_local_table_to_metadata($1::text::regclass)",
        }
    }
}

/// Distributes the tables of the schema `enroll` over the servers of Citus, by organization. Rows that exist are moved. Returns the
/// names of the tables that were not distributed before.
///
/// [`migrate`](crate::migrate) creates the tables. The database needs the extension `citus`, and the coordinator must be in the
/// metadata (`citus_set_coordinator_host`). The role must own the tables. Stop all processes that use them first, and start
/// them again afterwards: a connection prepares its statements for one kind of tables. Clients connect to the coordinator.
///
/// `own` has the host's own tables that refer to these, each after those to which it refers. A table that is distributed by
/// organization has `organization_id` in its primary key, its unique constraints and its foreign keys.
///
/// # Errors
/// [`PostgresError::NoCitus`], [`PostgresError::NoCoordinator`] or [`PostgresError::DistributedEvents`], which say what to do. Any other error of the database. Then the
/// tables are as before.
///
/// ```no_run
/// use enroll_postgres::Placement;
///
/// # async fn example(client: &mut enroll_postgres::tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// enroll_postgres::migrate(client).await?;
/// enroll_postgres::distribute(client, &[("crm.customers", Placement::ByOrganization)]).await?;
/// # Ok(())
/// # }
/// ```
pub async fn distribute(client: &mut Client, own: &[(&str, Placement)]) -> Result<Vec<String>, PostgresError> {
    check_citus(client).await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute(&Timeouts::for_long_statements().set_local()).await?;
    // Tables of several kinds follow each other in one transaction, and they have triggers.
    let settings =
        "set local citus.multi_shard_modify_mode = 'sequential'; set local citus.enable_unsafe_triggers = 'on'";
    transaction.batch_execute(settings).await?;
    transaction.execute_typed(MIGRATION_LOCK, &[(&LOCK, Type::INT8)]).await?;
    if transaction.query_typed_one("select enroll.events_enabled()", &[]).await?.try_get(0)? {
        return Err(PostgresError::DistributedEvents);
    }
    // Citus would copy them to the shards. Without them, events cannot be enabled.
    for trigger in ["write_event", "write_event_of_change"] {
        transaction.batch_execute(&format!("drop trigger if exists {trigger} on enroll.enrollments")).await?;
    }
    let mut placed = Vec::new();
    for (table, placement) in TABLES.iter().chain(own) {
        let exists = "select exists (select from pg_catalog.pg_dist_partition where logicalrelid = $1::text::regclass)";
        let parameters = [(table as _, Type::TEXT)];
        if !transaction.query_typed_one(exists, &parameters).await?.try_get::<_, bool>(0)? {
            transaction.query_typed(placement.sql(), &parameters).await?;
            placed.push((*table, *placement));
        }
    }
    transaction.commit().await?;
    for (table, placement) in &placed {
        if *placement == Placement::ByOrganization {
            // The coordinator still has the rows that were moved.
            let sql = "select pg_catalog.truncate_local_data_after_distributing_table($1::text::regclass)";
            client.query_typed(sql, &[(table, Type::TEXT)]).await?;
        }
    }
    // Citus does not copy this setting to the shards.
    for table in LARGE {
        let sql = "select bool_and(success) from pg_catalog.run_command_on_shards($1::text::regclass,
            'alter table %s alter column organization_id set (n_distinct = 100)')";
        let row = client.query_typed_one(sql, &[(&table, Type::TEXT)]).await?;
        if row.try_get::<_, Option<bool>>(0)? == Some(false) {
            return Err(PostgresError::ShardSetting { table: table.to_owned() });
        }
    }
    Ok(placed.into_iter().map(|(table, _)| table.to_owned()).collect())
}

/// Returns true if the tables of the schema `enroll` are distributed.
///
/// # Errors
/// Those of the database.
pub async fn is_distributed(client: &(impl GenericClient + Sync)) -> Result<bool, PostgresError> {
    statements::is_distributed(&mut Plain(client)).await
}

async fn check_citus(client: &impl GenericClient) -> Result<(), PostgresError> {
    let installed = "select exists (select from pg_catalog.pg_extension where extname = 'citus')";
    if !client.query_typed_one(installed, &[]).await?.try_get::<_, bool>(0)? {
        return Err(PostgresError::NoCitus);
    }
    let coordinator = "select exists (select from pg_catalog.pg_dist_node where groupid = 0)";
    if !client.query_typed_one(coordinator, &[]).await?.try_get::<_, bool>(0)? {
        return Err(PostgresError::NoCoordinator);
    }
    Ok(())
}

/// All tables, each after those to which it refers.
const TABLES: [(&str, Placement); 20] = [
    ("enroll.schema_version", Placement::OnEachServer),
    ("enroll.organizations", Placement::ByOrganization),
    ("enroll.channels", Placement::ByOrganization),
    ("enroll.call_flows", Placement::ByOrganization),
    ("enroll.custom_objects", Placement::ByOrganization),
    ("enroll.sequences", Placement::ByOrganization),
    ("enroll.steps", Placement::ByOrganization),
    ("enroll.tags", Placement::ByOrganization),
    ("enroll.counts", Placement::ByOrganization),
    ("enroll.enrollments", Placement::ByOrganization),
    ("enroll.enrollment_outcomes", Placement::ByOrganization),
    // It is empty. The deletion of an organization reads it.
    ("enroll.events", Placement::ByOrganization),
    ("enroll.contacts", Placement::ByOrganization),
    ("enroll.communication_preferences", Placement::ByOrganization),
    ("enroll.conversations", Placement::ByOrganization),
    ("enroll.runs", Placement::ByOrganization),
    ("enroll.step_contacts", Placement::ByOrganization),
    ("enroll.contact_tags", Placement::ByOrganization),
    ("enroll.custom_records", Placement::ByOrganization),
    // A claim looks for work of all organizations, so it must be one look-up. A copy on each server would make acceptances and
    // claims wait for each other.
    ("enroll.queues", Placement::OnCoordinator),
];

/// The tables that have the setting `n_distinct`.
const LARGE: [&str; 9] = [
    "enroll.contacts",
    "enroll.communication_preferences",
    "enroll.conversations",
    "enroll.runs",
    "enroll.step_contacts",
    "enroll.contact_tags",
    "enroll.custom_records",
    "enroll.enrollment_outcomes",
    "enroll.enrollments",
];
