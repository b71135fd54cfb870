//! The migration, and the rules that the schema enforces for every writer.
#![cfg(feature = "testing")]

mod support;

use enroll::Repository;
use enroll_sqlite::{SqliteRepository, migrate};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use std::thread;
use support::{ORGANIZATION, STEP, TestRequest, count, in_memory, open_seeded};
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
    let first = schema(&open_seeded(&file));
    let again = SqliteRepository::open(&file).unwrap();
    assert_eq!(schema(&again), first);
    assert_eq!(count(again.connection(), "enroll_sequences"), 1);
    assert_eq!(count(again.connection(), "enroll_schema where version = 1"), 1);
}

/// A large commit disables triggers only if the count shows that the host added none.
#[test]
fn the_number_of_triggers_is_the_one_that_a_commit_expects() {
    let repository = SqliteRepository::open_in_memory().unwrap();
    assert_eq!(count(repository.connection(), "sqlite_schema where type = 'trigger'"), 46);
}

#[test]
fn triggers_are_enabled_again_after_a_large_commit() {
    let mut repository = in_memory();
    let first = TestRequest::new("first", 0..500);
    let plan = first.plan(&mut repository);
    first.enroll(&mut repository).unwrap();
    // A refused commit must enable them too.
    Repository::commit(&mut repository, plan.changes()).unwrap_err();
    let connection = repository.connection();
    assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).unwrap(), "foreign keys are enabled again");
    connection.execute("update enroll_step_contacts set status = 'moved'", []).unwrap();
    assert_eq!(count(connection, "enroll_contacts where version = 2"), 500);
}

#[test]
fn triggers_that_the_host_disabled_stay_disabled_after_a_large_commit() {
    let mut repository = in_memory();
    repository.connection().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    TestRequest::new("first", 0..500).enroll(&mut repository).unwrap();
    assert!(!repository.connection().db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
}

#[test]
fn a_large_commit_leaves_no_dangling_reference() {
    let mut repository = in_memory();
    TestRequest::new("first", 0..500).enroll(&mut repository).unwrap();
    TestRequest::new("again", 250..750).enroll(&mut repository).unwrap();
    let connection = repository.connection();
    assert_eq!(strings(connection, "select \"table\" from pragma_foreign_key_check"), Vec::<String>::new());
    assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).unwrap(), "foreign keys are enabled again");
    let stray = "insert into enroll_contact_tags select organization_id, id, id from enroll_contacts limit 1";
    assert!(connection.execute(stray, []).unwrap_err().to_string().contains("FOREIGN KEY"));
}

#[test]
fn a_trigger_of_the_host_fires_in_a_large_commit() {
    let mut repository = in_memory();
    let audit = "create table audit (contact_id blob);
        create trigger audited after insert on enroll_contacts begin insert into audit values (new.id); end;
        create table touched (contact_id blob primary key);
        create trigger ran after insert on enroll_runs begin
            insert or ignore into touched values (new.contact_id), (new.contact_id);
        end";
    repository.connection().execute_batch(audit).unwrap();
    TestRequest::new("first", 0..500).enroll(&mut repository).unwrap();
    assert_eq!(count(repository.connection(), "audit"), 500);
    assert_eq!(count(repository.connection(), "touched"), 500, "its `insert or ignore` applies");
    assert_eq!(count(repository.connection(), "enroll_contacts where version = 1"), 500);
}

