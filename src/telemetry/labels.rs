//! The values of the labels, as types: there are no others than these.

/// What a decision was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for.
    Granted,
    /// Less than was asked for, but no less than the caller's minimum.
    Reduced,
    /// Nothing.
    Denied,
}

/// One decision about credits, as the labels of `tollgate_decisions_total`.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// The method's short name, e.g. `Reserve`.
    pub rpc: &'static str,
    /// What was decided.
    pub verdict: Verdict,
    /// Why it was denied, e.g. `insufficient_credits`; `none` where it was not.
    pub reason: &'static str,
    /// A mode of the catalogue. Never a text that the catalogue has not confirmed.
    pub mode: &'a str,
    /// A tier of the catalogue, or `none` for an action without a model.
    pub tier: &'a str,
}

/// What happened to credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditsKind {
    /// Set aside by a hold.
    Held,
    /// Charged.
    Settled,
    /// Given back from a hold to its grants.
    Returned,
    /// Given back by a refund.
    Refunded,
    /// Used above the hold, covered by no grant, and waived.
    WrittenOff,
    /// Used above the hold, covered by no grant, and owed.
    Debt,
}

/// How reading a catalogue anew ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new one is in force.
    Loaded,
    /// It is wrong; the old one stays in force.
    Refused,
}

/// How an operation of a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Well,
    /// With a fault, of this kind.
    Failed(&'static str),
    /// Before its end: nobody wanted the answer any more.
    GivenUp,
}

impl Ended {
    /// What a span says went wrong.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Ended::Well => None,
            Ended::Failed(kind) => Some(kind),
            Ended::GivenUp => Some("given_up"),
        }
    }
}

impl CreditsKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [CreditsKind; 6] = [
        CreditsKind::Held,
        CreditsKind::Settled,
        CreditsKind::Returned,
        CreditsKind::Refunded,
        CreditsKind::WrittenOff,
        CreditsKind::Debt,
    ];

    /// As the metrics write it.
    pub fn name(self) -> &'static str {
        match self {
            CreditsKind::Held => "held",
            CreditsKind::Settled => "settled",
            CreditsKind::Returned => "returned",
            CreditsKind::Refunded => "refunded",
            CreditsKind::WrittenOff => "written_off",
            CreditsKind::Debt => "debt",
        }
    }
}

impl Verdict {
    /// As the metrics and spans write it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Granted => "granted",
            Verdict::Reduced => "reduced",
            Verdict::Denied => "denied",
        }
    }
}

/// What a store can be asked for: each with its name, and with the name of its span.
macro_rules! operations {
    ($(#[$doc:meta])* $name:ident $store:literal: $($operation:ident $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "named as the trait's methods, which are documented")]
        pub enum $name {
            $($operation,)+
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$operation,)+];

            /// The method's name.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$operation => $text,)+
                }
            }

            /// The name of its span.
            pub fn span_name(self) -> &'static str {
                match self {
                    $($name::$operation => concat!($store, ".", $text),)+
                }
            }
        }
    };
}

operations! {
    /// The methods of the hot store.
    HotOperation "hot":
    Reserve "reserve",
    Extend "extend",
    Commit "commit",
    Release "release",
    Charge "charge",
    Balance "balance",
    Account "account",
    Reservation "reservation",
    Apply "apply",
    Renew "renew",
    Loaded "loaded",
    Stored "stored",
    Repair "repair",
    Loading "loading",
    Load "load",
    Sweep "sweep",
    Outbox "outbox",
    Trim "trim",
    Distrust "distrust",
    Stats "stats",
    Now "now",
    BrokenInvariants "broken_invariants",
}

operations! {
    /// The methods of the ledger.
    LedgerOperation "ledger":
    Submit "submit",
    Changes "changes",
    Unapplied "unapplied",
    Settle "settle",
    Cursors "cursors",
    Fence "fence",
    Standing "standing",
    Account "account",
    Accounts "accounts",
    AccountsOf "accounts_of",
    Commits "commits",
    Grant "grant",
    Due "due",
    Reservations "reservations",
    Entries "entries",
    Conversation "conversation",
    PutCatalog "put_catalog",
    Catalogs "catalogs",
    Id "id",
    FixShards "fix_shards",
    InUse "in_use",
    LogCalls "log_calls",
    Calls "calls",
    Audit "audit",
}
