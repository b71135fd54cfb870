//! Prints the peak memory of one enrollment in a new process: `peak sqlite|postgres enroll|rows|batched new|mixed`.

use enroll::EnrollmentRequest;
use enroll::contact::{PhoneNumber, Region};
use enroll_bench::people::{self, Scene};
use enroll_rivals::Error;
use enroll_rivals::arena::{Contender, PostgresArena, SqliteArena};
use std::fs;
use std::hint::black_box;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, contender, body] = &arguments[..] else { return Err(USAGE.into()) };
    let chosen = match contender.as_str() {
        "enroll" => Contender::Enroll,
        "rows" => Contender::Rows,
        "batched" => Contender::Batched,
        _ => return Err(USAGE.into()),
    };
    let (scene, sent) = match body.as_str() {
        "new" => (Scene::empty(), people::strangers(0..4000)),
        "mixed" => (Scene::demo(), Scene::demo().mixed(4000)),
        _ => return Err(USAGE.into()),
    };
    warm_phones(&sent);
    let (before, peak) = match database.as_str() {
        "sqlite" => {
            let arena = SqliteArena::new(&scene, 0)?;
            let mut store = arena.store(chosen)?;
            measured(|| store.enroll("run", &sent).map(drop))?
        }
        "postgres" => {
            let arena = PostgresArena::new(&scene, 0)?;
            let mut store = arena.store(chosen)?;
            measured(|| store.enroll("run", &sent).map(drop))?
        }
        _ => return Err(USAGE.into()),
    };
    println!("{database}, {contender}, 4000 {body}: {} KiB above {before} KiB", peak.saturating_sub(before));
    Ok(())
}

/// Returns the resident memory before the run, and its peak during the run, in KiB.
fn measured(run: impl FnOnce() -> Result<(), Error>) -> Result<(u64, u64), Error> {
    // Sets the peak (`VmHWM`) to the current value.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = status("VmRSS:")?;
    run()?;
    Ok((before, status("VmHWM:")?))
}

fn status(field: &str) -> Result<u64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).ok_or("`/proc/self/status` has no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Parses all phones once. The phone crate compiles a pattern at its first use and keeps it.
fn warm_phones(body: &[u8]) {
    let region = Region::new("US").ok();
    for entry in EnrollmentRequest::from_json(body).to {
        let phone = entry.phone.unwrap_or_default();
        let _ = black_box(PhoneNumber::parse(&phone, region.as_ref()));
    }
}

const USAGE: &str = "peak sqlite|postgres enroll|rows|batched new|mixed";
