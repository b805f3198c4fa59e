use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: AdminCommand,
}

fn parses(words: &str) -> bool {
    Line::try_parse_from(std::iter::once("tollgate").chain(words.split_whitespace())).is_ok()
}

#[test]
fn what_belongs_together_is_taken_together() {
    for words in [
        "account create acme --plan free",
        "account create acme --plan pro --subscribed-at 2026-05-16 --overage absorb",
        "account --endpoint unix:/run/t.sock show acme",
        "account show acme --endpoint 127.0.0.1:1 --timeout 500ms",
        "account list --limit 3",
        "account plan acme pro --at-renewal --change-id c1",
        "account plan acme pro --now",
        "account close acme --yes --reason gone",
        "grant acme --pack small",
        "grant acme --credits 5 --kind promo --expires-at 2026-06-01 --priority -1",
        "void acme pack-1 --reason mistake",
        "refund acme r1 --reason broken --actor ann",
        "ledger --conversation conv-7f3",
        "ledger --reservation r1",
        "ledger acme --kind usage,refund --from 2026-05-01 --until 2026-06-01 --limit 500",
        "ledger acme --page-token 0123.9",
        "account list --page-token acme",
        "audit --page-token 0123.9 --method Refund",
        "conversation conv-7f3",
        "catalog --yaml",
    ] {
        assert!(parses(words), "{words}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for words in [
        "account create acme",
        "account create acme --plan free --overage forgive",
        "account plan acme pro --now --at-renewal",
        "account list --limit 0",
        "grant acme",
        "grant acme --credits 5",
        "grant acme --pack small --credits 5 --kind promo",
        "grant acme --pack small --expires-at 2026-06-01",
        "grant acme --credits 5 --kind pack",
        "void acme pack-1",
        "refund acme r1 --actor ann",
        "refund acme r1 --reason broken",
        "refund acme r1 --reason broken --actor ann --credits 0",
        "ledger",
        "ledger acme --kind lost",
        "ledger acme --from yesterday",
        "ledger acme --endpoint https://example.org",
    ] {
        assert!(!parses(words), "{words}");
    }
}

#[test]
fn a_list_is_asked_for_page_by_page() {
    assert_eq!(page_size(50, 0), 50);
    assert_eq!(page_size(250, 0), 100);
    assert_eq!(page_size(250, 200), 50);
    assert_eq!(page_size(250, 250), 0);
    assert_eq!(more("x".to_owned(), 1, "", ""), "x");
    assert_eq!(
        more("x".to_owned(), 1, "", "t"),
        "x\n\nthe first 1 are shown; --limit shows more, and --page-token t goes on from there"
    );
    assert_eq!(
        more("x".to_owned(), 2, "t", "u"),
        "x\n\nthe next 2 are shown; --limit shows more, and --page-token u goes on from there"
    );
    assert_eq!(more("x".to_owned(), 1, "t", ""), "x");
}
