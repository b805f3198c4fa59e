//! A table's row as text: what is asked, an arrow, and the whole answer.
//!
//! ```text
//! reserve r1 60 ttl=1000   -> open held=60 charged=0 available=440
//! wait 1000
//! commit r1 45             -> charged=45 late committed held=0 total=45 available=455
//! ```
//!
//! The account is on a plan of 500 credits, subscribed on 31 January; `absorb` as the first line
//! changes its overage policy. Where the cycle is over it is renewed and asked again, as the
//! enforcer does.

use std::{str::FromStr, time::Duration};

use tollgate::domain::{
    account::{OveragePolicy, Status},
    change::{Change, ChangeBody, Refund, RefundPart},
    command::{Charge, Commit, Extend, Renewal, Reserve},
    cycle::Cycle,
    decision::Refusal,
    grant::{Grant, GrantKind},
    ids::GrantId,
    reservation::CommitRequest,
    usage::Outcome,
};

use super::render::{self, Render};
use crate::support::{
    Backend, Fixture, Setup,
    account::{change, create, grant, granting, open, plan},
    commands::{
        TTL_MS, acme, action, charge, commit, credits, extend, release, reservation_id, reserve,
    },
};

/// Runs one row; panics with its name and line where an answer differs.
pub async fn run(backend: &dyn Backend, name: &str, script: &str) {
    let fixture = backend.start(Setup::default()).await;
    let mut lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .peekable();
    let absorb = lines.next_if(|line| *line == "absorb").is_some();
    let overage = if absorb {
        OveragePolicy::Absorb
    } else {
        OveragePolicy::Debt
    };
    open(
        &fixture,
        &acme(),
        create(plan("starter", 500), overage, Setup::default().now),
    )
    .await;
    let mut run = Run {
        fixture,
        changes: 1,
    };
    for line in lines {
        let (asked, expected) = match line.split_once("->") {
            Some((asked, expected)) => (asked.trim(), Some(expected)),
            None => (line, None),
        };
        let words = Words::new(asked);
        let mut answer = run.line(&words).await;
        if let Err(Refusal::CycleEnded(ended)) = &answer {
            let renewal = Renewal {
                account_id: acme(),
                ended: ended.ended,
                cycle: Cycle::at(ended.anchor, ended.now),
                plan: plan(ended.plan_id.as_str(), ended.allowance),
            };
            run.fixture
                .store
                .renew(&renewal)
                .await
                .expect("no fault")
                .expect("a renewal");
            answer = run.line(&words).await;
        }
        let told = answer.unwrap_or_else(|refusal| render::refusal(&refusal));
        if let Some(expected) = expected {
            let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(told, expected, "{} | {name} | {line}", backend.name());
        }
    }
    let broken = run
        .fixture
        .store
        .broken_invariants(10)
        .await
        .expect("no fault");
    assert!(
        broken.is_empty(),
        "{} | {name} | {broken:?}",
        backend.name()
    );
}

struct Run {
    fixture: Fixture,
    changes: u64,
}

impl Run {
    async fn line(&mut self, words: &Words<'_>) -> Result<String, Refusal> {
        let store = self.fixture.store.clone();
        match words.verb {
            "wait" => {
                self.fixture
                    .clock
                    .advance(Duration::from_millis(words.number(0)));
                Ok(String::new())
            }
            "reserve" => done(store.reserve(&reserve_of(words)).await),
            "extend" => done(store.extend(&extend_of(words)).await),
            "commit" => {
                let id = reservation_id(words.word(0));
                let known = store.reservation(&acme(), &id).await.expect("no fault")?;
                let known = known.value.is_some();
                done(
                    store
                        .commit(&Commit {
                            known,
                            ..commit_of(words)
                        })
                        .await,
                )
            }
            "release" => done(store.release(&release(words.word(0))).await),
            "charge" => {
                let force = words.has("force");
                let command = charge(words.word(0), words.number(1));
                done(store.charge(&Charge { force, ..command }).await)
            }
            "balance" => done(store.balance(&acme()).await),
            "show" => {
                let id = reservation_id(words.word(0));
                done(store.reservation(&acme(), &id).await)
            }
            "sweep" => {
                let swept = store
                    .sweep(words.number(0) as usize)
                    .await
                    .expect("no fault");
                Ok(format!(
                    "expired={} forgotten={}",
                    swept.expired, swept.forgotten
                ))
            }
            "grant" | "void" | "status" | "plan" | "refund" => {
                let change = self.change_of(words).await;
                let answer = done(store.apply(&change).await)?;
                self.changes = change.number;
                Ok(answer)
            }
            verb => panic!("{verb}: no such verb"),
        }
    }

