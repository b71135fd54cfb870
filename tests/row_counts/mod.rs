//! Compares the table of row counts with the rows, on both databases.

/// Returns a query for the keys whose counts are wrong: list, status, and how far the count is too high.
pub(crate) fn wrong_counts(database: &str) -> String {
    let sql = "select r.list, r.status, cast(sum(r.entries) as bigint) from (
            select organization_id, list, sequence_id, step_id, status, entries from enroll.counts
            union all select organization_id, 'contacts', NIL, NIL, '', -1 from enroll.contacts
            union all select organization_id, 'enrollments', NIL, NIL, state, -1 from enroll.enrollments
            union all select organization_id, 'runs', sequence_id, NIL, status, -1 from enroll.runs
            union all select organization_id, 'step_contacts', sequence_id, step_id, status, -1 from enroll.step_contacts
        ) as r group by r.organization_id, r.list, r.sequence_id, r.step_id, r.status having sum(r.entries) <> 0";
    match database {
        "sqlite" => sql.replace("enroll.", "enroll_").replace("NIL", "zeroblob(16)"),
        _ => sql.replace("NIL", "'00000000-0000-0000-0000-000000000000'::uuid"),
    }
}
