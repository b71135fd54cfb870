//! Reads lists of the HTTP API page by page, and changes their rows in between.
#![allow(dead_code, reason = "each test uses a part of it")]

use serde_json::Value;

use crate::support::service::Service;

/// Deletes a row of a table.
pub(crate) fn delete(service: &Service, table: &str, id: &str) {
    // A host on SQLite enables foreign keys on each connection.
    let foreign_keys = if service.database.starts_with("postgres") { "" } else { "pragma foreign_keys = on; " };
    service.batch_execute(&format!("{foreign_keys}delete from enroll.{table} where id = {}", literal(service, id)));
}

/// Returns an id in SQL.
pub(crate) fn literal(service: &Service, id: &str) -> String {
    let is_postgres = service.database.starts_with("postgres");
    if is_postgres { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) }
}

/// Reads all pages. Calls `between` with the number of pages so far, before the next page. Returns all rows.
pub(crate) fn walk(service: &Service, list: &str, limit: usize, mut between: impl FnMut(usize)) -> Vec<Value> {
    let (mut rows, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let separator = if list.contains('?') { '&' } else { '?' };
        let answer = service.get(&format!("{list}{separator}limit={limit}&cursor={cursor}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json["data"].as_array().unwrap();
        rows.extend(page.iter().cloned());
        pages += 1;
        let Some(next) = answer.json["metadata"]["next_cursor"].as_str() else {
            assert_eq!(answer.json.get("metadata"), None, "the last page has no cursor");
            return rows;
        };
        assert_eq!(page.len(), limit, "only the last page is shorter");
        next.clone_into(&mut cursor);
        between(pages);
    }
}

pub(crate) fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
