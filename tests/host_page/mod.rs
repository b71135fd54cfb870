//! Reads the statements of `docs/hosts.md`, for the tests of the adapters that run them.

/// The page that hosts read.
const PAGE: &str = include_str!("../../docs/hosts.md");

/// Returns the statements of the block `dialect:name`, without comments.
///
/// # Panics
/// The page has no such block.
pub(crate) fn statements(dialect: &str, name: &str) -> Vec<String> {
    let info = format!("sql {dialect}:{name}");
    let block = block(&info).unwrap_or_else(|| panic!("docs/hosts.md has no block `{info}`"));
    let code: Vec<&str> = block.lines().filter(|line| !line.starts_with("--")).collect();
    let statements = code.join("\n");
    statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

/// Returns the example of a seed file.
///
/// # Panics
/// The page has no such block.
pub(crate) fn seed() -> &'static str {
    block("json seed").expect("docs/hosts.md has a block `json seed`")
}

/// Fails unless `source`, the code of the tests, names every block of a dialect.
///
/// # Panics
/// A block is not named: no test runs it.
pub(crate) fn assert_all_tested(dialect: &str, source: &str) {
    let prefix = format!("```sql {dialect}:");
    let names: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix(&*prefix)).collect();
    assert!(names.len() > 10, "docs/hosts.md has few blocks for {dialect}: {names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "no test runs the block `{dialect}:{name}` of docs/hosts.md");
    }
}

/// Returns the number of parameters of a statement, which are numbered: `?1` or `$1`.
pub(crate) fn parameter_count(statement: &str) -> usize {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let numbers = statement.split(['?', '$']).skip(1).filter_map(|text| digits(text).parse().ok());
    numbers.max().unwrap_or(0)
}

fn block(info: &str) -> Option<&'static str> {
    let start = format!("\n```{info}\n");
    let (_, rest) = PAGE.split_once(&*start)?;
    rest.split_once("\n```").map(|(block, _)| block)
}
