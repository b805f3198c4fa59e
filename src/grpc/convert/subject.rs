//! What a request is about, before it is parsed: the account that it names, and its idempotency
//! key. As they were given, right or wrong.

use crate::pb;

/// A request, as the gate and the audit log see it.
pub trait Subject: Send + 'static {
    /// The account that it names; empty: none.
    fn account_id(&self) -> &str {
        ""
    }

    /// The idempotency key that it names; empty: none.
    fn key(&self) -> &str {
        ""
    }

    /// Whether a caller must be admitted to its account, and one that may act for some accounts
    /// only has to name one.
    fn is_about_accounts(&self) -> bool {
        true
    }
}

macro_rules! subjects {
    ($($request:ident($key:ident)),* $(,)?) => {
        $(
            impl Subject for pb::$request {
                fn account_id(&self) -> &str {
                    &self.account_id
                }

                fn key(&self) -> &str {
                    &self.$key
                }
            }
        )*
    };
}

subjects! {
    CreateAccountRequest(account_id),
    ChangePlanRequest(change_id),
    GrantCreditsRequest(grant_id),
    VoidGrantRequest(grant_id),
    RefundRequest(refund_id),
}

macro_rules! without_key {
    ($($request:ident),* $(,)?) => {
        $(
            impl Subject for pb::$request {
                fn account_id(&self) -> &str {
                    &self.account_id
                }
            }
        )*
    };
}

without_key! {
    GetAccountRequest,
    SetAccountStatusRequest,
    ListEntriesRequest,
    ListAuditRequest,
}

/// It is about all of them.
impl Subject for pb::ListAccountsRequest {}

/// The accounts are found by the conversation: those that are out of scope are left out then.
impl Subject for pb::GetConversationRequest {
    fn is_about_accounts(&self) -> bool {
        false
    }
}

impl Subject for pb::GetCatalogRequest {
    fn is_about_accounts(&self) -> bool {
        false
    }
}
