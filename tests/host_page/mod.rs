//! Reads the statements of the pages for hosts (`docs/*.md`), for the tests of the adapters that run them.

use std::fs;
use std::sync::LazyLock;

/// All pages. A block has one name in all of them.
static PAGES: LazyLock<String> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let files = fs::read_dir(folder).expect("the folder `docs` can be read");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file of `docs` can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).expect("a page of `docs` can be read")).collect()
});

/// Returns the statements of the block `dialect:name`, without comments.
///
/// # Panics
/// No page has such a block, or more than one.
pub(crate) fn statements(dialect: &str, name: &str) -> Vec<String> {
    let block = block(&format!("sql {dialect}:{name}"));
    let code: Vec<&str> = block.lines().filter(|line| !line.starts_with("--")).collect();
    let statements = code.join("\n");
    statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

/// Returns the example of a seed file.
///
/// # Panics
/// No page has such a block, or more than one.
pub(crate) fn seed() -> &'static str {
    block("json seed")
}

/// Fails unless `source`, the code of the tests, names every block of a dialect.
///
/// # Panics
/// A block is not named: no test runs it.
pub(crate) fn assert_all_tested(dialect: &str, source: &str) {
    let prefix = format!("```sql {dialect}:");
    let names: Vec<&str> = PAGES.lines().filter_map(|line| line.strip_prefix(&*prefix)).collect();
    assert!(names.len() > 20, "the pages of `docs` have few blocks for {dialect}: {names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "no test runs the block `{dialect}:{name}` of `docs`");
    }
}

/// Returns the number of parameters of a statement, which are numbered: `?1` or `$1`.
pub(crate) fn parameter_count(statement: &str) -> usize {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let numbers = statement.split(['?', '$']).skip(1).filter_map(|text| digits(text).parse().ok());
    numbers.max().unwrap_or(0)
}

fn block(info: &str) -> &'static str {
    let start = format!("\n```{info}\n");
    let blocks: Vec<&str> = PAGES.split(&*start).skip(1).collect();
    let [rest] = blocks[..] else { panic!("the pages of `docs` have {} blocks `{info}`", blocks.len()) };
    rest.split_once("\n```").expect("a block has an end").0
}
