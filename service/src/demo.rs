//! `enroll demo`: a made-up organization and 4000 made-up recipients, in memory or in a database.

use std::path::Path;
use std::process::ExitCode;

use enroll::seed::Seed;
use enroll::{EnrollmentId, SequenceId};
use enroll_demo::{Demo, DemoRun, second_run};
use uuid::Uuid;

use crate::args::DemoArgs;
use crate::database::Database;
use crate::run::with_counts;
use crate::{Failure, print_to_stdout};

pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let demo = new_demo()?;
    if let Some(folder) = &args.write {
        return write(folder, &demo);
    }
    let (done, more) = match &args.database {
        Some(name) => in_database(&demo, name)?,
        None => {
            let (first, second) = demo.enroll_twice_in_memory().map_err(|e| Failure::from_error("demo", &*e))?;
            (first, second_run(&second))
        }
    };
    if args.json {
        print_to_stdout(&format!("{:#}\n", with_counts(&done.report)))?;
    } else {
        print_to_stdout(&(demo.text(&done, args.all) + &more))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the demo organization, and the sequence of the demo request.
pub(crate) fn organization() -> Result<(Seed, SequenceId), Failure> {
    new_demo().map(|demo| (demo.seed, demo.sequence_id))
}

fn new_demo() -> Result<Demo, Failure> {
    Demo::new().map_err(|e| Failure::from_error("demo", &*e))
}

/// Enrolls in a database. If the organization is in it already, its rows stay: known contacts are reprocessed.
fn in_database(demo: &Demo, name: &str) -> Result<(DemoRun, String), Failure> {
    let mut database = Database::open_or_create(name)?;
    let known = database.organizations()?.contains(&demo.seed.organization_id);
    if !known {
        database.load_seed(&demo.seed)?;
    }
    let id = EnrollmentId::from_uuid(Uuid::now_v7());
    let done = demo.enroll(&mut database.inbox(), id);
    let done = done.map_err(|e| Failure::from_error(database.name(), &*e))?;
    let how = if known { "into the organization that it already had" } else { "into a new organization" };
    Ok((done, format!("in `{}`, {how}; enrollment `{id}`\n", database.name())))
}

fn write(folder: &Path, demo: &Demo) -> Result<ExitCode, Failure> {
    let seed = serde_json::to_vec_pretty(&demo.seed).map_err(|e| Failure::from_error("demo", &e))?;
    std::fs::create_dir_all(folder).map_err(|e| Failure::from_error(folder.display(), &e))?;
    for (name, bytes) in [("seed.json", &*seed), ("request.json", &*demo.request), ("list.csv", SAMPLE_LIST)] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| Failure::from_error(path.display(), &e))?;
    }
    let folder = folder.display();
    print_to_stdout(&format!(
        "wrote {folder}/seed.json, {folder}/request.json and {folder}/list.csv; now a dry run:\n  enroll run --seed {folder}/seed.json \
         --sequence {0} --request {folder}/request.json\nor in a database:\n  enroll seed {folder}/seed.json\n  \
         enroll run --sequence {0} --request {folder}/request.json\nor a list in that database:\n  \
         enroll run --sequence {0} --list {folder}/list.csv --column \"Unsubscribed=opted_out\" --preview\n",
        demo.sequence_id
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The list that the page offers as a sample too.
const SAMPLE_LIST: &[u8] = include_bytes!("http/page/sample.csv");
