//! Who the server says it is: a chain of certificates and the key of the first, from files.
//!
//! What is in force is one `ServerConfig`, replaced as a whole by a reload: connections that
//! are open keep the one they began with. Sessions are resumed by tickets alone, which cost
//! the server no memory and work on every core; their keys live in the memory of the process,
//! change every six hours, and go with the certificate that they were made under.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::ring::Ticketer,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use x509_cert::{Certificate, der::Decode};

use super::{Session, provider, read, read_certificates};
use crate::config::TlsFiles;

/// What is agreed on by ALPN, when the client asks for any.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("{path}: {source}; give the path of a file in PEM that this user may read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no certificate, or one that is cut.
    #[error(
        "{} holds no whole certificate in PEM, which begins with '-----BEGIN CERTIFICATE-----'", .0.display()
    )]
    NoCertificate(PathBuf),
    /// The certificate is none.
    #[error("the first certificate in {path} is malformed: {reason}; make it anew", path = .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file has no key.
    #[error(
        "{} holds no whole private key in PEM (PKCS#8, SEC1 or PKCS#1), which begins with '-----BEGIN PRIVATE KEY-----' or the like", .0.display()
    )]
    NoKey(PathBuf),
    /// The key needs a passphrase.
    #[error(
        "the private key in {path} has a passphrase, which a server cannot ask for; take it off with 'openssl pkey -in {path} -out NEW_FILE'", path = .0.display()
    )]
    Passphrase(PathBuf),
    /// The key is of a kind that is not known, or malformed.
    #[error(
        "the private key in {path} cannot be used: {reason}; ECDSA (P-256, P-384), Ed25519 and RSA of 2048 to 8192 bits can", path = .path.display()
    )]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "the private key in {key} does not belong to the first certificate in {cert}; give the server's own certificate first, then its chain", key = .key.display(), cert = .cert.display()
    )]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

/// When a certificate begins and ends to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub begins: SystemTime,
    /// Not after.
    pub ends: SystemTime,
    /// The former as text.
    pub begins_text: String,
    /// The latter as text.
    pub ends_text: String,
}

impl Validity {
    /// How long the certificate is still valid at `now`; `None`: it is not, or not yet.
    #[must_use]
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let has_begun = now >= self.begins;
        self.ends.duration_since(now).ok().filter(|_| has_begun)
    }
}

/// The server's certificate and key, as last read.
pub struct Identity {
    files: TlsFiles,
    in_force: Mutex<InForce>,
}

#[derive(Clone)]
struct InForce {
    config: Arc<ServerConfig>,
    validity: Validity,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what to do.
    pub fn load(files: &TlsFiles) -> Result<Identity, IdentityError> {
        Ok(Identity {
            files: files.clone(),
            in_force: Mutex::new(InForce::load(files)?),
        })
    }

    /// Reads the files again, for connections that begin from now on.
    ///
    /// # Errors
    /// As [`Identity::load`]; what was in force stays so.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let loaded = InForce::load(&self.files)?;
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// When the certificate in force is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.in_force().validity
    }

    /// The server's side of a new connection.
    #[must_use]
    pub fn begin(&self) -> Session {
        Session::new(self.in_force().config)
    }

    fn in_force(&self) -> InForce {
        let in_force = self.in_force.lock();
        in_force.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl InForce {
    fn load(files: &TlsFiles) -> Result<InForce, IdentityError> {
        let chain = read_certificates(&files.cert)?;
        let malformed = |reason: String| IdentityError::BadCertificate {
            path: files.cert.clone(),
            reason,
        };
        let validity = validity(&chain[0]).map_err(|error| malformed(error.to_string()))?;
        let key = read_key(&files.key)?;
        let unusable = |reason: String| IdentityError::BadKey {
            path: files.key.clone(),
            reason,
        };
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| unusable(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(IdentityError::Mismatch {
                    cert: files.cert.clone(),
                    key: files.key.clone(),
                });
            }
            Err(error) => return Err(malformed(error.to_string())),
        }
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has algorithms for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = Ticketer::new().map_err(|error| unusable(error.to_string()))?;
        Ok(InForce {
            config: Arc::new(config),
            validity,
        })
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let is_encrypted = |line: &[u8]| {
            line.starts_with(b"-----BEGIN ENCRYPTED") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
        };
        match text.split(|byte| *byte == b'\n').any(is_encrypted) {
            true => IdentityError::Passphrase(path.to_owned()),
            false => IdentityError::NoKey(path.to_owned()),
        }
    })
}

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, x509_cert::der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let validity = certificate.tbs_certificate().validity();
    Ok(Validity {
        begins: SystemTime::UNIX_EPOCH + validity.not_before.to_unix_duration(),
        ends: SystemTime::UNIX_EPOCH + validity.not_after.to_unix_duration(),
        begins_text: validity.not_before.to_string(),
        ends_text: validity.not_after.to_string(),
    })
}
