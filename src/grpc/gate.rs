//! The gate: whether a call may reach its service. Who calls is found out here, by token, by
//! certificate or by Unix credentials; which roles a method needs is `access::table`'s. For which
//! accounts a caller may act is known once its message is read: [`Caller::admits`].
//!
//! Without an access file nothing is looked at, and no call pays for it.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};
use tonic::{Extensions, Status};

use super::{
    methods::{Method, Route},
    peer::Peer,
    status,
};
use crate::access::{
    AccessFile, Principal,
    table::{self, Role},
};

/// What the value of the header starts with.
const SCHEME: &str = "Bearer ";

/// Who calls, as a call carries it to its handler.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Absent: there is no access file.
    principal: Option<Arc<Principal>>,
    peer: Arc<Peer>,
}

impl Caller {
    /// Its name; empty: there is no access file.
    pub(super) fn name(&self) -> &str {
        self.principal
            .as_ref()
            .map_or("", |known| known.name.as_str())
    }

    /// Where its connection comes from.
    pub(super) fn peer(&self) -> String {
        self.peer.to_string()
    }

    /// Refuses an account that the caller may not act for. An empty id is every account.
    pub(super) fn admits(extensions: &Extensions, account_id: &str) -> Result<(), Status> {
        let Some(principal) = scoped(extensions) else {
            return Ok(());
        };
        match principal.has_account(account_id) {
            true => Ok(()),
            false => Err(status::out_of_scope(principal, account_id.is_empty())),
        }
    }

    /// Whether the caller may act for this account: for what is left out of a list.
    pub(super) fn has_account(extensions: &Extensions, account_id: &str) -> bool {
        scoped(extensions).is_none_or(|principal| principal.has_account(account_id))
    }
}

fn scoped(extensions: &Extensions) -> Option<&Principal> {
    let principal = extensions.get::<Caller>()?.principal.as_deref();
    principal.filter(|principal| principal.is_scoped())
}

/// A call that is refused at the gate.
pub(super) struct KeptOut {
    /// Why.
    pub(super) status: Status,
    /// Who called, as far as that is known.
    pub(super) caller: Caller,
}

/// Lets calls in, or refuses them.
pub(super) struct Gate {
    access: Option<Arc<AccessFile>>,
}

impl Gate {
    pub(super) fn new(access: Option<Arc<AccessFile>>) -> Self {
        Gate { access }
    }

    /// Who calls, where its handler has to know that; or why it is refused.
    pub(super) fn admit(
        &self,
        method: Method,
        headers: &HeaderMap,
        peer: &Arc<Peer>,
    ) -> Result<Option<Caller>, Box<KeptOut>> {
        let kept_out = |status, principal| {
            let caller = caller(principal, peer);
            Box::new(KeptOut { status, caller })
        };
        let principal = match (&self.access, method.route) {
            // Whoever probes whether a process lives need not say who it is.
            (None, _) | (_, Route::Health) => None,
            (Some(access), route) => {
                let known = known(access, headers, peer);
                let principal = known.map_err(|status| kept_out(status, None))?;
                let needed = needed(route, method);
                if !needed.iter().any(|role| principal.roles.contains(role)) {
                    let status = status::role_missing(&principal, method.name(), needed);
                    return Err(kept_out(status, Some(principal)));
                }
                Some(principal)
            }
        };
        let scoped = principal.as_ref().is_some_and(|known| known.is_scoped());
        let told = scoped || method.route == Route::Admin;
        Ok(told.then(|| caller(principal, peer)))
    }
}

/// Who calls: by the token of the call, or else by its connection.
fn known(access: &AccessFile, headers: &HeaderMap, peer: &Peer) -> Result<Arc<Principal>, Status> {
    let access = access.current();
    let Some(value) = headers.get(AUTHORIZATION) else {
        let found = access.by_connection(&peer.credentials).cloned();
        return found.ok_or_else(|| status::unknown_caller(&peer.shown()));
    };
    let text = value.to_str().ok();
    let split = text.and_then(|text| text.split_at_checked(SCHEME.len()));
    // The scheme's name is written in any case.
    let token = split.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
    let token = token.map(|(_, token)| token.trim());
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(status::not_a_token)?;
    let found = access.by_token(token).cloned();
    found.ok_or_else(status::unknown_token)
}

fn needed(route: Route, method: Method) -> &'static [Role] {
    match route {
        Route::Quota | Route::Admin => table::allowed(method.name()),
        // What is reflected is public, but not to just anybody.
        Route::Health | Route::ReflectionV1 | Route::ReflectionV1Alpha => &Role::ALL,
    }
}

fn caller(principal: Option<Arc<Principal>>, peer: &Arc<Peer>) -> Caller {
    Caller {
        principal,
        peer: Arc::clone(peer),
    }
}