    async fn change_of(&self, words: &Words<'_>) -> Change {
        let number = self.changes + 1;
        let reason = "because".to_owned();
        let body = match words.verb {
            "void" => {
                let grant_id = GrantId::new(words.word(0)).expect("an id");
                ChangeBody::Void { grant_id, reason }
            }
            "refund" => ChangeBody::Refund(self.refund_of(words).await),
            "status" => ChangeBody::SetStatus {
                status: status(words.word(0)),
                reason,
            },
            "plan" => {
                let at_renewal = match (words.has("now"), words.has("later")) {
                    (true, _) => Some(false),
                    (false, true) => Some(true),
                    (false, false) => None,
                };
                ChangeBody::ChangePlan {
                    plan: plan(words.word(0), words.number(1)),
                    at_renewal,
                }
            }
            _ => return granting(number, self.grant_of(words).await),
        };
        change(number, body)
    }

    /// As a ledger works it out that has the account as it is: `refund r1 debt=1 p1=2 plan:0=3`, in
    /// this order, and `before=4` where earlier refunds gave that back.
    async fn refund_of(&self, words: &Words<'_>) -> Refund {
        let (account, _) = self
            .fixture
            .store
            .account(&acme())
            .await
            .expect("no fault")
            .expect("an account")
            .value;
        let part = |grant: &Grant| {
            let grant = Box::new(grant.clone());
            let credits = words.option(grant.id.as_str())?;
            Some(RefundPart { grant, credits })
        };
        Refund {
            reservation_id: reservation_id(words.word(0)),
            parts: account.grants.iter().rev().filter_map(part).collect(),
            of_debt: words.option("debt").unwrap_or(0),
            refunded: Some(words.option("before").unwrap_or(0)),
            reason: "because".to_owned(),
            actor: "support".to_owned(),
        }
    }

    async fn grant_of(&self, words: &Words<'_>) -> Grant {
        let now = self.fixture.store.now().await.expect("no fault");
        let made = grant(words.word(0), kind(words.word(1)), words.number(2), now);
        let from = words.option("from").map_or(now, |ms| now.plus_millis(ms));
        Grant {
            effective_at: from,
            expires_at: words.option("lasts").map(|ms| from.plus_millis(ms)),
            priority: words.option("priority").unwrap_or(made.priority),
            ..made
        }
    }
}

fn done<T: Render>(answer: tollgate::hot::Answer<T>) -> Result<String, Refusal> {
    Ok(answer.expect("no fault")?.value.render())
}

fn reserve_of(words: &Words<'_>) -> Reserve {
    let ttl_ms = words.option("ttl");
    let made = reserve(words.word(0), words.number(1));
    Reserve {
        min_credits: words.option("min").map(credits),
        ttl_ms,
        effective_ttl_ms: ttl_ms.unwrap_or(TTL_MS),
        action: words
            .option("mode")
            .map_or(made.action, |mode: String| action(&mode)),
        dry_run: words.has("dry"),
        ..made
    }
}

fn extend_of(words: &Words<'_>) -> Extend {
    let made = extend(words.word(0), words.word(1), words.number(2));
    Extend {
        ttl_ms: words.option("ttl"),
        ..made
    }
}

fn commit_of(words: &Words<'_>) -> Commit {
    let made = commit(words.word(0), words.number(1));
    let request = CommitRequest {
        keep_open: words.has("open"),
        next_hold: credits(words.option("next").unwrap_or(0)),
        outcome: if words.has("cancelled") {
            Outcome::Cancelled
        } else {
            Outcome::Succeeded
        },
        ..made.request
    };
    Commit { request, ..made }
}

fn status(name: &str) -> Status {
    let all = [Status::Active, Status::Suspended, Status::Closed];
    *all.iter()
        .find(|status| status.name() == name)
        .expect("a status")
}

fn kind(name: &str) -> GrantKind {
    match name {
        "pack" => GrantKind::Pack,
        "promo" => GrantKind::Promo,
        "adjustment" => GrantKind::Adjustment,
        _ => panic!("{name}: pack, promo or adjustment"),
    }
}

/// The words of one request: a verb, then words by place, `key=value` and flags.
struct Words<'a> {
    verb: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        let mut words = text.split_whitespace();
        Words {
            verb: words.next().expect("a verb"),
            rest: words.collect(),
        }
    }

    fn word(&self, place: usize) -> &'a str {
        self.rest
            .get(place)
            .unwrap_or_else(|| panic!("{} needs word {place}", self.verb))
    }

    fn number(&self, place: usize) -> u64 {
        self.word(place).parse().expect("a number")
    }

    fn has(&self, flag: &str) -> bool {
        self.rest.contains(&flag)
    }

    fn option<T: FromStr>(&self, key: &str) -> Option<T> {
        let value = self
            .rest
            .iter()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.parse().ok().expect("a value"))
    }
}
