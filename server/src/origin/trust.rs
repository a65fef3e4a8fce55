//! Whose certificates are trusted: whom the host trusts, and those of a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use crate::config::{OriginAddress, Routes, Target};

/// How TLS is spoken to origins, if to any.
///
/// # Errors
/// If the file or the host's certificates can't be read.
pub(crate) fn trust(routes: &Routes, extra: Option<&Path>) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    let is_https = |target: &Target| match target {
        Target::Embedded => false,
        Target::Origins(origins) => origins.addresses.iter().any(|address| matches!(address, OriginAddress::Https(_))),
    };
    if !routes.all().iter().any(|route| is_https(&route.target)) {
        return Ok(None);
    }
    let extra: Vec<CertificateDer<'static>> = match extra {
        None => Vec::new(),
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .with_context(|| format!("{} can't be read as certificates", path.display()))?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
        .context("the certificates that the host trusts can't be read")?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}
