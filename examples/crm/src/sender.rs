//! The sender: it sends what is due, and moves each contact to its next step.
//!
//! It only pretends: a message is a row of `messages`, written in the transaction that moves the contact. So each message is
//! sent exactly once. A real sender would hand these rows to its provider, with the id of the step contact as the key.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ORGANIZATION;
use crate::statements::{DEACTIVATE, FINISH_RUN, MOVE_TO_NEXT_STEP, READ_DUE, READ_NEXT_STEP, READ_RECIPIENT};

/// The time between two steps. A real host keeps it with each step.
pub const BETWEEN_STEPS: Duration = Duration::from_secs(24 * 3600);

#[derive(sqlx::FromRow)]
struct Due {
    id: Uuid,
    contact_id: Uuid,
    sequence_id: Uuid,
    step_id: Uuid,
}

#[derive(sqlx::FromRow)]
struct Recipient {
    name: Option<String>,
    phone: Option<String>,
    state: String,
    opted_out: bool,
}

/// Sends all that is due at `now`. Returns the number of messages. Several processes can call it at the same time.
pub async fn send_due(pool: &PgPool, now: DateTime<Utc>) -> Result<usize, sqlx::Error> {
    let mut sent = 0;
    while let Some(messages) = send_one(pool, now).await? {
        sent += messages;
    }
    Ok(sent)
}

/// Processes one step contact, in one transaction. Returns `None` if none is due.
async fn send_one(pool: &PgPool, now: DateTime<Utc>) -> Result<Option<usize>, sqlx::Error> {
    let organization = ORGANIZATION.as_uuid();
    let mut transaction = pool.begin().await?;
    // Locks the row. Other senders skip it.
    let due = sqlx::query_as(READ_DUE).bind(organization).bind(now).bind(1_i64);
    let due: Option<Due> = due.fetch_optional(&mut *transaction).await?;
    let Some(due) = due else { return Ok(None) };

    // The contact may have opted out since the enrollment.
    let recipient = sqlx::query_as(READ_RECIPIENT).bind(organization).bind(due.id);
    let recipient: Recipient = recipient.fetch_one(&mut *transaction).await?;
    let may_send = !recipient.opted_out && matches!(&*recipient.state, "open" | "archived");
    let Some(address) = recipient.phone.filter(|_| may_send) else {
        let deactivate = sqlx::query(DEACTIVATE).bind(organization).bind(due.sequence_id).bind(due.contact_id);
        deactivate.execute(&mut *transaction).await?;
        transaction.commit().await?;
        return Ok(Some(0));
    };

    let text = format!("Hello {}", recipient.name.as_deref().unwrap_or("there"));
    let message = "insert into messages (step_contact_id, contact_id, address, text) values ($1, $2, $3, $4)";
    let message = sqlx::query(message).bind(due.id).bind(due.contact_id).bind(address).bind(text);
    message.execute(&mut *transaction).await?;

    let next = sqlx::query_scalar(READ_NEXT_STEP).bind(organization).bind(due.sequence_id).bind(due.step_id);
    let next: Option<Uuid> = next.fetch_optional(&mut *transaction).await?;
    let onward = match next {
        Some(step) => sqlx::query(MOVE_TO_NEXT_STEP)
            .bind(organization)
            .bind(due.id)
            .bind(step)
            .bind(Uuid::now_v7())
            .bind(now + BETWEEN_STEPS),
        None => sqlx::query(FINISH_RUN).bind(organization).bind(due.id),
    };
    onward.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(1))
}
