//! The control plane's commands against a server, and `check` against its ledger.

use futures_util::{StreamExt, stream};
use tollgate::pb;

use super::{builtin, session::Session};
use crate::process::run;

#[test]
fn accounts_are_made_changed_and_listed() {
    let session = Session::start();
    let create = "account create acme --plan starter --subscribed-at 2026-05-16T10:00:00Z";
    let shown = session.done(create);
    assert!(shown.starts_with("account acme: active, plan starter, overage becomes debt\n"));
    assert!(shown.contains("subscribed 2026-05-16T10:00:00Z"), "{shown}");
    session.done(create);
    session.done("account create beta --plan free --overage absorb");
    session.done("charge acme --id c1 --mode discuss --credits 100");
    session.done("account plan acme pro --change-id up");
    let account = session.json("account show acme", 0);
    assert_eq!(account["account"]["balance"]["available"], 4_900);
    session.done("account plan acme starter --change-id down");
    assert_eq!(
        session.json("account show acme", 0)["account"]["next_plan_id"],
        "starter"
    );

    // An id that was made here is told, so that the same can be asked for again.
    let shown = session.json("account plan acme starter", 0);
    let again = format!(
        "account plan acme starter --change-id {}",
        shown["change_id"].as_str().unwrap()
    );
    let again = session.json(&again, 0);
    assert_eq!(again["change_id"], shown["change_id"]);
    let version = |shown: &serde_json::Value| shown["account"]["balance"]["version"].clone();
    assert_eq!(version(&again), version(&shown));

    let listed = session.json("account list --limit 1", 0);
    assert_eq!(
        listed["accounts"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    assert_ne!(listed["next_page_token"], "");
    let listed = session.done("account list");
    assert_eq!(listed.lines().count(), 3, "{listed}");

    session.done("account suspend beta --reason unpaid");
    let (code, printed, _) = session.run("reserve beta --mode edit --credits 1");
    assert_eq!(code, 3);
    assert!(
        printed.contains("tollgate account activate beta"),
        "{printed}"
    );
    session.done("account activate beta");
    assert_eq!(session.run("account close beta").0, 64);
    let closed = session.json("account close beta --yes", 0);
    assert_eq!(closed["account"]["status"], "closed");
}

/// From page to page, each list is whole and has nothing twice.
#[test]
fn a_list_that_was_cut_goes_on_where_it_ended() {
    let session = Session::start();
    for id in ["a", "b", "c"] {
        session.done(&format!("account create {id} --plan starter"));
    }
    for id in ["c1", "c2"] {
        session.done(&format!("charge a --id {id} --mode discuss --credits 1"));
    }
    let lists = [
        ("account list", "accounts", "account_id"),
        ("ledger a", "entries", "sequence"),
        ("audit --method CreateAccount", "entries", "account_id"),
    ];
    for (list, rows, key) in lists {
        let (mut seen, mut token) = (Vec::new(), String::new());
        for _ in 0..3 {
            let page = session.json(&format!("{list} --limit 1 --page-token={token}"), 0);
            seen.extend(page[rows].as_array().unwrap().iter().cloned());
            token = page["next_page_token"].as_str().unwrap().to_owned();
        }
        assert_eq!(token, "", "{list}: {seen:?}");
        let whole = session.json(list, 0);
        let keys = |rows: &[serde_json::Value]| -> Vec<String> {
            rows.iter().map(|row| row[key].to_string()).collect()
        };
        let whole = whole[rows].as_array().unwrap();
        assert_eq!((keys(&seen), seen.len()), (keys(whole), 3), "{list}");
    }
    let shown = session.done("account list --limit 2");
    assert!(shown.contains("--page-token b goes on"), "{shown}");
    let rest = session.done("account list --page-token b");
    assert!(rest.lines().nth(1).unwrap().starts_with("c "), "{rest}");
    // A token belongs to its list.
    assert_eq!(session.run("ledger a --page-token b").0, 65);
}

#[test]
fn the_catalogue_in_force_is_shown() {
    let session = Session::start();
    let shown = session.done("catalog");
    let expected = "catalogue default-1\nplans  ";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.contains("starter 500"), "{shown}");
    let yaml = std::fs::read_to_string(builtin()).unwrap();
    assert_eq!(session.done("catalog --yaml"), yaml);
    let document = session.json("catalog", 0);
    assert_eq!(document["rate_card_version"], "default-1");
    assert_eq!(document["rate_card_yaml"], yaml);
    session.json("catalog --yaml", 64);
}

#[test]
fn grants_are_given_once_and_taken_back() {
    let session = Session::start();
    session.done("account create acme --plan free");
    let grant = "grant acme --pack small --id pack-1";
    for _ in 0..2 {
        let shown = session.done(grant);
        let expected = "grant pack-1 (pack): 500 credits, 500 left, never expires\n\
            balance: 550 available, 0 held; plan free, ";
        assert!(shown.starts_with(expected), "{shown}");
    }
    assert_eq!(session.run("grant acme --pack large --id pack-1").0, 5);
    session.done("grant acme --credits 5 --kind promo --id promo-1 --expires-at 2999-01-01");
    let void = session.json("void acme promo-1 --reason mistake", 0);
    assert_eq!(void["balance"]["available"], 550);
    let made = session.json("grant acme --credits 5 --kind adjustment --reason sorry", 0);
    let id = made["grant"]["grant_id"].as_str().unwrap();
    assert!(id.starts_with("grant-"), "{id}");
    assert_eq!(session.run("void acme nothing --reason mistake").0, 4);
}

#[test]
fn a_dispute_is_looked_up_and_refunded() {
    let session = Session::start();
    session.done("account create acme --plan starter");
    let action = "--mode agent --model gpt-4o --conversation conv-1 --label team=core";
    session.done(&format!("reserve acme --id r1 {action} --credits 25"));
    session.done(
        "commit acme r1 --input-tokens 12400 --cached-input-tokens 30000 --output-tokens 1850 \
         --tool-calls 7 --file-operations 9",
    );
    session.done(&format!("charge acme --id c1 {action} --credits 3"));
    let refund = "refund acme r1 --credits 5 --id dispute-9 --reason cut --actor ann";
    for _ in 0..2 {
        let shown = session.done(refund);
        assert!(
            shown.starts_with("refunded 5 credits\nentry 4 of acme: refund +5"),
            "{shown}"
        );
    }
    let shown = session.json(refund, 0);
    assert_eq!(shown["entry"]["kind"], "refund");
    assert_eq!(shown["refund_id"], "dispute-9");

    let receipt = session.done("conversation conv-1");
    for line in [
        "conversation conv-1 of acme",
        "charged 21, refunded 5, in all 16 credits",
        "1. agent mode, gpt-4o (standard tier): 18 credits, 5 refunded",
        "   labels team=core",
        "   cached_input_tokens    30,000  ×  0.00004  =     1.2",
        "   agent mode                     ×      1.5  =  17.565",
        "   rounded up                                 =      18",
        "2. agent mode, gpt-4o: 3 credits",
    ] {
        assert!(
            receipt.lines().any(|shown| shown == line),
            "{line}\n{receipt}"
        );
    }
    assert_eq!(session.json("conversation conv-1", 0)["refunded"], 5);
    assert_eq!(session.run("conversation conv-2").0, 4);

    let entries = session.json("ledger acme --kind usage,refund", 0);
    let sequences: Vec<u64> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["sequence"].as_u64())
        .collect();
    assert_eq!(sequences, [4, 3, 2]);
    let cut = session.done("ledger acme --limit 2");
    assert!(
        cut.contains("the first 2 are shown; --limit shows more, and --page-token "),
        "{cut}"
    );
    assert_eq!(session.done("ledger --reservation r1").lines().count(), 3);
}

