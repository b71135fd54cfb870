//! A shop on Diesel: each order adds its buyer to a sequence of messages, in the transaction of the order.
//!
//! | File | Shows |
//! |---|---|
//! | `place.rs` | accept an enrollment in a transaction of Diesel, together with a row of the host |
//! | `migrate.rs` | run the migrations of `enroll` by the migrations of Diesel |
//! | `work.rs` | process what was accepted |

mod migrate;
mod place;
mod work;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use enroll::uuid::Uuid;
use enroll::{EnrollmentPolicy, OrganizationId, SequenceId};
use enroll_postgres::{ConnectOptions, PostgresRepository};

pub use place::{Order, OrderError, Placed};

/// The organization and the sequence that the migration `orders` makes.
pub const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0001));
pub const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0003));

/// The shop. It has two pools: one of Diesel for its own rows, and one of the adapter for the engine and the workers.
#[derive(Clone)]
pub struct Shop {
    pool: Pool<AsyncPgConnection>,
    repository: PostgresRepository,
    /// The rules that a host can change.
    policy: EnrollmentPolicy,
}

impl Shop {
    /// Opens the pools, and runs all migrations that are missing.
    pub async fn open(address: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pool = Pool::builder(AsyncDieselConnectionManager::new(address)).max_size(8).build()?;
        migrate::migrate(pool.get().await?)?;
        // `PostgresRepository::connect` would migrate too. This shop leaves that to Diesel.
        let repository = PostgresRepository::with_options(&ConnectOptions::new(address)?, 4)?;
        Ok(Self { pool, repository, policy: EnrollmentPolicy::default() })
    }
}
