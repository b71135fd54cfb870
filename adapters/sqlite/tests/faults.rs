//! Databases that are read-only, locked, full, too new, damaged or missing: each has a typed error, and no partial write.
#![cfg(feature = "testing")]

mod support;

use enroll::{EnrollError, Inbox, Repository, RepositoryError, RepositoryErrorKind};
use enroll_sqlite::{SqliteError, SqliteFile, SqliteRepository};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use support::{LEASE, TestRequest, assert_nothing_stored, at, count, open_seeded, process, sqlite_error};
use tempfile::TempDir;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    (folder, file)
}

fn request() -> TestRequest {
    TestRequest::new("fault", 0..50)
}

fn repository_error(error: EnrollError) -> RepositoryError {
    match error {
        EnrollError::Repository(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_only_database_is_read_and_refuses_commits() {
    let (_folder, file) = file();
    drop(open_seeded(&file));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let by_flag = Connection::open_with_flags(&file, flags).unwrap();
    let by_name = format!("file:{}?mode=ro", file.display());
    for mut repository in
        [SqliteRepository::from_connection(by_flag).unwrap(), SqliteRepository::open(by_name).unwrap()]
    {
        let plan = request().plan(&mut repository);
        let error = repository.commit(plan.changes()).unwrap_err();
        let (kind, fault, message) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Unavailable);
        assert!(matches!(fault, SqliteError::ReadOnly), "{fault:?}");
        assert!(message.contains("open it with write access"), "{message}");
        let error = repository_error(request().accept(&mut repository).unwrap_err());
        assert!(matches!(support::sqlite_error(&error).1, SqliteError::ReadOnly), "{error:?}");
        assert_nothing_stored(repository.connection());
        let mut handle = SqliteFile::new(repository).unwrap().handle().unwrap();
        let error = handle.commit(plan.changes()).unwrap_err();
        assert!(matches!(sqlite_error(&error).1, SqliteError::ReadOnly), "{error:?}");
    }
}

#[test]
fn a_read_only_database_without_the_schema_is_refused() {
    let (_folder, file) = file();
    Connection::open(&file).unwrap().execute_batch("create table contacts (id)").unwrap();
    let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let error = SqliteRepository::from_connection(connection).unwrap_err();
    assert!(matches!(error, SqliteError::NoSchema), "{error:?}");
    assert!(error.to_string().contains("call `migrate`"), "{error}");
}

#[test]
fn a_locked_database_is_unavailable_and_the_same_commit_succeeds_later() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    let plan = request().plan(&mut repository);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("begin immediate").unwrap();
    repository.connection().busy_timeout(Duration::from_millis(1)).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, message) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Unavailable);
    assert!(matches!(fault, SqliteError::Busy), "{fault:?}");
    assert!(message.ends_with("try again"), "{message}");
    assert_nothing_stored(repository.connection());
    other.execute_batch("rollback").unwrap();
    repository.commit(plan.changes()).unwrap();
}

#[test]
fn a_locked_database_refuses_claims_and_inserts_but_not_reads() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    let receipt = request().accept(&mut repository).unwrap();
    let command = TestRequest::new("other", 50..60).command(&mut repository);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("begin immediate").unwrap();
    repository.connection().busy_timeout(Duration::from_millis(1)).unwrap();
    let claimed = repository.claim(LEASE).map(|_| ());
    for refused in [claimed, repository.insert(&command).map(|_| ())] {
        let error = refused.unwrap_err();
        let (kind, fault, _) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Unavailable);
        assert!(matches!(fault, SqliteError::Busy), "{fault:?}");
    }
    // Reads do not wait for the writer.
    let command_id = command.enrollment_id();
    assert_eq!(repository.find(command.organization_id(), command_id).unwrap(), None);
    other.execute_batch("rollback").unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    assert_eq!((claim.enrollment_id, claim.attempts), (receipt.enrollment_id, 0));
    assert_eq!(repository.insert(&command).unwrap(), None);
    // The setting is restored, also after a failed flush.
    assert_eq!(repository.connection().pragma_query_value(None, "synchronous", |row| row.get(0)), Ok(1));
}

#[test]
fn a_full_database_accepts_nothing_and_keeps_accepted_enrollments() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    let receipt = request().accept(&mut repository).unwrap();
    let pages: i64 = repository.connection().query_row("pragma page_count", [], |row| row.get(0)).unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    limit(&repository, pages);
    let accepted = TestRequest::new("other", 50..99).accept(&mut repository).map(|_| ());
    for refused in [accepted, process(&mut repository, claim, at(1)).map(|_| ())] {
        let error = repository_error(refused.unwrap_err());
        let (kind, fault, _) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Unavailable);
        assert!(matches!(fault, SqliteError::Full), "{fault:?}");
    }
    assert_eq!(count(repository.connection(), "enroll_enrollments where state = 'accepted'"), 1);
    assert_eq!(count(repository.connection(), "enroll_contacts"), 0);
    limit(&repository, pages + 1000);
    assert_eq!(process(&mut repository, claim, at(1)).unwrap().enrollment_id, receipt.enrollment_id);
}

