//! `enroll seed`: loads the rows of a file into a database.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use uuid::Uuid;

use enroll::seed::{HostRow, HostWrite, Seed};
use enroll::{EnrollmentPolicy, OrganizationId};

use crate::args::SeedArgs;
use crate::database::Database;
use crate::{Failure, input, print_to_stderr, print_to_stdout};

pub(crate) fn run(args: &SeedArgs) -> Result<ExitCode, Failure> {
    let seed = input::seed(&args.seed)?.seed;
    let mut database = Database::open_or_create(&Database::resolve_name(args.database.as_deref())?)?;
    if let Err(failure) = database.load_seed(&seed) {
        // The database reports the name of a constraint. Compare with the stored rows to report the row.
        let conflict = database.dump(seed.organization_id).ok().and_then(|stored| conflict(&seed, stored));
        return Err(match conflict {
            Some(row) => {
                let problem = format!("{row} already exists in {}; nothing was written", database.name());
                Failure::new(input::name(&args.seed), problem)
            }
            None => failure.with_hint("nothing was written"),
        });
    }
    if seed.policy != EnrollmentPolicy::default() {
        print_to_stderr(
            "note: a database stores no policy, so the policy of the seed is not used; use `enroll run --policy POLICY.json`",
        );
    }
    print_to_stdout(&format!("loaded into {}:\n{}", database.name(), row_counts(&seed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the first row of a seed that conflicts with a stored row.
fn conflict(seed: &Seed, mut stored: Seed) -> Option<String> {
    let existing: HashSet<_> = stored.inserts().iter().map(row_key).collect();
    if let Some(row) = seed.inserts().iter().map(row_key).find(|key| existing.contains(key)) {
        let RowKey { kind, ids, .. } = row;
        let ids: Vec<String> = ids.into_iter().flatten().map(|id| format!("`{id}`")).collect();
        return Some(format!("{kind} {}", ids.join(" of ")));
    }
    // No id exists, so a row has a unique key of another row. Add the rows to the stored ones, and check these.
    macro_rules! append_rows {
        ($($list:ident),*) => {{
            let before = [$((concat!("/", stringify!($list), "/"), stored.$list.len())),*];
            $(stored.$list.extend(seed.$list.iter().cloned().map(|mut row| {
                row.organization_id.get_or_insert(seed.organization_id);
                row
            }));)*
            before
        }};
    }
    let before = append_rows!(
        channels,
        contacts,
        communication_preferences,
        conversations,
        step_contacts,
        contact_tags,
        custom_records
    );
    let invalid = stored.check_unique().err()?;
    before.into_iter().find_map(|(list, before)| {
        let (index, field) = invalid.path.strip_prefix(list)?.split_once('/')?;
        let index = index.parse::<usize>().ok()?.checked_sub(before)?;
        Some(format!("#{list}{index}/{field}: {}; the other row", invalid.message))
    })
}

/// The identity of a row.
#[derive(PartialEq, Eq, Hash)]
struct RowKey {
    organization_id: OrganizationId,
    kind: &'static str,
    ids: [Option<Uuid>; 2],
}

fn row_key(write: &HostWrite) -> RowKey {
    let (kind, ids) = match &write.row {
        HostRow::Channel(row) => ("channel", [Some(row.id.as_uuid()), None]),
        HostRow::Sequence(row) => ("sequence", [Some(row.id.as_uuid()), None]),
        HostRow::Step { sequence_id, step } => ("step", [Some(step.id.as_uuid()), Some(sequence_id.as_uuid())]),
        HostRow::CallFlow(row) => ("call flow", [Some(row.id.as_uuid()), None]),
        HostRow::CustomObject(row) => ("custom object", [Some(row.id.as_uuid()), None]),
        HostRow::Tag(row) => ("tag", [Some(row.id.as_uuid()), None]),
        HostRow::Contact(row) => ("contact", [Some(row.id.as_uuid()), None]),
        HostRow::CommunicationPreference(row) => {
            ("communication preference", [Some(row.channel_id.as_uuid()), Some(row.contact_id.as_uuid())])
        }
        HostRow::Conversation(row) => ("conversation", [Some(row.id.as_uuid()), None]),
        HostRow::Run(row) => ("run", [Some(row.id.as_uuid()), None]),
        HostRow::StepContact(row) => ("step contact", [Some(row.id.as_uuid()), None]),
        HostRow::ContactTag(row) => ("contact tag", [Some(row.tag_id.as_uuid()), Some(row.contact_id.as_uuid())]),
        HostRow::CustomRecord(row) => ("custom record", [Some(row.id.as_uuid()), None]),
    };
    RowKey { organization_id: write.organization_id, kind, ids }
}

/// Returns a line with the number of rows of each kind.
fn row_counts(seed: &Seed) -> String {
    let steps = seed.sequences.iter().map(|row| row.row.steps.len()).sum();
    let mut text = String::new();
    for (count, one, many) in [
        (seed.organization_ids().len(), "organization", "organizations"),
        (seed.channels.len(), "channel", "channels"),
        (seed.call_flows.len(), "call flow", "call flows"),
        (seed.custom_objects.len(), "custom object", "custom objects"),
        (seed.sequences.len(), "sequence", "sequences"),
        (steps, "step", "steps"),
        (seed.tags.len(), "tag", "tags"),
        (seed.contacts.len(), "contact", "contacts"),
        (seed.communication_preferences.len(), "communication preference", "communication preferences"),
        (seed.conversations.len(), "conversation", "conversations"),
        (seed.runs.len(), "run", "runs"),
        (seed.step_contacts.len(), "step contact", "step contacts"),
        (seed.contact_tags.len(), "contact tag", "contact tags"),
        (seed.custom_records.len(), "custom record", "custom records"),
    ] {
        if count > 0 {
            let _infallible = writeln!(text, "{count:>7} {}", if count == 1 { one } else { many });
        }
    }
    text
}
