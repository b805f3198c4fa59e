//! Metrics of who is let in.

use super::{Spec, counter, gauge};

/// Connections that are turned away.
pub const CONNECTIONS_REFUSED: Spec = counter(
    "tollgate_connections_refused_total",
    "tollgate.connections.refused",
    "{connection}",
    &["reason"],
    "Connections turned away before their first call: handshake_timeout, handshake_failed, unix_peer, preface_timeout.",
);
/// Calls of AdminService that are kept out.
pub const ADMIN_REFUSALS: Spec = counter(
    "tollgate_admin_refusals_total",
    "tollgate.admin.refusals",
    "{call}",
    &["audited"],
    "Calls of AdminService refused before they began, in the audit log (yes) or not (no).",
);
/// Certificates and access files.
pub const FILE_RELOADS: Spec = counter(
    "tollgate_file_reloads_total",
    "tollgate.file.reloads",
    "{reload}",
    &["file", "result"],
    "Changed certificates (tls) and access files (access): loaded, or refused (the old one stays).",
);
/// Files that are there and not used.
pub const FILE_REFUSED: Spec = gauge(
    "tollgate_file_refused",
    "tollgate.file.refused",
    "1",
    &["file"],
    "Whether the certificate (tls), access file (access) or catalogue (catalog) that lies there now was refused: the old one is in use, and a restart would fail.",
);
/// The start of the certificate.
pub const CERTIFICATE_NOT_BEFORE: Spec = gauge(
    "tollgate_tls_certificate_not_before_seconds",
    "tollgate.tls.certificate.not_before",
    "s",
    &[],
    "When the certificate in use began, in seconds since 1970; 0 without TLS.",
);
/// The end of the certificate.
pub const CERTIFICATE_NOT_AFTER: Spec = gauge(
    "tollgate_tls_certificate_not_after_seconds",
    "tollgate.tls.certificate.not_after",
    "s",
    &[],
    "When the certificate in use ends, in seconds since 1970; 0 without TLS.",
);
