//! Finds the sequence that a person named, by its id or its title.

use enroll::seed::Seed;
use enroll::{OrganizationId, SequenceId};
use uuid::Uuid;

use crate::Failure;
use crate::handles::{Handle, with_handle};
use crate::sql::{SequenceTitle, sequence_titles};

/// Returns the sequences of an organization in a database.
pub(crate) fn in_database(name: &str, organization_id: OrganizationId) -> Result<Vec<SequenceTitle>, Failure> {
    with_handle(name, async |handle: &mut Handle| sequence_titles(handle, organization_id).await)
}

/// Returns the sequences of an organization in a seed.
pub(crate) fn in_seed(seed: &Seed, organization_id: OrganizationId) -> Vec<SequenceTitle> {
    let rows = seed.sequences.iter();
    let rows = rows.filter(|row| row.organization_id.unwrap_or(seed.organization_id) == organization_id);
    rows.map(|row| SequenceTitle { id: row.row.id, title: row.row.title.to_string() }).collect()
}

/// Returns the sequence with an id, or the only one with a title. Case counts only if several titles differ by it alone.
pub(crate) fn find(wanted: &str, sequences: &[SequenceTitle]) -> Result<SequenceId, Failure> {
    let id = wanted.trim().parse::<Uuid>().ok().map(SequenceId::from_uuid);
    if let Some(found) = sequences.iter().find(|sequence| Some(sequence.id) == id) {
        return Ok(found.id);
    }
    let same_case = |sequence: &&SequenceTitle| sequence.title.trim() == wanted.trim();
    let any_case = |sequence: &&SequenceTitle| sequence.title.trim().to_lowercase() == wanted.trim().to_lowercase();
    let exact: Vec<_> = sequences.iter().filter(same_case).collect();
    let matching = if exact.is_empty() { sequences.iter().filter(any_case).collect() } else { exact };
    match matching[..] {
        [only] => Ok(only.id),
        [] => Err(Failure::new("--sequence", unknown(wanted, sequences))),
        _ => {
            let problem = format!(
                "{} sequences have the title `{}`; use the id of one of them: {}",
                matching.len(),
                wanted.trim(),
                listed(&matching)
            );
            Err(Failure::new("--sequence", problem))
        }
    }
}

fn unknown(wanted: &str, sequences: &[SequenceTitle]) -> String {
    let mut nearest: Vec<_> = sequences.iter().collect();
    let lower = wanted.trim().to_lowercase();
    let similarity = |sequence: &SequenceTitle| {
        let by_title = strsim::jaro_winkler(&sequence.title.to_lowercase(), &lower);
        by_title.max(strsim::jaro_winkler(&sequence.id.to_string(), &lower))
    };
    nearest.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
    let wanted = wanted.trim();
    if nearest.is_empty() {
        return format!("the organization has no sequence `{wanted}`, and no other one");
    }
    let (are, nearest) = (if nearest.len() == 1 { "is" } else { "are" }, listed(&nearest));
    format!("the organization has no sequence `{wanted}`; the nearest {are} {nearest}")
}

/// Lists the first five sequences.
fn listed(sequences: &[&SequenceTitle]) -> String {
    let mut list: Vec<String> = sequences.iter().take(LISTED).map(|s| format!("`{}` ({})", s.title, s.id)).collect();
    if sequences.len() > LISTED {
        list.push(format!("and {} more (`enroll sequences` lists them)", sequences.len() - LISTED));
    }
    list.join(", ")
}

const LISTED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_found_by_id_or_unique_title() {
        let titles = ["Welcome", "Follow up", "follow up", "Win-back", "Win-back"];
        let sequences: Vec<_> = (1..)
            .zip(titles)
            .map(|(n, title)| SequenceTitle { id: SequenceId::from_uuid(Uuid::from_u128(n)), title: title.into() })
            .collect();
        let found = |wanted: &str| find(wanted, &sequences).map(|id| id.as_uuid().as_u128());
        for (wanted, id) in [("Welcome", 1), (" welcome ", 1), ("follow up", 3), ("Follow up", 2)] {
            assert_eq!(found(wanted).unwrap(), id, "{wanted}");
        }
        assert_eq!(found("00000000-0000-0000-0000-000000000004").unwrap(), 4);
        let twice = found("win-back").unwrap_err().to_string();
        assert!(twice.starts_with("--sequence: 2 sequences have the title `win-back`; use the id"), "{twice}");
        assert!(twice.contains("000000000004), `Win-back` (00000000-0000-0000-0000-000000000005)"), "{twice}");
        assert!(found("FOLLOW UP").unwrap_err().to_string().contains("2 sequences"));
        let unknown = found("Welcom").unwrap_err().to_string();
        assert!(unknown.contains("has no sequence `Welcom`; the nearest are `Welcome` ("), "{unknown}");
        let other = found("00000000-0000-0000-0000-0000000000ff").unwrap_err().to_string();
        assert!(other.contains("has no sequence `00000000-0000-0000-0000-0000000000ff`"), "{other}");
        let only = find("x", &sequences[..1]).unwrap_err().to_string();
        assert!(only.contains("; the nearest is `Welcome` ("), "{only}");
        assert!(find("x", &[]).unwrap_err().to_string().contains("and no other one"));
    }
}
