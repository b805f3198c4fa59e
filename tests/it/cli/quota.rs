//! The hot path's commands against a server.

use super::session::Session;

const WORKED_EXAMPLE: &str = "--input-tokens 12400 --cached-input-tokens 30000 \
    --output-tokens 1850 --tool-calls 7 --file-operations 9";

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_quote_is_the_worked_example() {
    let session = Session::start();
    let quote = format!("quote --mode agent --model gpt-4o {WORKED_EXAMPLE}");
    let shown = session.done(&quote);
    let first = "18 credits: agent mode, gpt-4o (standard tier), rate card default-1";
    assert_eq!(lines(&shown)[0], first, "{shown}");
    assert_eq!(
        lines(&shown).last(),
        Some(&"rounded up                                 =      18")
    );
    let price = &session.json(&quote, 0)["price"];
    assert_eq!(
        (&price["credits"], &price["exact"]),
        (&18.into(), &"17.565".into())
    );
}

#[test]
fn a_hold_is_made_extended_settled_and_never_twice() {
    let session = Session::start();
    session.done("account create acme --plan starter");
    let reserve = "reserve acme --id r1 --mode agent --model gpt-4o --credits 20 --ttl 10m";
    let shown = session.done(reserve);
    assert!(
        shown.starts_with("held 20 credits: reservation r1, open until "),
        "{shown}"
    );
    let again = session.json(reserve, 0);
    assert_eq!(again["replayed"], true);
    assert_eq!(again["reservation"]["state"], "open");
    assert_eq!(again["balance"]["available"], 480);
    let (code, _, complained) = session.run(&reserve.replace("--credits 20", "--credits 21"));
    assert_eq!(code, 5, "{complained}");
    assert!(complained.contains("reason: ID_CONFLICT"), "{complained}");

    let shown = session.done("extend acme r1 --extension-id x1 --add 10");
    assert!(
        shown.starts_with("extended: now held 30 credits"),
        "{shown}"
    );
    let commit = format!("commit acme r1 {WORKED_EXAMPLE}");
    let shown = session.done(&commit);
    let expected = ["charged 18 credits", "  of the hold 18 used, 12 returned"];
    assert_eq!(lines(&shown)[..2], expected, "{shown}");
    let again = session.json(&commit, 0);
    assert_eq!(
        (&again["replayed"], &again["receipt"]["credits"]),
        (&true.into(), &18.into())
    );

    let (code, _, complained) = session.run("release acme r9 --reason none");
    assert_eq!(code, 4, "{complained}");
    session.done("reserve acme --id r2 --mode edit --credits 5");
    let shown = session.done("release acme r2");
    let expected = [
        "returned 5 credits",
        "reservation r2 is released: 0 held, 0 charged in all",
    ];
    assert_eq!(lines(&shown)[..2], expected, "{shown}");
}

/// Whoever goes on where `reserve` exits with 0 has a hold.
#[test]
fn a_reservation_that_has_ended_is_no_hold() {
    let session = Session::start();
    session.done("account create acme --plan starter");
    let reserve = "reserve acme --id r1 --mode discuss --credits 20";
    session.done(reserve);
    session.done(reserve);
    let extend = "extend acme r1 --extension-id x1 --add 5";
    session.done(extend);
    session.done("release acme r1");
    for (again, first) in [
        (reserve, "reservation r1 is released: 0 held"),
        (extend, "reservation r1 is released: 0 held"),
    ] {
        let (code, printed, complained) = session.run(again);
        assert_eq!((code, complained.as_str()), (5, ""), "{printed}");
        assert!(printed.starts_with(first), "{printed}");
        assert!(printed.contains("  nothing is held: "), "{printed}");
    }
    let document = session.json(reserve, 5);
    assert_eq!(document["reservation"]["state"], "released");
    // A trial holds nothing either way, and a hold of nothing is one.
    session.done("reserve acme --mode discuss --credits 20 --dry-run");
    session.done("reserve acme --id r2 --mode discuss --credits 0");
    session.done("reserve acme --id r2 --mode discuss --credits 0");
}

#[test]
fn a_reservation_is_shown_as_it_is_now() {
    let session = Session::start();
    session.done("account create acme --plan starter");
    session.done(
        "reserve acme --id r1 --mode agent --model gpt-4o --conversation conv-1 --label team=core \
         --credits 20",
    );
    let shown = session.done("reservation acme r1");
    let shown = lines(&shown);
    let first = "reservation r1 is open: 20 held, 0 charged in all, until ";
    assert!(shown[0].starts_with(first), "{shown:?}");
    let about = [
        "  agent mode, gpt-4o, conversation conv-1, rate card default-1",
        "  labels team=core",
    ];
    assert!(shown.ends_with(&about), "{shown:?}");
    session.done("commit acme r1 --credits 18");
    let document = session.json("reservation acme r1", 0);
    assert_eq!(document["reservation"]["state"], "committed");
    assert_eq!(document["reservation"]["charged"], 18);
    assert_eq!(session.run("reservation acme r2").0, 4);
}

#[test]
fn a_denial_is_3_and_names_the_commands_that_help() {
    let session = Session::start();
    session.done("account create acme --plan free");
    let reserve = "reserve acme --mode agent --credits 400";
    let (code, printed, complained) = session.run(reserve);
    assert_eq!((code, complained.as_str()), (3, ""), "{printed}");
    let expected = [
        "denied: not enough credits are left (insufficient_credits)",
        "  required 400 credits, available 50: 350 short",
    ];
    assert_eq!(lines(&printed)[..2], expected, "{printed}");
    assert!(
        printed.contains("tollgate grant acme --pack small\n"),
        "{printed}"
    );
    assert!(printed.contains("tollgate account plan acme "), "{printed}");
    assert_eq!(session.json(reserve, 3)["denial"]["required"], 400);

    session.done("reserve acme --id r1 --mode agent --credits 50");
    let commit = "commit acme r1 --credits 50 --keep-open --next-hold 5";
    let (code, printed, _) = session.run(commit);
    assert_eq!(code, 3, "{printed}");
    assert!(
        printed.contains("the next hold is denied: no credits are left"),
        "{printed}"
    );
    session.done("charge acme --id c1 --mode discuss --credits 7 --force");
    let (code, printed, _) = session.run("reserve acme --mode edit --credits 1");
    assert_eq!(code, 3);
    assert!(
        printed.contains("denied: earlier overage is unpaid"),
        "{printed}"
    );
    assert!(printed.contains("0 available, 0 held, 7 owed"), "{printed}");
}

#[test]
fn a_refused_field_is_named_with_what_is_accepted() {
    let session = Session::start();
    let (code, printed, complained) = session.run("quote --mode chat --model gpt-4o");
    assert_eq!((code, printed.as_str()), (65, ""));
    assert!(
        complained.starts_with("error: action.mode: \"chat\""),
        "{complained}"
    );
    assert!(
        complained.contains("discuss, edit, agent, build"),
        "{complained}"
    );
    let (code, _, complained) = session.run("balance nobody");
    assert_eq!(code, 4);
    assert!(
        complained.contains(" hint: `tollgate account create"),
        "{complained}"
    );
    assert_eq!(
        session.json("balance nobody", 4)["error"]["reason"],
        "not_found"
    );
}
