//! Requests of every method, and page tokens, as the fuzzer makes them.

use prost::Message;

use super::convert::{Limits, admin, audit, list, quota};
use crate::{
    catalogs,
    domain::{timestamp::Timestamp, usage::Outcome},
    ledger::PageToken,
    pb,
};

const LIMITS: Limits = Limits {
    ttl_min_ms: 1000,
    ttl_max_ms: 43_200_000,
};

/// The first byte chooses the method, the rest is its message.
pub(crate) fn requests(bytes: &[u8]) {
    let Some((method, message)) = bytes.split_first() else {
        return;
    };
    let (catalog, now) = (
        catalogs::builtin(),
        Timestamp::from_millis(1_769_853_600_000),
    );
    let card = &catalog.rate_card;
    macro_rules! decoded {
        ($request:ident, $parse:expr) => {
            if let Ok(request) = pb::$request::decode(message) {
                drop($parse(request));
            }
        };
    }
    match method % 16 {
        0 => decoded!(QuoteRequest, |request| quota::quote(request, card).map(
            |(action, usage)| {
                // A price or an error, never a panic.
                card.price(&action, &usage, Outcome::Succeeded)
                    .map(|price| price.credits)
            }
        )),
        1 => decoded!(ReserveRequest, |request| quota::reserve(
            request, card, &LIMITS
        )
        .map(drop)),
        2 => decoded!(ExtendRequest, |request| quota::extend(&request, &LIMITS)),
        3 => decoded!(CommitRequest, quota::commit),
        4 => decoded!(ReleaseRequest, quota::release),
        5 => decoded!(ChargeRequest, |request| quota::charge(request, card)
            .map(drop)),
        6 => decoded!(GetReservationRequest, |request| quota::reservation(
            &request
        )),
        7 => decoded!(CreateAccountRequest, |request| admin::create(
            request, &catalog, now
        )),
        8 => decoded!(SetAccountStatusRequest, admin::set_status),
        9 => decoded!(ChangePlanRequest, |request| admin::change_plan(
            &request, &catalog
        )),
        10 => decoded!(GrantCreditsRequest, |request| admin::grant(
            request, &catalog, now
        )),
        11 => decoded!(VoidGrantRequest, admin::void),
        12 => decoded!(RefundRequest, admin::refund),
        13 => decoded!(ListAccountsRequest, |request| list::accounts(&request)),
        14 => decoded!(ListEntriesRequest, |request| list::entries(&request)),
        _ => decoded!(ListAuditRequest, |request| audit::query(&request)),
    }
}

/// A token that is taken is one that was given out.
pub(crate) fn pages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(token) = PageToken::new(text) {
        assert_eq!(token.to_string(), text);
    }
    let entries = |page_token: String| pb::ListEntriesRequest {
        account_id: "acme".to_owned(),
        page_token,
        ..pb::ListEntriesRequest::default()
    };
    if let Ok(query) = list::entries(&entries(text.to_owned()))
        && let Some(page) = query.page
    {
        assert_eq!(query.token(page), text);
    }
    let calls = |page_token: String| pb::ListAuditRequest {
        page_token,
        ..pb::ListAuditRequest::default()
    };
    if let Ok(query) = audit::query(&calls(text.to_owned()))
        && let Some(after) = query.after
    {
        assert_eq!(query.token(after), text);
    }
}
