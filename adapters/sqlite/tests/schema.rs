//! How the schema comes to be, and what it keeps whoever writes.
#![cfg(feature = "testing")]

mod support;

use enroll::Repository;
use enroll_sqlite::{SqliteRepository, migrate};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use std::thread;
use support::{Asked, ORGANIZATION, STEP, count, in_memory, seeded};
use uuid::Uuid;

fn strings(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_second_open_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    let schema = |repository: &SqliteRepository| {
        strings(repository.connection(), "select sql from sqlite_schema where sql is not null")
    };
    let first = schema(&seeded(&file));
    let again = SqliteRepository::open(&file).unwrap();
    assert_eq!(schema(&again), first);
    assert_eq!(count(again.connection(), "enroll_sequences"), 1);
    assert_eq!(count(again.connection(), "enroll_schema where version = 1"), 1);
}

/// A large commit switches them off where there are no others, and knows that by their number.
#[test]
fn the_schema_has_the_triggers_that_are_counted() {
    let repository = SqliteRepository::open_in_memory().unwrap();
    assert_eq!(count(repository.connection(), "sqlite_schema where type = 'trigger'"), 28);
}

#[test]
fn after_a_large_commit_a_hosts_write_raises_versions() {
    let mut repository = in_memory();
    let first = Asked::people("first", 0..500);
    let plan = first.plan(&mut repository);
    first.enroll(&mut repository).unwrap();
    // Also after one that is refused.
    Repository::commit(&mut repository, plan.changes()).unwrap_err();
    let connection = repository.connection();
    assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).unwrap(), "foreign keys are on again");
    connection.execute("update enroll_step_contacts set status = 'moved'", []).unwrap();
    assert_eq!(count(connection, "enroll_contacts where version = 2"), 500);
}

#[test]
fn a_host_that_switched_triggers_off_finds_them_off_after_a_large_commit() {
    let mut repository = in_memory();
    repository.connection().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    Asked::people("first", 0..500).enroll(&mut repository).unwrap();
    assert!(!repository.connection().db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
}

#[test]
fn a_large_commit_leaves_no_row_without_the_one_that_it_refers_to() {
    let mut repository = in_memory();
    Asked::people("first", 0..500).enroll(&mut repository).unwrap();
    Asked::people("again", 250..750).enroll(&mut repository).unwrap();
    let connection = repository.connection();
    assert_eq!(strings(connection, "select \"table\" from pragma_foreign_key_check"), Vec::<String>::new());
    assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).unwrap(), "they are on again");
    let stray = "insert into enroll_contact_tags select organization_id, id, id from enroll_contacts limit 1";
    assert!(connection.execute(stray, []).unwrap_err().to_string().contains("FOREIGN KEY"));
}

#[test]
fn a_hosts_own_trigger_sees_a_large_commit() {
    let mut repository = in_memory();
    let audit = "create table audit (contact_id blob);
        create trigger audited after insert on enroll_contacts begin insert into audit values (new.id); end;
        create table touched (contact_id blob primary key);
        create trigger ran after insert on enroll_runs begin
            insert or ignore into touched values (new.contact_id), (new.contact_id);
        end";
    repository.connection().execute_batch(audit).unwrap();
    Asked::people("first", 0..500).enroll(&mut repository).unwrap();
    assert_eq!(count(repository.connection(), "audit"), 500);
    assert_eq!(count(repository.connection(), "touched"), 500, "its own word on conflicts counts");
    assert_eq!(count(repository.connection(), "enroll_contacts where version = 1"), 500);
}

#[test]
fn many_that_open_a_fresh_file_at_once_all_succeed() {
    for _ in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("enroll.db");
        thread::scope(|scope| {
            let openers: Vec<_> = (0..4).map(|_| scope.spawn(|| SqliteRepository::open(&file).unwrap())).collect();
            for opener in openers {
                let repository = opener.join().unwrap();
                assert_eq!(count(repository.connection(), "enroll_schema"), 1);
                assert_eq!(strings(repository.connection(), "pragma journal_mode"), ["wal"]);
            }
        });
    }
}

#[test]
fn it_stands_beside_the_tables_of_a_host() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("create table contacts (id); pragma user_version = 42").unwrap();
    connection.execute_batch("begin").unwrap();
    migrate(&connection).unwrap();
    connection.execute_batch("rollback").unwrap();
    assert_eq!(count(&connection, "sqlite_schema"), 1, "the host's transaction took the schema with it");
    migrate(&connection).unwrap();
    migrate(&connection).unwrap();
    assert_eq!(connection.query_row("pragma user_version", [], |row| row.get(0)), Ok(42));
    let others = "select name from sqlite_schema where tbl_name not glob 'enroll_*'";
    assert_eq!(strings(&connection, others), ["contacts"]);
}

