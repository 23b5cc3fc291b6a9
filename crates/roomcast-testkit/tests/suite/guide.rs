//! The guide's test is one that runs.

#[test]
fn the_guide_shows_the_first_test_as_it_is() {
    let guide = include_str!("../../../../docs/guide.md");
    let (_, test) = include_str!("first.rs").split_once("\n\n").unwrap();
    assert!(guide.contains(test), "docs/guide.md, \"Testing\", must show tests/suite/first.rs:\n{test}");
}
