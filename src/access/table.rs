//! The table of what each role may call. README.md has the same table, and a test compares them.

/// What a caller is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A model gateway: reserves, and settles what it reserved.
    Gateway,
    /// An agent runner or a build worker: settles, and prolongs what was reserved for it.
    Runner,
    /// Support: looks everything up, refunds, suspends.
    Support,
    /// Billing: accounts, plans and grants.
    Billing,
    /// Looks, and changes nothing.
    Viewer,
}

impl Role {
    /// All, in the table's order.
    pub const ALL: [Role; 5] = [
        Role::Gateway,
        Role::Runner,
        Role::Support,
        Role::Billing,
        Role::Viewer,
    ];

    /// Its name, in the access file and in refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Runner => "runner",
            Role::Support => "support",
            Role::Billing => "billing",
            Role::Viewer => "viewer",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

use Role::{Billing, Gateway, Runner, Support, Viewer};

/// Each method of the contract, and who may call it. What is not listed nobody may call.
pub const TABLE: [(&str, &[Role]); 20] = [
    ("tollgate.v1.QuotaService/Quote", &Role::ALL),
    ("tollgate.v1.QuotaService/Reserve", &[Gateway]),
    ("tollgate.v1.QuotaService/Extend", &[Gateway, Runner]),
    ("tollgate.v1.QuotaService/Commit", &[Gateway, Runner]),
    ("tollgate.v1.QuotaService/Release", &[Gateway, Runner]),
    ("tollgate.v1.QuotaService/Charge", &[Gateway, Runner]),
    ("tollgate.v1.QuotaService/GetBalance", &Role::ALL),
    (
        "tollgate.v1.QuotaService/GetReservation",
        &[Gateway, Runner, Support, Viewer],
    ),
    ("tollgate.v1.AdminService/CreateAccount", &[Billing]),
    (
        "tollgate.v1.AdminService/GetAccount",
        &[Support, Billing, Viewer],
    ),
    (
        "tollgate.v1.AdminService/ListAccounts",
        &[Support, Billing, Viewer],
    ),
    (
        "tollgate.v1.AdminService/SetAccountStatus",
        &[Support, Billing],
    ),
    ("tollgate.v1.AdminService/ChangePlan", &[Billing]),
    ("tollgate.v1.AdminService/GrantCredits", &[Billing]),
    ("tollgate.v1.AdminService/VoidGrant", &[Billing]),
    ("tollgate.v1.AdminService/Refund", &[Support]),
    (
        "tollgate.v1.AdminService/ListEntries",
        &[Support, Billing, Viewer],
    ),
    (
        "tollgate.v1.AdminService/GetConversation",
        &[Support, Viewer],
    ),
    (
        "tollgate.v1.AdminService/GetCatalog",
        &[Support, Billing, Viewer],
    ),
    (
        "tollgate.v1.AdminService/ListAudit",
        &[Support, Billing, Viewer],
    ),
];

/// Who may call a method, by its fully qualified name.
pub fn allowed(method: &str) -> &'static [Role] {
    let found = TABLE.iter().find(|(known, _)| *known == method);
    found.map_or(&[], |(_, roles)| roles)
}