/// An answer has a thousand entries at most; the receipt has them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_conversation_is_shown_whole() {
    const ACTIONS: usize = 1_003;
    let session = Session::start();
    session.done("account create acme --plan starter");
    let quota = session.sidecar().quota().await;
    let charge = |number| {
        let mut quota = quota.clone();
        async move {
            let request = pb::ChargeRequest {
                account_id: "acme".to_owned(),
                charge_id: format!("c{number}"),
                action: Some(pb::Action {
                    mode: "discuss".to_owned(),
                    conversation_id: "long".to_owned(),
                    ..Default::default()
                }),
                amount: Some(pb::charge_request::Amount::Credits(1)),
                force: true,
            };
            let answer = quota.charge(request).await.unwrap().into_inner();
            assert!(matches!(
                answer.result,
                Some(pb::charge_response::Result::Receipt(_))
            ));
        }
    };
    // The account has credits for half of them; the rest is owed.
    let all = stream::iter(0..ACTIONS).map(charge).buffer_unordered(64);
    all.collect::<()>().await;
    let whole = session.json("conversation long", 0);
    assert_eq!(whole["entries"].as_array().map(Vec::len), Some(ACTIONS));
    assert_eq!(whole["credits"], ACTIONS);
    let shown = session.done("conversation long");
    assert!(shown.contains("1,003 actions, settled from "), "{shown}");
}

#[test]
fn a_catalogue_that_lacks_what_live_accounts_need_is_refused() {
    let session = Session::start();
    session.done("account create acme --plan pro");
    let yaml = std::fs::read_to_string(builtin()).unwrap();
    let file = session.folder().join("catalogue.yaml");
    std::fs::write(&file, yaml.replacen("  pro:", "  max:", 1)).unwrap();
    let data_dir = session.data_dir();
    let check = |more: &[&str]| {
        let words = [&["check", file.to_str().unwrap()], more].concat();
        let output = run(&words);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(check(&[]).0, Some(0));
    let (code, printed) = check(&["--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("plans: \"pro\" is missing"), "{printed}");
    let url = format!("sqlite://{}", data_dir.join("ledger.db").display());
    assert_eq!(check(&["--ledger", &url, "--json"]).0, Some(1));
}
