//! Query parameters: what is wrong with them is told all at once.

use axum::http::StatusCode;
use enroll::StepId;

use super::errors::{ApiError, ErrorItem};
use crate::read::Window;

/// The parameters of a request. Unknown ones are ignored, and so is a blank text; of one that is given twice and takes
/// one value the last counts.
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<ErrorItem>,
}

impl Parameters {
    pub(crate) fn of(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut faults = Vec::new();
        let mut kept = Vec::new();
        for (name, value) in pairs {
            if value.contains('\0') {
                let what = "U+0000 is in no text".to_owned();
                faults.push(ErrorItem::new("invalid_character", format!("?{}", name.replace('\0', "")), what));
            } else {
                kept.push((name.into_owned(), value.into_owned()));
            }
        }
        Self { pairs: kept, faults }
    }

    /// A text, unless it is blank.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.one(name).filter(|text| !text.trim().is_empty())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Which part of a list is asked for.
    pub(crate) fn window(&mut self) -> Window {
        let limit = self.number("limit", 1, MOST).unwrap_or(USUAL);
        Window { limit, offset: self.number("offset", 0, u32::MAX).unwrap_or(0) }
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.one(name) {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => {
                self.invalid(name, "must be `true` or `false`".to_owned());
                false
            }
        }
    }

    /// Words that are each one of these: separated by commas, or given more than once.
    pub(crate) fn words(&mut self, name: &str, known: &[&str]) -> Vec<String> {
        let mut words = self.list(name);
        words.sort();
        words.dedup();
        if words.iter().any(|word| !known.contains(&&**word)) {
            self.invalid(name, format!("must be of `{}`", known.join("`, `")));
        }
        words
    }

    pub(crate) fn step_ids(&mut self, name: &str) -> Vec<StepId> {
        let words = self.list(name);
        if words.len() > MOST_IDS {
            self.invalid(name, format!("must be at most {MOST_IDS} ids"));
            return Vec::new();
        }
        let ids: Result<Vec<StepId>, _> = words.iter().map(|word| word.parse()).collect();
        ids.unwrap_or_else(|_| {
            self.invalid(name, "must be uuids".to_owned());
            Vec::new()
        })
    }

    /// Refuses whatever was wrong.
    pub(crate) fn checked(self) -> Result<(), ApiError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::all(StatusCode::UNPROCESSABLE_ENTITY, self.faults))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let given = self.pairs.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(','));
        given.map(|word| word.trim().to_owned()).collect()
    }

    fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let number = self.one(name)?.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.invalid(name, format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    fn invalid(&mut self, name: &str, what: String) {
        self.faults.push(ErrorItem::new("invalid_parameter", format!("?{name}"), what));
    }
}

/// How many are listed unless the caller says.
const USUAL: u32 = 50;
const MOST: u32 = 500;
const MOST_IDS: usize = 100;
