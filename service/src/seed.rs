//! `enroll seed`: a world of a file into a database.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use uuid::Uuid;

use enroll::seed::{HostRow, HostWrite, Seed};
use enroll::{EnrollmentPolicy, OrganizationId};

use crate::args::SeedArgs;
use crate::database::Database;
use crate::{Failure, input, out, tell};

pub(crate) fn run(args: &SeedArgs) -> Result<ExitCode, Failure> {
    let given = input::seed(&args.seed)?.given;
    let mut database = Database::open_or_make(&Database::named(args.database.as_deref())?)?;
    if let Err(failure) = database.seed(&given) {
        // Nothing was written; why, is easier to tell from what stands than from a constraint's name.
        let clash = database.dump(given.organization_id).ok().and_then(|stands| clash(&given, stands));
        return Err(match clash {
            Some(row) => {
                let what = format!("{row} stands in {} already: nothing was written", database.name());
                Failure::new(input::name(&args.seed), what)
            }
            None => failure.and("nothing was written"),
        });
    }
    if given.policy != EnrollmentPolicy::default() {
        tell(
            "note: a database stores no policy, so the seed's is left out; `enroll run --policy POLICY.json` takes it",
        );
    }
    out(&format!("loaded into {}:\n{}", database.name(), loaded(&given)))?;
    Ok(ExitCode::SUCCESS)
}

/// The first row of a seed that cannot be put beside what stands.
fn clash(given: &Seed, mut stands: Seed) -> Option<String> {
    let standing: HashSet<_> = stands.inserts().iter().map(key).collect();
    if let Some(twice) = given.inserts().iter().map(key).find(|key| standing.contains(key)) {
        let Key { what, ids, .. } = twice;
        let ids: Vec<String> = ids.into_iter().flatten().map(|id| format!("`{id}`")).collect();
        return Some(format!("{what} {}", ids.join(" of ")));
    }
    // None under its id, so one that says the same as another.
    macro_rules! beside {
        ($($list:ident),*) => {{
            let before = [$((concat!("/", stringify!($list), "/"), stands.$list.len())),*];
            $(stands.$list.extend(given.$list.iter().cloned().map(|mut row| {
                row.organization_id.get_or_insert(given.organization_id);
                row
            }));)*
            before
        }};
    }
    let before = beside!(
        channels,
        contacts,
        communication_preferences,
        conversations,
        step_contacts,
        contact_tags,
        custom_records
    );
    let invalid = stands.check_unique().err()?;
    before.into_iter().find_map(|(list, before)| {
        let (index, field) = invalid.path.strip_prefix(list)?.split_once('/')?;
        let index = index.parse::<usize>().ok()?.checked_sub(before)?;
        Some(format!("#{list}{index}/{field}: {}; it", invalid.message))
    })
}

/// By what a row is known.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    organization_id: OrganizationId,
    what: &'static str,
    ids: [Option<Uuid>; 2],
}

fn key(write: &HostWrite) -> Key {
    let (what, ids) = match &write.row {
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
    Key { organization_id: write.organization_id, what, ids }
}

/// How many rows of each table, in words.
fn loaded(given: &Seed) -> String {
    let steps = given.sequences.iter().map(|row| row.row.steps.len()).sum();
    let organizations: HashSet<OrganizationId> =
        given.inserts().iter().map(|insert| insert.organization_id).chain([given.organization_id]).collect();
    let mut text = String::new();
    for (count, one, many) in [
        (organizations.len(), "organization", "organizations"),
        (given.channels.len(), "channel", "channels"),
        (given.call_flows.len(), "call flow", "call flows"),
        (given.custom_objects.len(), "custom object", "custom objects"),
        (given.sequences.len(), "sequence", "sequences"),
        (steps, "step", "steps"),
        (given.tags.len(), "tag", "tags"),
        (given.contacts.len(), "contact", "contacts"),
        (given.communication_preferences.len(), "communication preference", "communication preferences"),
        (given.conversations.len(), "conversation", "conversations"),
        (given.runs.len(), "run", "runs"),
        (given.step_contacts.len(), "step contact", "step contacts"),
        (given.contact_tags.len(), "contact tag", "contact tags"),
        (given.custom_records.len(), "custom record", "custom records"),
    ] {
        if count > 0 {
            let _infallible = writeln!(text, "{count:>7} {}", if count == 1 { one } else { many });
        }
    }
    text
}
