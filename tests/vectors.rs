//! The test vectors in `tests/vectors/`, which any implementation can run.
#![cfg(feature = "testing")]
#![expect(clippy::disallowed_methods, reason = "a test reads files")]

use std::collections::BTreeMap;
use std::path::Path;

use enroll::contact::{Libphonenumber, PhoneNormalizer};
use enroll::vectors::{Vector, run};

fn vectors() -> BTreeMap<String, Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut vectors = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let vector = Vector::from_json(&std::fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        vectors.insert(name, vector);
    }
    vectors
}

fn differing(phones: &dyn PhoneNormalizer) -> BTreeMap<String, String> {
    let run = |(name, vector): (String, Vector)| run(&vector, phones).err().map(|e| (name, e.to_string()));
    vectors().into_iter().filter_map(run).collect()
}

#[test]
fn every_vector_holds() {
    let differing = differing(&Libphonenumber);
    let told: Vec<String> = differing.iter().map(|(name, difference)| format!("{name}: {difference}")).collect();
    assert!(told.is_empty(), "{} differ:\n{}", told.len(), told.join("\n"));
}

#[test]
fn there_are_many_and_each_says_what_it_is_of() {
    let vectors = vectors();
    assert!(vectors.len() >= 300, "{}", vectors.len());
    let mut names: Vec<&str> = vectors.values().map(|vector| vector.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), vectors.len(), "two vectors have one name");
    assert!(vectors.values().all(|vector| !vector.rule.trim().is_empty()));
}

/// Every one of the situations that broke other systems, but those that are no matter of one repository in memory.
#[test]
fn every_situation_has_a_vector_or_says_why_not() {
    let elsewhere = [
        (7, "a storage that refuses: `every_fact_behind_a_write_is_guarded` in tests/properties.rs"),
        (8, "a storage that refuses: the tests in src/changes/apply.rs"),
        (10, "a crash: `a_lost_commit_is_done_once_by_the_retry` in tests/properties.rs"),
        (22, "a preview: `a_preview_is_the_enrollment_without_the_commit` in tests/properties.rs"),
        (23, "a race: invariant 10 in tests/properties.rs"),
    ];
    let vectors = vectors();
    for situation in 1..=25 {
        let has = vectors.keys().any(|name| name.starts_with(&format!("situation-{situation:02}")));
        let excused = elsewhere.iter().any(|(n, _)| *n == situation);
        assert!(has || excused, "situation {situation} has no vector");
    }
}

/// The vectors that the `phonenumber` crate answers otherwise than Google's libphonenumber.
#[cfg(feature = "phonenumber")]
const PHONENUMBER_DIFFERS: &[&str] = &["situation-24-leading-zero"];

#[cfg(feature = "phonenumber")]
#[test]
fn the_phonenumber_crate_differs_where_it_is_known_to() {
    let differing = differing(&enroll::contact::PhonenumberCrate);
    let names: Vec<&str> = differing.keys().map(String::as_str).collect();
    assert_eq!(names, PHONENUMBER_DIFFERS, "{differing:#?}");
}