#[test]
fn a_full_database_is_unavailable_and_stores_no_part_of_the_enrollment() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    let plan = TestRequest::new("large", 0..500).plan(&mut repository);
    let pages: i64 = repository.connection().query_row("pragma page_count", [], |row| row.get(0)).unwrap();
    limit(&repository, pages + 2);
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, message) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Unavailable);
    assert!(matches!(fault, SqliteError::Full), "{fault:?}");
    assert!(message.contains("make room"), "{message}");
    assert_nothing_stored(repository.connection());
    limit(&repository, pages + 1000);
    repository.commit(plan.changes()).unwrap();
}

fn limit(repository: &SqliteRepository, pages: i64) {
    let sql = format!("pragma max_page_count = {pages}");
    repository.connection().query_row(&sql, [], |_| Ok(())).unwrap();
}

#[test]
fn a_newer_schema_is_refused_at_open_and_at_commit() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    let plan = request().plan(&mut repository);
    Connection::open(&file).unwrap().execute_batch("update enroll_schema set version = 7").unwrap();
    let opened = SqliteRepository::open(&file).unwrap_err();
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, message) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Other);
    for error in [&opened, fault] {
        assert!(matches!(error, SqliteError::NewerSchema { found: 7, known: 1 }), "{error:?}");
    }
    assert_eq!(message, "the schema has version 7, but this build supports 1: use a newer `enroll-sqlite`");
    assert_nothing_stored(repository.connection());
}

