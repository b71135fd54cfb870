//! The file of a SQLite database under a running service: moved, deleted, replaced, read-only, and its mode.

mod support;

use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::service::{ACTIVE, Service, id};
use support::{Folder, path};

#[test]
fn a_moved_deleted_or_replaced_file_gives_503_until_it_is_back() {
    let service = Service::on_sqlite("moved", &["--workers", "1"]);
    let body = json!({"to": [{"phone": "+12025550187"}]});
    let before = service.enroll(&body, &[("Idempotency-Key", "before")]).accepted();
    service.wait_for(&before);
    assert_eq!(service.get("/readyz").status, 200);

    let file = PathBuf::from(&service.database);
    let moved = with_suffix(&file, ".moved");
    fs::rename(&file, &moved).unwrap();
    for replaced in [false, true] {
        if replaced {
            // A valid database with the same organizations and keys.
            fs::copy(&moved, &file).unwrap();
        }
        // More calls than handles: each handle that was open notices it.
        for call in 0..10 {
            let rejected = service.enroll(&body, &[("Idempotency-Key", "during")]);
            rejected.assert_error(503, "unavailable", "");
            assert!(rejected.retry_after.is_some(), "{call}: {rejected:?}");
            service.get("/v1/contacts").assert_error(503, "unavailable", "");
            service.get(&format!("/v1/enrollments/{before}")).assert_error(503, "unavailable", "");
            service.post(&format!("/v1/sequences/{ACTIVE}/contacts?preview=true"), body.to_string(), &[]).assert_error(
                503,
                "unavailable",
                "",
            );
            service.get("/readyz").assert_error(503, "unavailable", "");
        }
        assert_eq!(service.get("/healthz").status, 200);
        assert_eq!(file.exists(), replaced, "no handle creates the file");
    }

    fs::rename(&moved, &file).unwrap();
    assert_eq!(service.get("/readyz").status, 200);
    let during = service.enroll(&body, &[("Idempotency-Key", "during")]).accepted();
    assert_eq!(service.wait_for(&during)["counts"]["reprocessed"], 1);
}

/// Each worker keeps its handle, and the service two: while they are open, no new file gets the number of the old one. SQLite
/// closes the descriptors of the file with the last handle, but each handle closes its descriptor of the log itself.
#[cfg(target_os = "linux")]
#[test]
fn idle_handles_on_a_replaced_file_are_closed() {
    for workers in [0, 1] {
        let service = Service::on_sqlite("replaced", &["--workers", &workers.to_string(), "--retain-failed", "never"]);
        let file = PathBuf::from(&service.database);
        // Requests at the same time, so that the pool has several idle handles.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| assert_eq!(service.get("/v1/contacts").status, 200)));
            }
        });
        assert_eq!(service.get("/readyz").status, 200);
        let copy = with_suffix(&file, ".copy");
        fs::copy(&file, &copy).unwrap();
        fs::rename(&copy, &file).unwrap();
        // The kernel marks a file that has no name.
        let (deleted, log) = (with_suffix(&file, " (deleted)"), with_suffix(&file, "-wal"));
        let open = |path: &Path| service.open_files().iter().filter(|open| *open == path).count();
        let kept = 2 + workers;
        assert!(open(&deleted) > kept && open(&log) > kept, "{:?}", service.open_files());

        service.get("/readyz").assert_error(503, "unavailable", "");
        service.get("/v1/contacts").assert_error(503, "unavailable", "");
        assert_eq!(open(&log), kept, "{:?}", service.open_files());
        assert_eq!(open(&file), 0, "nothing is answered from two files: {:?}", service.open_files());
    }
}

#[test]
fn a_read_only_database_is_read_and_gives_503_for_writes() {
    let mut service = Service::on_sqlite("read-only", &["--workers", "1"]);
    service.database = format!("file:{}?mode=ro", service.database);
    service.kill_and_restart(&["--workers", "1"]);
    let body = json!({"to": [{"phone": "+12025550187"}]});
    let rejected = service.enroll(&body, &[]);
    rejected.assert_error(503, "unavailable", "");
    assert!(rejected.retry_after.is_some(), "{rejected:?}");
    assert_eq!(service.get("/v1/contacts").status, 200);
    assert_eq!(service.get("/healthz").status, 200);
}

/// The database is on a file system of 4 MiB.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_gives_503_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("full-disk") else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    let database = path(&disk.0.0.join("enroll.db")).to_owned();
    let service = Service::on_database("full-disk", database, &["--workers", "1"]);
    let body = json!({"to": [{"phone": "+12025550187"}]});
    assert_eq!(service.get("/readyz").status, 200);

    let filler = disk.0.0.join("filler");
    let mut full = fs::File::create(&filler).unwrap();
    while full.write_all(&[0; 4096]).is_ok() {}
    // The files of the database may have some room left in their last page.
    let not_ready = (0..100).any(|_| service.get("/readyz").status == 503);
    assert!(not_ready, "the check does not notice the full disk");
    service.enroll(&body, &[("Idempotency-Key", "full")]).assert_error(503, "unavailable", "");
    assert_eq!(service.get("/v1/contacts").status, 200);

    fs::remove_file(&filler).unwrap();
    drop(full);
    assert_eq!(service.get("/readyz").status, 200);
    let accepted = service.enroll(&body, &[("Idempotency-Key", "full")]).accepted();
    assert_eq!(service.wait_for(&accepted)["counts"]["added"], 1);
}

/// A small file system in a temporary folder.
#[cfg(target_os = "linux")]
struct SmallDisk(Folder);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(name: &str) -> Option<Self> {
        let folder = Folder::new(name);
        let disk = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
        let mounted = Command::new("mount").args(disk).arg(&folder.0).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The service may still have open files there.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0.0).status().unwrap();
        assert!(unmounted.success());
    }
}

#[cfg(unix)]
#[test]
fn a_new_database_and_its_companions_are_private_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("http-private");
    let (seed, file) =
        (folder.file("third.json", &json!({"organization_id": id(3)}).to_string()), folder.0.join("enroll.db"));
    let created = Command::new("sh")
        .args(["-c", "umask 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_enroll"), "seed", path(&seed)])
        .args(["--database", path(&file)])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let service = Service::on_database("private-service", path(&file).to_owned(), &[]);
    service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(&file, suffix);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
