//! Every method that can be served, by its path.

/// The services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Quota,
    Admin,
    Health,
    ReflectionV1,
    ReflectionV1Alpha,
}

/// A method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) route: Route,
    /// Its path, of which the metrics leave out the first slash.
    path: &'static str,
}

impl Method {
    /// The fully qualified name.
    pub(super) fn name(&self) -> &'static str {
        self.path.strip_prefix('/').unwrap_or(self.path)
    }
}

/// What the metrics call everything that is not served.
pub(super) const OTHER: &str = "_OTHER";

/// The most frequent ones come first: the table is looked through from its start.
const METHODS: [Method; 24] = [
    quota("/tollgate.v1.QuotaService/Reserve"),
    quota("/tollgate.v1.QuotaService/Commit"),
    quota("/tollgate.v1.QuotaService/Release"),
    quota("/tollgate.v1.QuotaService/Charge"),
    quota("/tollgate.v1.QuotaService/Extend"),
    quota("/tollgate.v1.QuotaService/GetBalance"),
    quota("/tollgate.v1.QuotaService/Quote"),
    quota("/tollgate.v1.QuotaService/GetReservation"),
    admin("/tollgate.v1.AdminService/CreateAccount"),
    admin("/tollgate.v1.AdminService/GetAccount"),
    admin("/tollgate.v1.AdminService/ListAccounts"),
    admin("/tollgate.v1.AdminService/SetAccountStatus"),
    admin("/tollgate.v1.AdminService/ChangePlan"),
    admin("/tollgate.v1.AdminService/GrantCredits"),
    admin("/tollgate.v1.AdminService/VoidGrant"),
    admin("/tollgate.v1.AdminService/Refund"),
    admin("/tollgate.v1.AdminService/ListEntries"),
    admin("/tollgate.v1.AdminService/GetConversation"),
    admin("/tollgate.v1.AdminService/GetCatalog"),
    admin("/tollgate.v1.AdminService/ListAudit"),
    Method {
        route: Route::Health,
        path: "/grpc.health.v1.Health/Check",
    },
    Method {
        route: Route::Health,
        path: "/grpc.health.v1.Health/Watch",
    },
    Method {
        route: Route::ReflectionV1,
        path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    },
    Method {
        route: Route::ReflectionV1Alpha,
        path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    },
];

const fn quota(path: &'static str) -> Method {
    Method {
        route: Route::Quota,
        path,
    }
}

const fn admin(path: &'static str) -> Method {
    Method {
        route: Route::Admin,
        path,
    }
}

/// The method at a path.
pub(super) fn find(path: &str) -> Option<Method> {
    METHODS.into_iter().find(|method| method.path == path)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{access::table, pb};

    #[test]
    fn the_table_has_every_method_of_the_contract() {
        let contract = prost_types::FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
        let mut count = 0;
        for file in contract.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let found = find(&path).unwrap_or_else(|| panic!("{path} is missing"));
                    assert_eq!(found.name(), &path[1..]);
                    assert!(
                        !table::allowed(found.name()).is_empty(),
                        "{path} is nobody's"
                    );
                    count += 1;
                }
            }
        }
        let ours = |method: &Method| matches!(method.route, Route::Quota | Route::Admin);
        assert_eq!(count, METHODS.iter().filter(|method| ours(method)).count());
        assert_eq!(count, table::TABLE.len());
    }
}
