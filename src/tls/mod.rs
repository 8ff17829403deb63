//! TLS: the server's certificate and key, and what travels encrypted. No sockets here.

mod identity;
mod session;

pub use identity::{Identity, IdentityError, Validity};
pub use session::{Fault, Session, TURNED_AWAY};

use std::{
    fs, io,
    io::Read,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

use crate::limits::TLS_FILE_BYTES_MAX;

/// The algorithms that all of this uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// The certificates of a file in PEM, in its order.
///
/// # Errors
/// [`IdentityError::Read`] and [`IdentityError::NoCertificate`].
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(IdentityError::NoCertificate(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let file = fs::File::open(path)?;
        file.take(TLS_FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| IdentityError::Read {
        path: path.to_owned(),
        source,
    })
}
