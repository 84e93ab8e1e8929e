//! Certificates for tests: an authority of its own, server and client certificates for the loopback
//! address, all by `openssl` on the command line. Keys are PKCS#8 PEM.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, ProcessError};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `openssl` failed.
    #[error("failed to make the certificate of {name}")]
    Openssl {
        /// Whose.
        name: String,
        /// What it said.
        #[source]
        source: ProcessError,
    },
    /// A file could not be written.
    #[error("failed to write the certificate of {name}")]
    Write {
        /// Whose.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The files of one certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate alone.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Key, certificate and authority in one file, as Kafka's PEM key store wants it.
    pub bundle: PathBuf,
}

/// A certificate authority in a directory.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes a new authority in `dir`.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn make(dir: &Path) -> Result<Authority, TlsError> {
        let authority = Authority { dir: dir.to_owned() };
        let name = "authority";
        fs::create_dir_all(dir).map_err(|source| TlsError::Write { name: name.to_owned(), source })?;
        openssl(
            dir,
            name,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "3650",
                "-subj",
                "/CN=keyweir test authority",
                "-keyout",
                "ca.key",
                "-out",
                "ca.crt",
            ],
        )?;
        Ok(authority)
    }

    /// An authority that was made before.
    #[must_use]
    pub fn at(dir: &Path) -> Authority {
        Authority { dir: dir.to_owned() }
    }

    /// The authority's certificate: what a client trusts.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Issues a certificate for `name` (its common name), valid for `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// When `openssl` fails or a file can't be written.
    pub fn issue(&self, name: &str) -> Result<Certificate, TlsError> {
        let write = |source| TlsError::Write { name: name.to_owned(), source };
        let file = |ending: &str| format!("{name}.{ending}");
        fs::write(self.dir.join(file("ext")), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            .map_err(write)?;
        openssl(
            &self.dir,
            name,
            &[
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                &format!("/CN={name}"),
                "-keyout",
                &file("key"),
                "-out",
                &file("csr"),
            ],
        )?;
        openssl(
            &self.dir,
            name,
            &[
                "x509",
                "-req",
                "-in",
                &file("csr"),
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "3650",
                "-extfile",
                &file("ext"),
                "-out",
                &file("crt"),
            ],
        )?;
        let issued = self.issued(name);
        let mut bundle = Vec::new();
        for part in [&issued.key, &issued.cert, &self.ca()] {
            bundle.extend(fs::read(part).map_err(write)?);
        }
        fs::write(&issued.bundle, bundle).map_err(write)?;
        Ok(issued)
    }

    /// Where the files of an issued certificate lie.
    #[must_use]
    pub fn issued(&self, name: &str) -> Certificate {
        let file = |ending: &str| self.dir.join(format!("{name}.{ending}"));
        Certificate { cert: file("crt"), key: file("key"), bundle: file("pem") }
    }
}

fn openssl(dir: &Path, name: &str, arguments: &[&str]) -> Result<(), TlsError> {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(dir);
    process::run("openssl", command)
        .map(|_| ())
        .map_err(|source| TlsError::Openssl { name: name.to_owned(), source })
}