#[test]
fn every_key_and_every_index_begins_with_the_organization() {
    let repository = SqliteRepository::open_in_memory().unwrap();
    let first_columns = "select i.name || ' ' || coalesce(c.name, '') from sqlite_schema t
         join pragma_index_list(t.name) i join pragma_index_info(i.name) c on c.seqno = 0
         where t.type = 'table' order by 1";
    let columns = strings(repository.connection(), first_columns);
    assert!(columns.len() >= 25, "{columns:#?}");
    let others: Vec<_> = columns.iter().filter(|column| !column.ends_with(" organization_id")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn every_uniqueness_of_the_contract_is_an_index() {
    let repository = SqliteRepository::open_in_memory().unwrap();
    let unique = "select t.name || ' (' || (select group_concat(name, ', ') from pragma_index_info(i.name)) || ')'
         from sqlite_schema t join pragma_index_list(t.name) i
         where t.type = 'table' and i.\"unique\" and i.origin = 'c' order by 1";
    assert_eq!(
        strings(repository.connection(), unique),
        [
            "enroll_contacts (organization_id, held_email)",
            "enroll_contacts (organization_id, held_external_id)",
            "enroll_contacts (organization_id, held_phone)",
            "enroll_conversations (organization_id, contact_id, channel_id)",
            "enroll_custom_records (organization_id, resource_id, resource, custom_object_id)",
            "enroll_step_contacts (organization_id, sequence_id, contact_id)",
        ]
    );
}

#[test]
fn every_table_of_an_aggregate_has_its_triggers() {
    let repository = SqliteRepository::open_in_memory().unwrap();
    let mut expected = Vec::new();
    for table in ["call_flows", "channels", "contacts", "custom_objects", "sequences"] {
        expected.push(format!("enroll_{table}_raised"));
    }
    for table in [
        "communication_preferences",
        "contact_tags",
        "conversations",
        "custom_records",
        "runs",
        "step_contacts",
        "steps",
    ] {
        expected.extend(["deleted", "inserted", "updated"].map(|verb| format!("enroll_{table}_{verb}")));
    }
    let triggers = "select name from sqlite_schema where type = 'trigger' and name not glob '*_records_*go'
         and name not glob '*_records_move' order by 1";
    expected.sort();
    assert_eq!(strings(repository.connection(), triggers), expected);
}

#[test]
fn a_state_of_an_enrollment_has_what_belongs_to_it_and_nothing_else() {
    let repository = support::in_memory();
    let connection = repository.connection();
    let columns = ["due_at", "command", "completed_at", "report", "rejection", "error"];
    // With every set of columns that are there.
    let allowed = [
        ("accepted", vec![0b11, 0b10_0011]),
        ("completed", vec![0b1100, 0b10_1100]),
        ("rejected", vec![0b1_0100, 0b11_0100]),
        ("failed", vec![0b10_0010]),
        ("lost", vec![]),
    ];
    for (state, allowed) in allowed {
        for there in 0..1 << columns.len() {
            let values = (0..columns.len()).map(|n| if there & (1 << n) == 0 { "null" } else { "0" });
            let sql = format!(
                "insert into enroll_enrollments (organization_id, id, sequence_id, fingerprint, at, state, {})
                 values (?1, ?2, ?2, zeroblob(32), 0, '{state}', {})",
                columns.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            let inserted = connection.execute(&sql, [ORGANIZATION, id(there)]);
            assert_eq!(inserted.is_ok(), allowed.contains(&there), "{state} {there:b}");
            connection.execute("delete from enroll_enrollments", []).unwrap();
        }
    }
}

/// An organization with two contacts, each with a run; `pragma recursive_triggers` as given.
fn two_contacts(recursive: bool) -> SqliteRepository {
    let repository = support::in_memory();
    let connection = repository.connection();
    connection.pragma_update(None, "recursive_triggers", recursive).unwrap();
    for n in [1, 2] {
        let sql = "insert into enroll_contacts (organization_id, id, phone, version) values (?1, ?2, ?3, 1)";
        connection.execute(sql, params![ORGANIZATION, id(n), format!("+1202555000{n}")]).unwrap();
        let sql = "insert into enroll_runs (organization_id, id, sequence_id, contact_id, started_at)
                   values (?1, ?2, ?3, ?2, 0)";
        connection.execute(sql, params![ORGANIZATION, id(n), STEP]).unwrap();
    }
    assert_eq!(versions(connection), [2, 2]);
    repository
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn versions(connection: &Connection) -> Vec<i64> {
    let mut statement = connection.prepare("select version from enroll_contacts order by id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn whoever_writes_raises_a_contact_once_also_with_recursive_triggers() {
    for recursive in [false, true] {
        let repository = two_contacts(recursive);
        let connection = repository.connection();
        connection.execute("update enroll_contacts set name = 'Ann' where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [3, 2]);
        connection.execute("update enroll_runs set status = 'finished' where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [4, 2]);
        // A version that the writer raised itself stays; one that it lowered does not.
        connection.execute("update enroll_contacts set version = 9 where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [9, 2]);
        connection.execute("update enroll_contacts set version = 1 where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [10, 2]);
        connection.execute("delete from enroll_runs where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [11, 2]);
    }
}

/// What is deleted and made again under its id is another one to whoever saw the first.
#[test]
fn a_version_does_not_come_again() {
    let repository = support::in_memory();
    let connection = repository.connection();
    let read =
        || -> i64 { connection.query_row("select max(version) from enroll_channels", [], |row| row.get(0)).unwrap() };
    let insert =
        "insert into enroll_channels (organization_id, id, kind, address) values (?1, ?2, 'fax', '+12025550199')";
    connection.execute("delete from enroll_channels", []).unwrap();
    connection.execute(insert, [ORGANIZATION, id(1)]).unwrap();
    connection.execute("update enroll_channels set enabled = 0", []).unwrap();
    let first = read();
    // A version counts milliseconds at least as far as the clock does: within one there is no second life.
    while connection.query_row(
        "select cast((julianday('now') - 2440587.5) * 86400000 as integer) <= ?1",
        [first],
        |row| row.get::<_, bool>(0),
    ) == Ok(true)
    {}
    connection.execute("delete from enroll_channels", []).unwrap();
    connection.execute(insert, [ORGANIZATION, id(1)]).unwrap();
    assert!(read() > first);
}

#[test]
fn a_row_that_moves_to_another_contact_raises_both() {
    for recursive in [false, true] {
        let repository = two_contacts(recursive);
        let connection = repository.connection();
        connection.execute("update enroll_runs set contact_id = ?2 where id = ?1", [id(1), id(2)]).unwrap();
        assert_eq!(versions(connection), [3, 3]);
    }
}

#[test]
fn a_step_contacts_records_go_with_it_and_move_with_it() {
    let repository = two_contacts(false);
    let connection = repository.connection();
    let stay = "insert into enroll_step_contacts
                (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at)
                values (?1, ?2, ?2, ?3, ?3, ?2, 'active', 0)";
    connection.execute(stay, [ORGANIZATION, id(1), STEP]).unwrap();
    let record = "insert into enroll_custom_records
                  (organization_id, id, custom_object_id, resource, resource_id, contact_id)
                  values (?1, ?2, ?2, 'step_contact', ?2, ?2)";
    connection.execute(record, [ORGANIZATION, id(1)]).unwrap();
    connection.execute("update enroll_step_contacts set contact_id = ?1", [id(2)]).unwrap();
    let owner: Uuid =
        connection.query_row("select contact_id from enroll_custom_records", [], |row| row.get(0)).unwrap();
    assert_eq!(owner, id(2));
    connection.execute("delete from enroll_step_contacts", []).unwrap();
    assert_eq!(count(connection, "enroll_custom_records"), 0);
}

#[test]
fn a_contact_takes_what_stands_round_it_and_a_tag_leaves_its_contacts() {
    let repository = two_contacts(false);
    let connection = repository.connection();
    connection
        .execute("insert into enroll_tags (organization_id, id, name) values (?1, ?2, 't')", [ORGANIZATION, id(1)])
        .unwrap();
    for n in [1, 2] {
        connection
            .execute("insert into enroll_contact_tags values (?1, ?2, ?3)", [ORGANIZATION, id(n), id(1)])
            .unwrap();
    }
    connection.execute("delete from enroll_contacts where id = ?1", [id(1)]).unwrap();
    assert_eq!(count(connection, "enroll_runs"), 1);
    assert_eq!(count(connection, "enroll_contact_tags"), 1);
    assert_eq!(versions(connection), [3]);
    connection.execute("delete from enroll_tags", []).unwrap();
    assert_eq!(versions(connection), [4]);
}

/// The schema's idea of a blank key is the engine's.
#[test]
fn a_key_of_white_space_is_held_by_nobody() {
    let repository = support::in_memory();
    let connection = repository.connection();
    let insert = "insert into enroll_contacts (organization_id, id, external_id, phone, email, email_key)
                  values (?1, ?2, ?3, ?3, ?3, ?3)";
    let held = "select held_external_id is not null, held_phone is not null, held_email is not null
                from enroll_contacts where id = ?1";
    let alike = ['\u{200b}', '\u{feff}', '\u{180e}', '\u{2060}', '\u{1f}', '\u{2800}', 'x'];
    let spaces = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_whitespace());
    for c in spaces.chain(alike) {
        for (n, text) in [format!("{c}"), format!(" {c} "), format!("{c}\u{3000}{c}")].into_iter().enumerate() {
            let id = Uuid::from_u128((u128::from(u32::from(c)) << 2) + n as u128);
            connection.execute(insert, params![ORGANIZATION, id, text]).unwrap();
            let stands = !text.trim().is_empty();
            let columns: [bool; 3] =
                connection.query_row(held, [id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
            assert_eq!(columns, [stands; 3], "{text:?}");
        }
    }
}
