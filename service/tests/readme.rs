//! The README of the service names each option and each route.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;

use support::{enroll, text};

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_has_each_option_of_serve() {
    let help = text(&enroll(&["serve", "--help"], &[]));
    let options: BTreeSet<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    let options = options.into_iter().filter(|option| *option != "--help");
    let missing: Vec<_> = options.filter(|option| !README.contains(&format!("`{option}"))).collect();
    assert!(README.contains("`--database") && missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readme_has_each_route() {
    let openapi: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
    let paths = openapi["paths"].as_object().unwrap().keys();
    // Some rows of the table have the end of the path only.
    let is_named = |path: &str| {
        let short = path.rfind('/').map_or(path, |at| &path[at..]);
        [path, short].iter().any(|path| README.contains(&format!("{path}`")) || README.contains(&format!("{path}?")))
    };
    let missing: Vec<_> = paths.filter(|path| !is_named(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