#[test]
fn several_connections_can_create_the_same_file_at_once() {
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
fn a_new_file_has_pages_of_8_kb_and_that_of_a_host_keeps_its_own() {
    let page_size = |repository: &SqliteRepository| -> i64 {
        repository.connection().pragma_query_value(None, "page_size", |row| row.get(0)).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    assert_eq!(page_size(&SqliteRepository::open(&file).unwrap()), 8192);
    assert_eq!(page_size(&SqliteRepository::open(&file).unwrap()), 8192);
    let of_host = folder.path().join("host.db");
    let connection = Connection::open(&of_host).unwrap();
    connection.execute_batch("pragma page_size = 1024; create table customers (id)").unwrap();
    assert_eq!(page_size(&SqliteRepository::from_connection(connection).unwrap()), 1024);
    let repository = SqliteRepository::open(&of_host).unwrap();
    repository.connection().execute_batch("pragma wal_checkpoint(truncate); vacuum").unwrap();
    assert_eq!(page_size(&repository), 1024);
    let copy = folder.path().join("copy.db");
    repository.connection().execute("vacuum into ?1", [copy.to_str()]).unwrap();
    assert_eq!(page_size(&SqliteRepository::open(&copy).unwrap()), 1024);
}

#[test]
fn the_tables_of_a_host_do_not_change() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("create table contacts (id); pragma user_version = 42").unwrap();
    connection.execute_batch("begin").unwrap();
    migrate(&connection).unwrap();
    connection.execute_batch("rollback").unwrap();
    assert_eq!(count(&connection, "sqlite_schema"), 1, "the rollback of the host removed the schema");
    migrate(&connection).unwrap();
    migrate(&connection).unwrap();
    assert_eq!(connection.query_row("pragma user_version", [], |row| row.get(0)), Ok(42));
    // `sqlite_sequence` has the last position of the events.
    let others = "select name from sqlite_schema where tbl_name not glob 'enroll_*' and tbl_name <> 'sqlite_sequence'";
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
    // The retention, the log of events and the turns of a claim serve all organizations.
    let of_all = [
        "enroll_enrollments_completed_at completed_at",
        "enroll_enrollments_failed_at failed_at",
        "enroll_events_at at",
        "enroll_queues_turn turn",
    ];
    assert_eq!(others, of_all);
}

#[test]
fn every_unique_key_of_the_contract_has_an_index() {
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
    let triggers = "select name from sqlite_schema where type = 'trigger' and name not glob '*_go'
         and name not glob '*_records_move' and name not glob '*_counted_*'
         and name not glob 'enroll_enrollments_*' order by 1";
    expected.sort();
    assert_eq!(strings(repository.connection(), triggers), expected);
}

#[test]
fn each_state_of_an_enrollment_has_exactly_its_columns() {
    let repository = support::in_memory();
    let connection = repository.connection();
    let columns = [
        "due_at",
        "command",
        "completed_at",
        "report",
        "rejection",
        "error",
        "failed_at",
        "added",
        "duplicate",
        "removed_at",
    ];
    const DUPLICATE: usize = 8;
    let other_counts = ["re_added", "reprocessed", "ignored", "contacts_created", "conversations_created"];
    // For each state, the sets of columns that may be present.
    let allowed = [
        ("accepted", vec![0b11, 0b10_0011]),
        ("completed", vec![0b1_1000_1100, 0b1_1010_1100, 0b11_1000_1100, 0b11_1010_1100]),
        ("rejected", vec![0b1_0100, 0b11_0100]),
        ("failed", vec![0b110_0010, 0b10_0110_0000]),
        ("lost", vec![]),
    ];
    for (state, allowed) in allowed {
        for present in 0..1 << columns.len() {
            let value = |n: usize| if present & (1 << n) == 0 { "null" } else { "0" };
            let values = (0..columns.len()).map(value).chain([value(DUPLICATE); 5]);
            let sql = format!(
                "insert into enroll_enrollments (organization_id, id, sequence_id, fingerprint, at, state, {}, {})
                 values (?1, ?2, ?2, zeroblob(32), 0, '{state}', {})",
                columns.join(", "),
                other_counts.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            let inserted = connection.execute(&sql, [ORGANIZATION, id(present)]);
            assert_eq!(inserted.is_ok(), allowed.contains(&present), "{state} {present:b}");
            connection.execute("delete from enroll_enrollments", []).unwrap();
        }
    }
}

/// Creates an organization with two contacts, each with a run. Sets `pragma recursive_triggers`.
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
fn each_write_raises_a_contact_once_even_with_recursive_triggers() {
    for recursive in [false, true] {
        let repository = two_contacts(recursive);
        let connection = repository.connection();
        connection.execute("update enroll_contacts set name = 'Ann' where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [3, 2]);
        connection.execute("update enroll_runs set status = 'finished' where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [4, 2]);
        // A version that the writer raised itself stays. A lowered version is raised.
        connection.execute("update enroll_contacts set version = 9 where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [9, 2]);
        connection.execute("update enroll_contacts set version = 1 where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [10, 2]);
        connection.execute("delete from enroll_runs where id = ?1", [id(1)]).unwrap();
        assert_eq!(versions(connection), [11, 2]);
    }
}

/// A row that is deleted and inserted again must have a new version, because a guard may know the old one.
#[test]
fn a_version_is_not_reused_after_a_delete() {
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
    // First versions come from the clock: a new version needs a later millisecond.
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
fn records_are_deleted_and_moved_with_their_step_contact() {
    let repository = two_contacts(false);
    let connection = repository.connection();
    let step_contact = "insert into enroll_step_contacts
                (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at)
                values (?1, ?2, ?2, ?3, ?3, ?2, 'active', 0)";
    connection.execute(step_contact, [ORGANIZATION, id(1), STEP]).unwrap();
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
fn deletes_of_contacts_and_tags_cascade_to_related_rows() {
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

/// Also on a connection without foreign keys, where a host can prune enrollments.
#[test]
fn the_outcomes_of_an_enrollment_are_deleted_with_it() {
    for foreign_keys in [true, false] {
        let mut repository = support::in_memory();
        for key in ["one", "two"] {
            TestRequest::new(key, 0..100).enroll(&mut repository).unwrap();
        }
        let connection = repository.connection();
        connection.pragma_update(None, "foreign_keys", foreign_keys).unwrap();
        assert_eq!(count(connection, "enroll_enrollment_outcomes"), 6);
        connection.execute("delete from enroll_enrollments where rowid = 1", []).unwrap();
        assert_eq!(count(connection, "enroll_enrollment_outcomes"), 3);
        if foreign_keys {
            connection.execute("delete from enroll_organizations", []).unwrap();
            assert_eq!(count(connection, "enroll_enrollment_outcomes"), 0);
        }
    }
}

/// The schema and the engine agree on blank keys.
#[test]
fn a_key_of_only_white_space_identifies_no_contact() {
    let repository = support::in_memory();
    let connection = repository.connection();
    let insert = "insert into enroll_contacts (organization_id, id, external_id, phone, email, email_key)
                  values (?1, ?2, ?3, ?3, ?3, ?3)";
    let held = "select held_external_id is not null, held_phone is not null, held_email is not null
                from enroll_contacts where id = ?1";
    let similar = ['\u{200b}', '\u{feff}', '\u{180e}', '\u{2060}', '\u{1f}', '\u{2800}', 'x'];
    let spaces = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_whitespace());
    for c in spaces.chain(similar) {
        for (n, text) in [format!("{c}"), format!(" {c} "), format!("{c}\u{3000}{c}")].into_iter().enumerate() {
            let id = Uuid::from_u128((u128::from(u32::from(c)) << 2) + n as u128);
            connection.execute(insert, params![ORGANIZATION, id, text]).unwrap();
            let is_key = !text.trim().is_empty();
            let columns: [bool; 3] =
                connection.query_row(held, [id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
            assert_eq!(columns, [is_key; 3], "{text:?}");
        }
    }
}
