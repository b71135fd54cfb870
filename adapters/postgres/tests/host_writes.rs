//! The constraints and triggers of the schema apply to a host's own writes. Keys can have any length.
#![cfg(feature = "testing")]

mod support;

use enroll_postgres::PostgresError;
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::dump;
use serde_json::json;
use support::{Request, block_on, body, connect, database, open, organization};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

#[test]
#[ignore = needs_postgres!()]
fn an_external_id_of_any_length_is_found_and_unique() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        // They differ only in the last character, and are not compressible.
        let mut state = 1_u64;
        let long: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
        })
        .take(100_000)
        .collect();
        let entry = |phone: &str, last: &str| json!({ "phone": phone, "external_id": format!("{long}{last}") });
        let to = json!({ "to": [entry("+12025550101", "A"), entry("+12025550102", "B")] });
        let first = Request::new(1, &to).enroll(&mut repository).await.unwrap();
        assert_eq!(first.counts().contacts_created, 2);
        let to = json!({ "to": [entry("+12025550103", "B")] });
        let second = Request::new(2, &to).enroll(&mut repository).await.unwrap();
        assert_eq!(second.outcomes[0].contact_id, first.outcomes[1].contact_id);
        // The digest of a key, as the external id of another contact, is another key.
        let client = connect(&url).await;
        let digest: String =
            client.query_one("select max(held_external_id) from enroll.contacts", &[]).await.unwrap().get(0);
        let to = json!({ "to": [{ "phone": "+12025550104", "external_id": digest }] });
        let third = Request::new(3, &to).enroll(&mut repository).await.unwrap();
        assert_eq!(third.counts().contacts_created, 1);
        let taken = "update enroll.contacts set external_id = (select max(external_id) from enroll.contacts)";
        let error = client.batch_execute(taken).await.unwrap_err();
        assert!(
            matches!(PostgresError::from(error), PostgresError::NotUnique { constraint, .. } if constraint == "contacts_held_external_id")
        );
    });
}

