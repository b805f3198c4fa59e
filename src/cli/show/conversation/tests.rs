use super::*;
use crate::cli::show::price::tests::worked_example;

fn draw(grant_id: &str, credits: u64) -> pb::GrantDraw {
    pb::GrantDraw {
        grant_id: grant_id.to_owned(),
        credits,
    }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn usage_entry() -> pb::Entry {
    pb::Entry {
        account_id: "acme".to_owned(),
        sequence: 2,
        kind: pb::EntryKind::Usage.into(),
        credits: -18,
        available_after: 482,
        draws: vec![draw("plan:0", 15), draw("pack-1", 3)],
        reservation_id: "r1".to_owned(),
        action: Some(pb::Action {
            mode: "agent".to_owned(),
            model: "gpt-4o".to_owned(),
            conversation_id: "conv-7f3".to_owned(),
            labels: [("team".to_owned(), "core".to_owned())].into(),
        }),
        receipt: Some(pb::Receipt {
            credits: 18,
            returned: 7,
            price: Some(worked_example()),
            ..Default::default()
        }),
        outcome: pb::Outcome::Succeeded.into(),
        occurred_at: at(60),
        ..Default::default()
    }
}

fn refund_entry() -> pb::Entry {
    pb::Entry {
        account_id: "acme".to_owned(),
        sequence: 4,
        kind: pb::EntryKind::Refund.into(),
        credits: 5,
        draws: vec![draw("plan:0", 5)],
        reservation_id: "r1".to_owned(),
        occurred_at: at(180),
        reason: "cut off".to_owned(),
        actor: "ann".to_owned(),
        ..Default::default()
    }
}

fn given_entry() -> pb::Entry {
    pb::Entry {
        account_id: "acme".to_owned(),
        sequence: 3,
        kind: pb::EntryKind::Usage.into(),
        credits: -12,
        draws: vec![draw("pack-1", 10)],
        reservation_id: "r2".to_owned(),
        action: Some(pb::Action {
            mode: "build".to_owned(),
            ..Default::default()
        }),
        receipt: Some(pb::Receipt {
            credits: 12,
            overage: 4,
            debt_added: 2,
            ..Default::default()
        }),
        outcome: pb::Outcome::Cancelled.into(),
        occurred_at: at(120),
        ..Default::default()
    }
}

#[test]
fn a_conversation_is_a_receipt_that_explains_itself() {
    let answer = pb::GetConversationResponse {
        credits: 30,
        refunded: 5,
        usage: Some(pb::Usage {
            input_tokens: 12_400,
            tool_calls: 7,
            ..Default::default()
        }),
        entries: vec![usage_entry(), given_entry(), refund_entry()],
        next_page_token: String::new(),
    };
    let expected = "\
conversation conv-7f3 of acme
2 actions, settled from 1970-01-01T00:01:00Z to 1970-01-01T00:03:00Z
charged 30, refunded 5, in all 25 credits
used 12,400 input_tokens, 7 tool_calls

1. agent mode, gpt-4o (standard tier): 18 credits, 5 refunded
   reservation r1, rate card default-1, succeeded
   labels team=core

   meter                quantity        rate     amount
   input_tokens           12,400  ×   0.0004  =    4.96
   cached_input_tokens    30,000  ×  0.00004  =     1.2
   output_tokens           1,850  ×    0.002  =     3.7
   tool_calls                  7  ×      0.2  =     1.4
   file_operations             9  ×     0.05  =    0.45
   subtotal                                   =   11.71
   agent mode                     ×      1.5  =  17.565
   rounded up                                 =      18

   when                  entry  kind    held  charged  returned  above hold  grants               notes
   1970-01-01T00:01:00Z      2  usage     25       18         7           0  plan:0 15, pack-1 3
   1970-01-01T00:03:00Z      4  refund             -5                        plan:0 5             cut off, by ann

2. build mode, no model: 12 credits
   reservation r2, cancelled

   no price: the caller gave the credits as they are

   when                  entry  kind   held  charged  returned  above hold  grants     notes
   1970-01-01T00:02:00Z      3  usage     8       12         0           4  pack-1 10  cancelled, 2 became debt";
    assert_eq!(conversation(&answer, "conv-7f3"), expected);
}

#[test]
fn settlements_in_steps_are_one_action() {
    let step = |credits: u64, sequence| pb::Entry {
        sequence,
        credits: -i64::try_from(credits).unwrap(),
        receipt: Some(pb::Receipt {
            credits,
            ..Default::default()
        }),
        ..usage_entry()
    };
    let answer = pb::GetConversationResponse {
        credits: 18,
        entries: vec![step(11, 2), step(7, 3)],
        ..Default::default()
    };
    let text = conversation(&answer, "conv-7f3");
    assert!(
        text.contains("1. agent mode, gpt-4o: 18 credits\n"),
        "{text}"
    );
    assert!(text.contains("≥ 11       11"), "{text}");
    assert!(!text.contains("2. "), "{text}");
}

#[test]
fn a_last_report_below_what_was_charged_gives_the_rest_back() {
    let mut back = usage_entry();
    back.credits = 4;
    if let Some(receipt) = &mut back.receipt {
        (receipt.credits, receipt.corrected) = (0, 4);
    }
    let answer = pb::GetConversationResponse {
        credits: 14,
        entries: vec![usage_entry(), back],
        ..Default::default()
    };
    let text = conversation(&answer, "conv-7f3");
    assert!(text.contains("(standard tier): 14 credits\n"), "{text}");
    assert!(text.contains("       -4  "), "{text}");
}

#[test]
fn what_was_written_off_is_not_among_the_credits() {
    let mut absorbed = given_entry();
    if let Some(receipt) = &mut absorbed.receipt {
        (receipt.debt_added, receipt.written_off) = (0, 4);
    }
    let answer = pb::GetConversationResponse {
        credits: 8,
        entries: vec![absorbed],
        ..Default::default()
    };
    let text = conversation(&answer, "conv-7f3");
    assert!(
        text.contains("no model: 8 credits, 4 written off\n"),
        "{text}"
    );
    assert!(text.contains("cancelled, 4 written off"), "{text}");
}

#[test]
fn a_conversation_that_nobody_paid_for_says_so() {
    let shown = conversation(&pb::GetConversationResponse::default(), "x");
    assert_eq!(shown, "conversation x: nothing was ever charged to it");
}
