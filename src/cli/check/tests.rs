use clap::Parser;

use super::{summary::Summary, *};

#[test]
fn the_built_in_catalogue_is_shown_with_what_it_costs() {
    let summary = Summary::new(Path::new("catalogue.yaml"), &catalogs::builtin());
    let expected = "\
catalogue.yaml can be put in use: version default-1

plans  free 50, starter 500, pro 5,000 (credits a cycle)
packs  small 500, medium 2,000, large 10,000 (credits)
tiers  lightweight: claude-*-haiku*, claude-haiku*, gemini-*flash*, gpt-4o-mini*
       standard: claude-*-sonnet*, claude-sonnet*, gpt-4o*
       premium: claude-*-opus*, claude-opus*, gpt-4.5*
modes  discuss: × 1, at least 1 credit
       edit: × 1.25, at least 1 credit
       agent: × 1.5, at least 2 credits
       build: × 2, at least 5 credits

2,000 input_tokens and 500 output_tokens cost, in credits:
tier         by mode
lightweight  discuss 1, edit 1, agent 2, build 5
standard     discuss 2, edit 3, agent 3, build 5
premium      discuss 9, edit 12, agent 14, build 18";
    assert_eq!(summary.text(), expected);
    let document = serde_json::to_value(&summary).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["tiers"][2]["example"][0], 9);
}

#[test]
fn problems_are_shown_with_line_and_caret() {
    let yaml = catalogs::BUILTIN_YAML.replacen("multiplier: 1.25", "multiplier: -1", 1);
    let text = problems_text(Path::new("c.yaml"), &catalogs::parse(&yaml).unwrap_err());
    assert!(text.starts_with("c.yaml: 1 problem\n\nline "), "{text}");
    assert!(text.contains("edit: { multiplier: -1"), "{text}");
    assert!(text.lines().last().unwrap().ends_with('^'), "{text}");
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    check: CheckArgs,
}

async fn check(file: &Path, more: &[&str]) -> Result<Exit, Failure> {
    let words = ["tollgate", file.to_str().unwrap()];
    let line = Line::try_parse_from(words.iter().chain(more)).unwrap();
    run(line.check, Output::new(true)).await
}

#[tokio::test]
async fn the_exit_code_says_whether_it_can_be_put_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.yaml");
    std::fs::write(&file, catalogs::BUILTIN_YAML).unwrap();
    assert_eq!(check(&file, &[]).await, Ok(Exit::Ok));
    std::fs::write(&file, "version: 1\nplan: {}\n").unwrap();
    assert_eq!(check(&file, &[]).await, Ok(Exit::Failed));
    std::fs::write(&file, [0xff]).unwrap();
    assert_eq!(check(&file, &[]).await.unwrap_err().exit, Exit::Failed);
    let none = folder.path().join("none.yaml");
    assert_eq!(check(&none, &[]).await.unwrap_err().exit, Exit::Usage);
}

#[tokio::test]
async fn a_ledger_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.yaml");
    std::fs::write(&file, catalogs::BUILTIN_YAML).unwrap();
    let url = format!("sqlite://{}/none.db", folder.path().display());
    let failure = check(&file, &["--ledger", &url]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::CantCreate, "{}", failure.message);
    let failure = check(&file, &["--ledger", "mysql://x"]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage, "{}", failure.message);
}
