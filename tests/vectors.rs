//! Runs the test vectors in `tests/vectors/` in memory.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;

use enroll::contact::{Libphonenumber, PhoneNormalizer};
use enroll::vectors::{Vector, run};

fn vectors() -> BTreeMap<String, Vector> {
    enroll::testing::read_vectors(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")).unwrap()
}

fn failures(phones: &dyn PhoneNormalizer) -> BTreeMap<String, String> {
    let run = |(name, vector): (String, Vector)| run(&vector, phones).err().map(|e| (name, e.to_string()));
    vectors().into_iter().filter_map(run).collect()
}

#[test]
fn every_vector_passes_in_memory() {
    let failures: Vec<String> =
        failures(&Libphonenumber).iter().map(|(name, difference)| format!("{name}: {difference}")).collect();
    assert!(failures.is_empty(), "{} vectors fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_vector_has_its_own_name_and_the_section_of_its_folder() {
    let vectors = vectors();
    assert!(vectors.len() >= 480, "{} vectors, expected at least 480", vectors.len());
    let mut names: Vec<&str> = vectors.values().map(|vector| vector.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), vectors.len(), "two vectors have the same name");
    for (path, vector) in &vectors {
        let (folder, _) = path.split_once('/').unwrap_or_else(|| panic!("{path} is not in a folder"));
        let section = folder.split('-').next().unwrap();
        let in_rule = vector.rule.split([' ', ',']).any(|cited| cited == section);
        assert!(folder == "situations" || in_rule, "the rule `{}` of {path} does not cite {section}", vector.rule);
    }
}

/// `tests/vectors/README.md` lists the situations.
#[test]
fn every_situation_has_a_vector_or_another_test() {
    let other_tests = [
        (7, "a failing storage: `every_fact_behind_a_write_is_guarded` in tests/properties.rs"),
        (8, "a failing storage: the tests in src/changes/apply.rs"),
        (10, "a crash: `a_lost_commit_is_done_once_by_the_retry` in tests/properties.rs"),
        (22, "a preview: `a_preview_is_the_enrollment_without_the_commit` in tests/properties.rs"),
        (23, "a race: invariant 10 in tests/properties.rs"),
    ];
    let vectors = vectors();
    for situation in 1..=25 {
        let has_vector = vectors.keys().any(|name| name.starts_with(&format!("situations/{situation:02}-")));
        let has_test = other_tests.iter().any(|(n, _)| *n == situation);
        assert!(has_vector || has_test, "situation {situation} has no vector");
    }
}

/// The vectors for which the `phonenumber` crate returns another result than Google's libphonenumber.
#[cfg(feature = "phonenumber")]
const PHONENUMBER_DIFFERS: &[&str] = &["4.1-normalize/phone-text-ambiguous", "situations/24-leading-zero"];

#[cfg(feature = "phonenumber")]
#[test]
fn the_phonenumber_crate_differs_only_for_known_vectors() {
    let failures = failures(&enroll::contact::PhonenumberCrate);
    let names: Vec<&str> = failures.keys().map(String::as_str).collect();
    assert_eq!(names, PHONENUMBER_DIFFERS, "{failures:#?}");
}
