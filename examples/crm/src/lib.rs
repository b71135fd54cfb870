//! A small CRM: it uploads lists of people, enrolls them into a sequence, sends, records opt-outs, and shows the outcome.
//!
//! | File | Shows |
//! |---|---|
//! | `upload.rs` | an endpoint that writes the host's rows and enrolls, in one transaction |
//! | `list.rs` | read a file of people (CSV, XLSX, …) into requests |
//! | `sender.rs` | send what is due, and move each contact to its next step |
//! | `opt_out.rs` | record an opt-out, which no later upload undoes |
//! | `outcome.rs` | read the outcome of each person, with the host's own rows |
//! | `statements.rs` | the SQL of `docs/sending.md` and `docs/contacts.md` |
//! | `failure.rs` | errors as HTTP answers |

mod failure;
mod list;
mod opt_out;
mod outcome;
pub mod sender;
pub mod statements;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Html;
use axum::routing::{get, post, put};
use enroll::{EnrollmentPolicy, OrganizationId, SequenceId};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

/// The rows that the migration makes. A CRM with several organizations takes them from its session and its forms.
pub const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0001));
pub const CHANNEL: Uuid = Uuid::from_u128(0x7000_8000_0000_0000_0002);
pub const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0003));

/// What the endpoints share.
#[derive(Clone)]
pub struct App {
    pub pool: PgPool,
    /// The rules that a host can change.
    pub policy: Arc<EnrollmentPolicy>,
}

impl App {
    /// Opens the pool, and runs all migrations that are missing.
    pub async fn open(address: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pool = PgPoolOptions::new().max_connections(8).connect(address).await?;
        // First the schema `enroll`, because rows of the CRM refer to it.
        enroll_postgres::migrate_sqlx(&mut *pool.acquire().await?).await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool, policy: Arc::default() })
    }

    /// Returns the routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(async || Html(include_str!("page.html"))))
            .route("/uploads/{key}", put(upload::upload).get(outcome::show))
            .route("/opt-outs", post(opt_out::opt_out))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(self)
    }
}
