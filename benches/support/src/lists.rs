//! Rows of long lists, as SQL: contacts, each with a run and a step contact, and a tenth as many enrollments.

use uuid::Uuid;

/// The database that runs the statements.
#[derive(Clone, Copy, Debug)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// Returns the statements that insert the rows of lists with `length` contacts, in one transaction.
///
/// The organization must exist, with the sequence.
#[must_use]
pub fn rows(dialect: Dialect, sequence_id: Uuid, length: u32) -> String {
    let rows = ROWS.replace("LENGTH", &length.to_string());
    let ids = [("ID_A", "a0"), ("ID_B", "b0"), ("ID_C", "c0"), ("ID_D", "d0")];
    // Like a commit of the engine: the triggers do nothing, and the rows are counted at the end.
    match dialect {
        Dialect::Sqlite => {
            let numbers = format!(
                "(with recursive r(n) as (select 0 union all select n + 1 from r where n < {length} - 1) select n from r)"
            );
            let rows = rows
                .replace("enroll.", "enroll_")
                .replace("SEQUENCE", &format!("x'{}'", sequence_id.simple()))
                .replace("ORGANIZATION", &format!("x'{}'", ORGANIZATION.simple()))
                .replace("NUMBERS", &numbers)
                .replace("NIL", "zeroblob(16)")
                .replace("NOW", "1769958000000")
                .replace("DIGEST", "zeroblob(32)");
            let rows = ids.into_iter().fold(rows, |rows, (name, prefix)| {
                rows.replace(name, &format!("unhex(printf('%s%030x', '{prefix}', n))"))
            });
            format!("begin; update enroll_engine set writing = 1; {rows} update enroll_engine set writing = 0; commit;")
        }
        Dialect::Postgres => {
            let rows = rows
                .replace("SEQUENCE", &format!("'{sequence_id}'::uuid"))
                .replace("ORGANIZATION", &format!("'{ORGANIZATION}'::uuid"))
                .replace("NUMBERS", &format!("generate_series(0, {length} - 1) as r(n)"))
                .replace("NIL", "'00000000-0000-0000-0000-000000000000'::uuid")
                .replace("NOW", &format!("'{AT}'::timestamptz"))
                .replace("DIGEST", "sha256('')");
            let rows = ids.into_iter().fold(rows, |rows, (name, prefix)| {
                rows.replace(name, &format!("('{prefix}' || lpad(to_hex(n), 30, '0'))::uuid"))
            });
            format!("begin; set local enroll.engine = 'on'; {rows} commit;")
        }
    }
}

/// The instant of the enrollments and of the runs: 1769958000000 milliseconds after 1970.
pub const AT: &str = "2026-02-01T15:00:00Z";
/// The organization of the rows.
pub const ORGANIZATION: Uuid = Uuid::from_u128(1);
/// Names and phones are not in the order of the ids. The oldest runs are finished. The oldest step contacts are inactive, then
/// they are finished.
const ROWS: &str = "
insert into enroll.contacts (organization_id, id, phone, name, version)
    select ORGANIZATION, ID_A, '+12' || (100000000 + cast(n as bigint) * 7919 % LENGTH),
        case when n % 10 = 0 then null else 'Person ' || (cast(n as bigint) * 104729 % LENGTH) end, 1
    from NUMBERS;
insert into enroll.runs (organization_id, id, sequence_id, contact_id, status, started_at)
    select ORGANIZATION, ID_B, SEQUENCE, ID_A, case when n < LENGTH / 2 then 'finished' else 'active' end, NOW
    from NUMBERS;
insert into enroll.step_contacts
        (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at)
    select ORGANIZATION, ID_C, ID_B, SEQUENCE, SEQUENCE, ID_A,
        case when n < 100 then 'inactive' when n < LENGTH / 2 then 'finished' else 'active' end, NOW
    from NUMBERS;
insert into enroll.enrollments
        (organization_id, id, sequence_id, fingerprint, at, state, command, error, failed_at)
    select ORGANIZATION, ID_D, SEQUENCE, DIGEST, NOW, 'failed', '{}', 'e', NOW from NUMBERS where n % 10 = 0;
insert into enroll.counts (organization_id, list, sequence_id, step_id, status, entries)
    select organization_id, 'contacts', NIL, NIL, '', count(*) from enroll.contacts group by organization_id
    union all select organization_id, 'enrollments', NIL, NIL, state, count(*) from enroll.enrollments
        group by organization_id, state
    union all select organization_id, 'runs', sequence_id, NIL, status, count(*) from enroll.runs
        group by organization_id, sequence_id, status
    union all select organization_id, 'step_contacts', sequence_id, step_id, status, count(*) from enroll.step_contacts
        group by organization_id, sequence_id, step_id, status;
";