#[test]
fn a_file_of_another_format_is_refused_and_not_changed() {
    let (_folder, file) = file();
    let text = "phone,email\n".repeat(1000);
    fs::write(&file, &text).unwrap();
    let error = SqliteRepository::open(&file).unwrap_err();
    assert!(matches!(error, SqliteError::NotADatabase), "{error:?}");
    assert!(error.to_string().contains("choose another file name"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_damaged_database_is_an_error_of_that_name() {
    let (_folder, file) = file();
    let repository = open_seeded(&file);
    request().enroll(&mut { repository }).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    // All but the first page, which holds the header.
    bytes[8192..].fill(0xff);
    fs::write(&file, bytes).unwrap();
    let error = SqliteRepository::open(&file).map(|mut repository| request().plan(&mut repository)).unwrap_err();
    assert!(matches!(error, SqliteError::Damaged(_)), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[test]
fn a_moved_deleted_or_replaced_file_refuses_reads_and_writes_until_it_is_back() {
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    request().accept(&mut repository).unwrap();
    let other = TestRequest::new("other", 50..60);
    let (command, plan) = (other.command(&mut repository), other.plan(&mut repository));
    let moved = file.with_extension("moved");
    fs::rename(&file, &moved).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::copy(&moved, &file).unwrap();
        }
        let results = [
            repository.reference_data(&command.snapshot_query().reference).map(drop),
            repository.load(&command.snapshot_query()).map(drop),
            repository.commit(plan.changes()),
            repository.insert(&command).map(drop),
            repository.find(command.organization_id(), command.enrollment_id()).map(drop),
            repository.claim(LEASE).map(drop),
            repository.read(|_| Ok(())),
            repository.write(|_| Ok(())),
        ];
        for (call, result) in results.into_iter().enumerate() {
            let error = result.unwrap_err();
            let (kind, fault, message) = sqlite_error(&error);
            assert_eq!(kind, RepositoryErrorKind::Unavailable, "{call}");
            assert!(matches!(fault, SqliteError::Moved), "{call}: {fault:?}");
            assert!(message.contains("put it back"), "{message}");
        }
    }
    fs::rename(&moved, &file).unwrap();
    assert_eq!(count(repository.connection(), "enroll_enrollments where attempts = 0"), 1);
    repository.commit(plan.changes()).unwrap();
}

#[test]
fn a_shared_file_is_never_created_again() {
    let (_folder, file) = file();
    let shared = SqliteFile::new(open_seeded(&file)).unwrap();
    let mut handle = shared.handle().unwrap();
    request().enroll(&mut handle).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(matches!(shared.handle(), Err(SqliteError::Moved)));
    assert!(matches!(SqliteRepository::open_existing(&file), Err(SqliteError::CannotOpen { path: Some(_) })));
    assert!(!file.exists());
    // The number of the deleted file is not given to the new one while it is shared.
    drop(handle);
    drop(SqliteRepository::open(&file).unwrap());
    assert!(matches!(shared.handle(), Err(SqliteError::Moved)));
}

#[test]
fn a_database_in_memory_cannot_be_shared() {
    let error = SqliteFile::new(support::in_memory()).unwrap_err();
    assert!(matches!(error, SqliteError::NoFile), "{error:?}");
}

#[cfg(unix)]
#[test]
fn a_new_file_and_its_companions_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, file) = file();
    let mut repository = open_seeded(&file);
    request().enroll(&mut repository).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }
    // The rollback journal of a host that leaves WAL mode.
    let connection = repository.connection();
    connection.query_row("pragma journal_mode = persist", [], |_| Ok(())).unwrap();
    connection.execute("update enroll_contacts set name = 'Ann'", []).unwrap();
    let journal = format!("{}-journal", file.display());
    assert_eq!(fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_uri_opens_existing_files_only() {
    let (folder, file) = file();
    let uri = format!("file:{}", file.display());
    assert!(matches!(SqliteRepository::open(&uri), Err(SqliteError::CannotOpen { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(open_seeded(&file));
    assert_eq!(count(SqliteRepository::open(&uri).unwrap().connection(), "enroll_sequences"), 1);
}

/// SQLite alone lets a writer wait by sleeping, and gives up at once without a busy timeout.
#[test]
fn writers_of_one_process_wait_for_their_turn_without_a_busy_timeout() {
    let (_folder, file) = file();
    let shared = SqliteFile::new(open_seeded(&file)).unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let mut repository = shared.handle().unwrap();
            repository.connection().busy_timeout(Duration::ZERO).unwrap();
            scope.spawn(move || {
                for n in 0..20 {
                    TestRequest::new(&format!("{writer}-{n}"), 0..1).accept(&mut repository).unwrap();
                }
            });
        }
    });
    assert_eq!(count(shared.handle().unwrap().connection(), "enroll_enrollments"), 160);
}

#[test]
fn a_missing_folder_is_named_in_the_error() {
    let (folder, _) = file();
    let file = folder.path().join("nowhere/enroll.db");
    let error = SqliteRepository::open(&file).unwrap_err();
    assert!(matches!(&error, SqliteError::CannotOpen { path: Some(path) } if *path == file), "{error:?}");
    assert!(error.to_string().contains("its folder exists"), "{error}");
}

/// A stored value may be a person's, also one in the wrong column.
#[test]
fn an_invalid_stored_value_is_named_by_its_column_and_not_shown() {
    for (set, place) in [
        ("state = '+12025550123'", "column `state` of `enroll_contacts`"),
        ("address = '{\"city\": 12025550123}'", "column `address` of `enroll_contacts`"),
        ("address = '{\"city\": \"+12025550123'", "column `address` of `enroll_contacts`"),
        ("birth_day = 12025550123", "column `birth_day` of `enroll_contacts`"),
    ] {
        let mut repository = support::in_memory();
        request().enroll(&mut repository).unwrap();
        let connection = repository.connection();
        connection.execute_batch("pragma ignore_check_constraints = on").unwrap();
        connection.execute_batch(&format!("update enroll_contacts set {set}")).unwrap();
        let request = TestRequest::new("again", 0..1);
        let error = repository_error(request.enroll(&mut repository).unwrap_err());
        let (kind, fault, message) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Other);
        assert!(matches!(fault, SqliteError::Row { .. }), "{fault:?}");
        assert_eq!(message, format!("{place} has a value that is not valid: correct it"));
        assert!(!format!("{error:?}").contains("2025550123"), "{error:?}");
        assert_eq!(count(repository.connection(), "enroll_enrollments"), 1);
    }
}

/// SQLite's own messages name tables, columns and constraints. Those that a trigger of the host causes may quote a row.
#[test]
fn an_error_of_sqlite_is_named_by_its_code_and_quotes_no_row() {
    for (host, shown) in [
        ("select json_extract('{}', new.phone)", "SQLite failed: SQL logic error, code 1"),
        (
            "insert into hosts (n) values (new.email)",
            "SQLite failed: cannot store TEXT value in INTEGER column hosts.n; constraint failed, code 3091",
        ),
        (
            "insert into hosts (phone) values (new.phone)",
            "SQLite failed: CHECK constraint failed: no_phones; constraint failed, code 275",
        ),
        (
            "insert into hosts (id) values (null)",
            "SQLite failed: NOT NULL constraint failed: hosts.id; constraint failed, code 1299",
        ),
        ("select raise(abort, 'closed')", "SQLite failed: constraint failed, code 1811"),
    ] {
        let mut repository = support::in_memory();
        let schema = format!(
            "create table hosts (id text not null default '', n integer, phone text constraint no_phones check (phone is null)) strict;
             create trigger hosts_trigger before insert on enroll_contacts begin {host}; end",
        );
        repository.connection().execute_batch(&schema).unwrap();
        let error = repository_error(request().enroll(&mut repository).unwrap_err());
        let (kind, fault, message) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Other);
        assert!(matches!(fault, SqliteError::Sqlite(_)), "{fault:?}");
        assert_eq!(message, shown);
        assert_nothing_stored(repository.connection());
    }
}
