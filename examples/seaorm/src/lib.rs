//! A shop on SeaORM: each order adds its buyer to a sequence of messages, in the transaction of the order.
//!
//! | File | Shows |
//! |---|---|
//! | `place.rs` | accept an enrollment in a transaction of SeaORM, together with a row of the host |
//! | `migrate.rs` | run the migrations of `enroll` by the migrator of SeaORM |
//! | `work.rs` | process what was accepted |

mod migrate;
mod order;
mod place;
mod work;

use enroll::uuid::Uuid;
use enroll::{EnrollmentPolicy, OrganizationId, SequenceId};
use enroll_postgres::{ConnectOptions, PostgresRepository};
use sea_orm::{Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

pub use order::Model as Order;
pub use place::{OrderError, Placed};

/// The organization and the sequence that the migration `orders` makes.
pub const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0001));
pub const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0003));

/// The shop. It has two pools: one of SeaORM for its own rows, and one of the adapter for the engine and the workers.
#[derive(Clone)]
pub struct Shop {
    database: DatabaseConnection,
    repository: PostgresRepository,
    /// The rules that a host can change.
    policy: EnrollmentPolicy,
}

impl Shop {
    /// Opens the pools, and runs all migrations that are missing.
    pub async fn open(address: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let database = Database::connect(address).await?;
        migrate::Migrator::up(&database, None).await?;
        // `PostgresRepository::connect` would migrate too. This shop leaves that to SeaORM.
        let repository = PostgresRepository::with_options(&ConnectOptions::new(address)?, 4)?;
        Ok(Self { database, repository, policy: EnrollmentPolicy::default() })
    }
}
