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
        self.set_file_refused(file, matches!(reload, Reload::Refused));
    }

    /// Whether the file that is there now is not used: `tls`, `access` or `catalog`.
    pub fn set_file_refused(&self, file: &'static str, is_refused: bool) {
        self.security.file_is_refused(file, is_refused);
    }

    /// From when to when the certificate that is in use is valid, in seconds since 1970.
    pub fn set_certificate(&self, not_before_s: i64, not_after_s: i64) {
        self.security.certificate(not_before_s, not_after_s);
    }
}
