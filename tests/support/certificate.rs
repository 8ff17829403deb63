//! Certificates for a test, made by the `openssl` command, and a client that trusts them.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::client::{Client, Wire, try_connect};

/// An authority, a certificate that it gave to localhost and 127.0.0.1, and the key of that.
#[derive(Clone, Debug)]
pub struct Site {
    directory: PathBuf,
}

/// How openssl makes a key, as P-256 unless a test is about keys.
pub const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

impl Site {
    /// Makes everything below `directory`.
    #[track_caller]
    pub fn new(directory: &Path) -> Site {
        let site = Site {
            directory: directory.to_owned(),
        };
        let [ca, ca_key] = [site.ca(), site.directory.join("ca.key")];
        openssl(
            &[
                &[
                    "req",
                    "-x509",
                    "-nodes",
                    "-days",
                    "30",
                    "-subj",
                    "/CN=authority",
                ],
                P256,
            ]
            .concat(),
            &[("-out", &ca), ("-keyout", &ca_key)],
        );
        site.renew("first", P256);
        site
    }

    /// Gives localhost a new key, made as `key_options` say, and a certificate named `name`.
    #[track_caller]
    pub fn renew(&self, name: &str, key_options: &[&str]) {
        let ca_key = self.directory.join("ca.key");
        let subject = format!("/CN={name}");
        let options = [
            &["req", "-x509", "-nodes", "-days", "30", "-subj", &subject],
            &["-addext", "basicConstraints=critical,CA:FALSE"][..],
            &["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            key_options,
        ];
        openssl(
            &options.concat(),
            &[
                ("-CA", &self.ca()),
                ("-CAkey", &ca_key),
                ("-out", &self.cert()),
                ("-keyout", &self.key()),
            ],
        );
        // The chain, as servers give it.
        let chain = [self.cert(), self.ca()].map(|path| fs::read(path).expect("it was made"));
        fs::write(self.cert(), chain.concat()).expect("the directory takes files");
    }

    /// The certificate of the authority.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The certificate of localhost, and its chain.
    pub fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// The key of localhost.
    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// What a client needs that trusts the authority.
    pub fn client_config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.ca()).expect("it was made");
        roots.add(ca).expect("a certificate");
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A client's side of a connection to localhost.
    pub fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(self.client_config()), name).expect("a configuration")
    }

    /// The name that the server's certificate has for a client that asks now.
    #[track_caller]
    pub fn shown_name(&self, address: SocketAddr) -> String {
        let output = Command::new("openssl")
            .args(["s_client", "-servername", "localhost"])
            .args(["-verify_return_error", "-connect", &address.to_string()])
            .arg("-CAfile")
            .arg(self.ca())
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        let (_, name) = said.split_once("subject=CN = ").expect("a subject");
        name.lines().next().expect("a line").to_owned()
    }

    /// Opens a connection; the handshake is done with the first bytes.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> Client {
        Client::over(self.wire(address))
    }

    /// The same, to be written to and read from as it is.
    #[track_caller]
    pub fn wire(&self, address: SocketAddr) -> TlsWire {
        let socket = try_connect(address).expect("the server listens");
        TlsWire(StreamOwned::new(self.client(), socket))
    }
}

/// A connection by TLS.
#[derive(Debug)]
pub struct TlsWire(pub StreamOwned<ClientConnection, TcpStream>);

impl Read for TlsWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Wire for TlsWire {}

/// Runs openssl with `options`, and with `files` each behind its option.
#[track_caller]
pub fn openssl(options: &[&str], files: &[(&str, &Path)]) -> String {
    let mut command = Command::new("openssl");
    command.args(options);
    for (option, path) in files {
        command.arg(option).arg(path);
    }
    let output = command.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
