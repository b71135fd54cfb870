//! What the example promises about its own text.

use std::fs;

use enroll_example_crm::statements::{
    DEACTIVATE, FINISH_RUN, MOVE_TO_NEXT_STEP, OPT_OUT, READ_DUE, READ_NEXT_STEP, READ_RECIPIENT,
};

#[test]
fn the_statements_are_those_of_the_docs() {
    for (page, name, statement) in [
        ("sending", "read-due", READ_DUE),
        ("sending", "read-recipient", READ_RECIPIENT),
        ("sending", "read-next-step", READ_NEXT_STEP),
        ("sending", "move-to-next-step", MOVE_TO_NEXT_STEP),
        ("sending", "finish-run", FINISH_RUN),
        ("sending", "deactivate", DEACTIVATE),
        ("contacts", "opt-out", OPT_OUT),
    ] {
        let page = fs::read_to_string(format!("../../docs/{page}.md")).unwrap();
        let (_, block) = page.split_once(&format!("```sql postgres:{name}\n")).unwrap();
        // The first line names the parameters.
        let (_, block) = block.split_once('\n').unwrap();
        let (block, _) = block.split_once(";\n```").unwrap();
        assert_eq!(statement.trim(), block, "{name}");
    }
}

/// An endpoint that writes the host's rows and enrolls, in one transaction, takes 60 lines or fewer.
#[test]
fn the_endpoint_is_short() {
    let lines = include_str!("../src/upload.rs").lines().count();
    assert!((20..=60).contains(&lines), "{lines}");
}
