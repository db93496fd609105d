//! TLS for the requests that this crate makes itself.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{ConfigError, config::Problem};

/// Trusts the certificates that the system trusts. Errors begin with the name of `part`, for which it is.
pub(crate) fn as_the_system(part: &str) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let remedy = "the system trusts no certificate; install its package of CA certificates, or set SSL_CERT_FILE";
    of(roots, format!("{part}.certificates"), remedy)
}

/// Trusts these certificates of authorities, in PEM, and no others.
pub(crate) fn trusting(part: &str, pem: &[u8]) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    of(roots, format!("{part}.trusting"), "must be one or more certificates in PEM")
}

/// For requests without TLS.
#[cfg(feature = "remote")]
pub(crate) fn trusting_nobody(part: &str) -> Result<ClientConfig, ConfigError> {
    config(RootCertStore::empty(), format!("{part}.certificates"))
}

fn of(roots: RootCertStore, field: String, remedy: &str) -> Result<ClientConfig, ConfigError> {
    if roots.is_empty() {
        return Err(ConfigError::new(vec![Problem::new(field, "", remedy)]));
    }
    config(roots, field)
}

fn config(roots: RootCertStore, field: String) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| ConfigError::new(vec![Problem::new(field, "", error.to_string())]))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
