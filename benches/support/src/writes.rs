//! The rows that a commit writes. A floor reads them after the commit, and writes the same rows in its own way.

use enroll::ChangeSet;
use enroll::changes::ContactFields;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The rows of one table that a change set creates, in order.
#[derive(Clone, Debug)]
pub struct Created {
    /// The table, without the prefix or the schema that a database has.
    pub table: &'static str,
    /// The column that identifies the rows.
    pub by: &'static str,
    /// The column that orders the rows.
    pub order: &'static str,
    /// The values of the identifying column.
    pub ids: Vec<Uuid>,
}

/// Returns the rows that a change set creates, by table, with the row of the enrollment.
#[must_use]
pub fn created(changes: &ChangeSet) -> Vec<Created> {
    let rows = changes.rows();
    let by_id = |table, ids| Created { table, by: "id", order: "id", ids };
    let tag: Vec<Uuid> = rows.tag_created.iter().map(|row| row.id.as_uuid()).collect();
    let mut created = vec![
        by_id("enrollments", vec![changes.completion().enrollment.id.as_uuid()]),
        by_id("contacts", rows.contacts_created.iter().map(|row| row.id.as_uuid()).collect()),
        by_id("conversations", rows.conversations_created.iter().map(|row| row.id.as_uuid()).collect()),
        by_id("runs", rows.runs_created.iter().map(|row| row.id.as_uuid()).collect()),
        by_id("step_contacts", rows.step_contacts_created.iter().map(|row| row.id.as_uuid()).collect()),
        by_id("tags", tag.clone()),
        Created { table: "contact_tags", by: "tag_id", order: "contact_id", ids: tag },
        by_id("custom_records", rows.records_created.iter().map(|row| row.record.id.as_uuid()).collect()),
    ];
    created.retain(|created| !created.ids.is_empty());
    created
}

/// The rows of one table of which a change set sets the same columns.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The table, without the prefix or the schema that a database has.
    pub table: &'static str,
    /// The columns.
    pub columns: Vec<String>,
    /// The rows, in the order of the change set.
    pub ids: Vec<Uuid>,
}

/// Returns the rows that a change set updates, with the columns that it sets.
#[must_use]
pub fn updated(changes: &ChangeSet) -> Vec<Updated> {
    let rows = changes.rows();
    let mut contacts: BTreeMap<Vec<String>, Vec<Uuid>> = BTreeMap::new();
    for update in &rows.contacts_updated {
        contacts.entry(columns(&update.set)).or_default().push(update.id.as_uuid());
    }
    let mut step_contacts: BTreeMap<Vec<String>, Vec<Uuid>> = BTreeMap::new();
    for update in &rows.step_contacts_updated {
        let mut columns = ["status", "scheduled_at", "enrollment_id", "times_processed"].map(str::to_owned).to_vec();
        columns.extend(update.channel_id.map(|_| "channel_id".to_owned()));
        columns.extend(update.default_call_flow_id.map(|_| "default_call_flow_id".to_owned()));
        step_contacts.entry(columns).or_default().push(update.id.as_uuid());
    }
    let runs = rows.runs_reactivated.iter().map(|row| row.run_id.as_uuid()).collect();
    let records = rows.records_updated.iter().map(|row| row.id.as_uuid()).collect();
    let mut updated: Vec<Updated> =
        contacts.into_iter().map(|(columns, ids)| Updated { table: "contacts", columns, ids }).collect();
    updated.push(Updated { table: "runs", columns: vec!["status".to_owned()], ids: runs });
    updated.extend(step_contacts.into_iter().map(|(columns, ids)| Updated { table: "step_contacts", columns, ids }));
    updated.push(Updated { table: "custom_records", columns: vec!["properties".to_owned()], ids: records });
    updated.retain(|updated| !updated.ids.is_empty());
    updated
}

/// Returns the columns of the given fields. Most fields have one column of the same name.
fn columns(set: &ContactFields) -> Vec<String> {
    let serde_json::Value::Object(fields) = serde_json::json!(set) else { return Vec::new() };
    let mut columns = vec!["version".to_owned()];
    if !set.is_empty() {
        columns.push("updated_at".to_owned());
    }
    for (field, _) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        match field.as_str() {
            "email" => columns.extend(["email", "email_key"].map(str::to_owned)),
            "birth_date" => columns.extend(["birth_day", "birth_month", "birth_year"].map(str::to_owned)),
            _ => columns.push(field),
        }
    }
    columns
}
