//! Who is let in, and by which files.

use super::Metrics;
use crate::telemetry::labels::Reload;

impl Metrics {
    /// A connection that was turned away, e.g. for `handshake_failed`.
    pub fn connection_refused(&self, reason: &'static str) {
        self.security.refused(reason);
    }

    /// A call of AdminService that was refused at the gate, with a line in the audit log or not.
    pub fn admin_refusal(&self, audited: bool) {
        self.security.admin_refusal(audited);
    }

    /// A changed file of security, `tls` or `access`.
    pub fn file_reload(&self, file: &'static str, reload: Reload) {
        self.security.reload(file, reload);
    }

    /// When the certificate that is in use ends, in seconds since 1970.
    pub fn set_certificate_not_after(&self, seconds: i64) {
        self.security.certificate_not_after.set(seconds);
    }
}
