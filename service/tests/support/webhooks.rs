//! Endpoints of webhooks, and numbers in the database.
#![allow(dead_code, reason = "each test uses a part of it")]

use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::service::Service;
use crate::support::{PostgresClient, enroll, json as json_of};

/// An endpoint that was added with the command line.
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Endpoint {
    pub(crate) fn add(service: &Service, organization: &str, url: &str, more: &[&str]) -> Self {
        let args = ["webhooks", "add", url, "--database", &service.database, "--organization", organization, "--json"];
        let added = json_of(&enroll(&args, more));
        let text = |key: &str| added[key].as_str().unwrap().to_owned();
        Self { id: text("id"), secret: text("secret") }
    }

    /// Returns the id as SQL.
    pub(crate) fn literal(&self, service: &Service) -> String {
        if service.database.starts_with("postgres") {
            format!("'{}'", self.id)
        } else {
            format!("x'{}'", self.id.replace('-', ""))
        }
    }

    /// Returns the last codes of the deliveries.
    pub(crate) fn codes(&self, service: &Service) -> Vec<String> {
        let sql = format!(
            "select coalesce(code, '-') from enroll_service.webhook_deliveries where endpoint_id = {} order by position",
            self.literal(service)
        );
        texts(service, &sql)
    }
}

/// Enrolls a person of a number into the active sequence. Returns the id of the enrollment.
pub(crate) fn enroll_person(service: &Service, n: usize) -> String {
    let phone = format!("+1202555{:04}", 100 + n);
    service.enroll(&json!({"to": [{"phone": phone, "name": "Person"}]}), &[]).accepted()
}

/// Returns the first column of the rows, as text.
pub(crate) fn texts(service: &Service, sql: &str) -> Vec<String> {
    if service.database.starts_with("postgres") {
        let list = format!("select coalesce(string_agg(t::text, ' '), '') from ({sql}) q (t)");
        let text = PostgresClient::connect(&service.database).value(&list);
        return text.split_whitespace().map(str::to_owned).collect();
    }
    let connection = rusqlite::Connection::open(&service.database).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let sql = sql.replace("enroll_service.", "enroll_service_").replace("enroll.", "enroll_");
    let mut statement = connection.prepare(&sql).unwrap();
    let text = |row: &rusqlite::Row<'_>| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str_or_null()?.unwrap_or_default().to_owned(),
        })
    };
    statement.query_map([], text).unwrap().map(Result::unwrap).collect()
}

/// Returns the number of the only row, or 0 if it is null.
pub(crate) fn number(service: &Service, sql: &str) -> i64 {
    let texts = texts(service, sql);
    texts.first().filter(|text| !text.is_empty()).map_or(0, |text| text.parse().unwrap())
}

/// Waits until a query returns a number.
pub(crate) fn wait_for_number(service: &Service, sql: &str, expected: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = number(service, sql);
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found}: {sql}");
        thread::sleep(Duration::from_millis(20));
    }
}
