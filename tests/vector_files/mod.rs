//! Reads the test vectors. The adapters' tests include this file too.

use std::collections::BTreeMap;
use std::path::Path;

use enroll::vectors::Vector;

/// Returns the vectors in a folder and in its folders, by their path without the extension: `4.4-duplicates/same-email`.
pub(crate) fn read_folder(folder: impl AsRef<Path>) -> BTreeMap<String, Vector> {
    let mut vectors = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            let folder = path.file_name().unwrap().to_str().unwrap();
            vectors.extend(read_folder(&path).into_iter().map(|(name, vector)| (format!("{folder}/{name}"), vector)));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let vector = Vector::from_json(&std::fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{stem}: {e}"));
            vectors.insert(stem.to_owned(), vector);
        }
    }
    vectors
}