#[test]
#[ignore = needs_postgres!()]
fn blank_keys_and_keys_of_merged_contacts_are_unclaimed() {
    block_on(async {
        let client = connect(&database().await).await;
        // All characters that Rust trims, and some others.
        for n in 0..=0xffff_u32 {
            let Some(c) = char::from_u32(n).filter(|c| *c != '\0') else { continue };
            let blank = c.to_string().trim().is_empty();
            if blank || n % 4096 == 0xd || [0x200b, 0x180e, 0xfeff, 0x2060].contains(&n) {
                let held: Option<String> =
                    client.query_one("select enroll.held($1)", &[&c.to_string()]).await.unwrap().get(0);
                assert_eq!(held.is_none(), blank, "U+{n:04X}");
            }
        }
        for (n, state) in [(1, "open"), (2, "merged"), (3, "merged")] {
            insert_contact(&client, n, &format!("phone, state) values ($1, $2, '+12025550101', '{state}'")).await;
        }
        for n in [4, 5] {
            insert_contact(&client, n, "phone, external_id) values ($1, $2, ' ', U&'\\00A0'").await;
        }
        let twice = "update enroll.contacts set state = 'open' where state = 'merged'";
        let error = client.batch_execute(twice).await.unwrap_err();
        assert!(
            matches!(PostgresError::from(error), PostgresError::NotUnique { constraint, .. } if constraint == "contacts_held_phone")
        );
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_statement_over_many_rows_raises_each_contact_once() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        Request::new(1, &body(0, 3)).enroll(&mut open(&url).await).await.unwrap();
        assert_eq!(versions(&client).await, [1, 1, 1]);
        client.batch_execute("update enroll.step_contacts set status = 'finished'").await.unwrap();
        assert_eq!(versions(&client).await, [2, 2, 2]);
        client.batch_execute("update enroll.contacts set name = 'x'").await.unwrap();
        assert_eq!(versions(&client).await, [3, 3, 3]);
        // A version that the host raises is stored. A version that the host lowers is raised instead.
        client.batch_execute("update enroll.contacts set version = 9").await.unwrap();
        assert_eq!(versions(&client).await, [9, 9, 9]);
        client.batch_execute("update enroll.contacts set version = 2").await.unwrap();
        assert_eq!(versions(&client).await, [10, 10, 10]);
        // A row that moves to another contact raises both versions once.
        let first = "select contact_id from enroll.conversations order by contact_id";
        let rows = client.query(first, &[]).await.unwrap();
        let (from, to): (uuid::Uuid, uuid::Uuid) = (rows[0].get(0), rows[1].get(0));
        client.execute("delete from enroll.conversations where contact_id = $1", &[&to]).await.unwrap();
        assert_eq!(versions(&client).await, [10, 11, 10]);
        let moved = "update enroll.conversations set contact_id = $2 where contact_id = $1";
        client.execute(moved, &[&from, &to]).await.unwrap();
        assert_eq!(versions(&client).await, [11, 12, 10]);
        // A statement without rows raises no version.
        client.batch_execute("update enroll.runs set status = 'finished' where false").await.unwrap();
        assert_eq!(versions(&client).await, [11, 12, 10]);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_deleted_row_deletes_its_related_rows() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        Request::new(1, &body(0, 2)).enroll(&mut open(&url).await).await.unwrap();
        let ids = client.query("select id from enroll.step_contacts order by id", &[]).await.unwrap();
        client
            .execute("delete from enroll.step_contacts where id = $1", &[&ids[0].get::<_, uuid::Uuid>(0)])
            .await
            .unwrap();
        let stored = dump(&mut client, organization()).await.unwrap();
        assert_eq!((stored.step_contacts.len(), stored.custom_records.len(), stored.runs.len()), (1, 1, 2));
        client.batch_execute("delete from enroll.tags").await.unwrap();
        // Twice for the step contact and its record, once for the tag.
        assert_eq!(versions(&client).await, [4, 2]);
        client.batch_execute("delete from enroll.contacts").await.unwrap();
        let stored = dump(&mut client, organization()).await.unwrap();
        let left =
            [stored.conversations.len(), stored.runs.len(), stored.step_contacts.len(), stored.custom_records.len()];
        assert_eq!((left, stored.contact_tags.len(), stored.sequences.len()), ([0; 4], 0, 1));
        client.batch_execute("delete from enroll.organizations").await.unwrap();
        let stored = dump(&mut client, organization()).await.unwrap();
        assert_eq!((stored.sequences.len(), stored.channels.len()), (0, 0));
        assert_eq!(support::count_rows(&client).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn rows_of_missing_contacts_or_organizations_are_refused() {
    block_on(async {
        let client = connect(&database().await).await;
        for sql in [
            "insert into enroll.contacts (organization_id, id) values (gen_random_uuid(), gen_random_uuid())",
            "insert into enroll.runs (organization_id, id, sequence_id, contact_id, status, started_at)
                select organization_id, id, id, gen_random_uuid(), 'active', now() from enroll.sequences",
            "insert into enroll.channels (organization_id, id, kind, address)
                values (gen_random_uuid(), gen_random_uuid(), 'email', 'a@example.com')",
        ] {
            let error = client.batch_execute(sql).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::FOREIGN_KEY_VIOLATION), "{sql}");
        }
    });
}

/// Each state requires its columns, and excludes those of other states.
#[test]
#[ignore = needs_postgres!()]
fn the_columns_of_an_enrollment_must_match_its_state() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        Request::new(1, &body(0, 1)).accept(&mut open(&url).await).await.unwrap();
        for set in [
            "state = 'done'",
            "state = 'completed', command = null, due_at = null, completed_at = now()",
            "state = 'completed', command = null, due_at = null, completed_at = now(), report = '{}'",
            "added = 1",
            "state = 'rejected', command = null, due_at = null, completed_at = now(), report = '{}'",
            "state = 'completed', command = null, due_at = null, report = '{}'",
            "state = 'completed', due_at = null, report = '{}', completed_at = now()",
            "state = 'failed', error = 'e'",
            "state = 'failed', due_at = null, failed_at = now()",
            "state = 'failed', due_at = null, error = 'e'",
            "command = null",
            "due_at = null",
            "attempts = -1",
        ] {
            let error = client.batch_execute(&format!("update enroll.enrollments set {set}")).await.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{set}");
        }
    });
}

async fn insert_contact(client: &Client, n: u128, rest: &str) {
    let sql = format!("insert into enroll.contacts (organization_id, id, {rest})");
    client.execute(&sql, &[&organization().as_uuid(), &uuid::Uuid::from_u128(n)]).await.unwrap();
}

async fn versions(client: &Client) -> Vec<i64> {
    let rows = client.query("select version from enroll.contacts order by id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
