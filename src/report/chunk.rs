//! The outcomes of a report in chunks, as a repository can store them.

use serde::{Deserialize, Serialize};

use super::{Disposition, Outcome, Outcomes};
use crate::text::Text;

/// Adjacent outcomes of a report, with their counts.
///
/// A repository that stores chunks reads only those that a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutcomeChunk<'r> {
    /// The outcomes.
    pub outcomes: &'r [Outcome],
    /// Their counts, one for each disposition and list of reasons that occurs.
    pub counts: Vec<OutcomeCount>,
}

/// The number of outcomes with a disposition and a list of reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutcomeCount {
    /// The disposition.
    pub disposition: Disposition,
    /// The codes of the reasons, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Text>,
    /// The number of outcomes that have both.
    pub count: usize,
}

impl Outcomes {
    /// Returns the outcomes in chunks of [`OutcomeChunk::LENGTH`], in order. The last one can be shorter.
    pub fn to_chunks(&self) -> impl ExactSizeIterator<Item = OutcomeChunk<'_>> {
        self.chunks(OutcomeChunk::LENGTH).map(OutcomeChunk::new)
    }
}

impl<'r> OutcomeChunk<'r> {
    /// The number of outcomes in a chunk: the default page of the HTTP API.
    pub const LENGTH: usize = 50;

    fn new(outcomes: &'r [Outcome]) -> Self {
        let mut counts: Vec<OutcomeCount> = Vec::new();
        for outcome in outcomes {
            match counts.iter_mut().find(|count| count.covers(outcome)) {
                Some(count) => count.count += 1,
                None => counts.push(OutcomeCount::of(outcome)),
            }
        }
        Self { outcomes, counts }
    }

    /// Returns the indexes of the first and the last outcome.
    #[must_use]
    pub fn range(&self) -> (usize, usize) {
        let index = |outcome: Option<&Outcome>| outcome.map_or(0, |outcome| outcome.index);
        (index(self.outcomes.first()), index(self.outcomes.last()))
    }
}

impl OutcomeCount {
    fn of(outcome: &Outcome) -> Self {
        let reasons = outcome.reasons.iter().map(|reason| reason.code().into()).collect();
        Self { disposition: outcome.disposition, reasons, count: 1 }
    }

    fn covers(&self, outcome: &Outcome) -> bool {
        let codes = outcome.reasons.iter().map(super::Reason::code);
        self.disposition == outcome.disposition && self.reasons.iter().map(Text::as_str).eq(codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Reason;

    #[test]
    fn a_chunk_counts_each_disposition_with_its_reasons() {
        let length = OutcomeChunk::LENGTH;
        let outcomes: Outcomes = (0..length + 2)
            .map(|index| {
                let mut outcome = Outcome::new(index, Disposition::Added);
                if index < 3 {
                    outcome.disposition = Disposition::Ignored;
                    outcome.reasons = vec![Reason::MissingPhone, Reason::Blocked];
                    outcome.reasons.truncate(2 - index % 2);
                }
                outcome
            })
            .collect();
        let chunks: Vec<OutcomeChunk<'_>> = outcomes.to_chunks().collect();
        let ranges: Vec<_> = chunks.iter().map(OutcomeChunk::range).collect();
        assert_eq!(ranges, [(0, length - 1), (length, length + 1)]);
        let count = |disposition, reasons: &[&str], count| OutcomeCount {
            disposition,
            reasons: reasons.iter().map(|code| Text::from(*code)).collect(),
            count,
        };
        let first = [
            count(Disposition::Ignored, &["missing_phone", "blocked"], 2),
            count(Disposition::Ignored, &["missing_phone"], 1),
            count(Disposition::Added, &[], length - 3),
        ];
        assert_eq!(chunks[0].counts, first);
        assert_eq!(chunks[1].counts, [count(Disposition::Added, &[], 2)]);
        let json = serde_json::to_string(&chunks[1].counts).unwrap();
        assert_eq!(json, r#"[{"disposition":"added","count":2}]"#);
        assert_eq!(serde_json::from_str::<Vec<OutcomeCount>>(&json).unwrap(), chunks[1].counts);
    }
}
