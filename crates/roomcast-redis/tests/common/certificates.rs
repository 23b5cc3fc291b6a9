//! [`Certificates`]: a CA for one test, in a process that trusts only this CA.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment variable by which that process finds the directory.
const DIRECTORY: &str = "ROOMCAST_TEST_CERTIFICATES";

/// A directory with `ca.crt`, which the process trusts, and with `.crt` and `.key` files of `ip` (for the IP
/// 127.0.0.1), `name` (for the name `localhost`) and `stranger` (for both, from a CA that nobody trusts).
#[derive(Debug)]
pub(crate) struct Certificates(pub(crate) PathBuf);

/// Runs a test in a process of its own that trusts the new CA, set up as an operator would: `SSL_CERT_FILE` is read
/// from the environment, and a process cannot safely change its own. `name` is the test's name, with its module.
pub(crate) fn with_certificates(name: &str, test: impl AsyncFnOnce(Certificates)) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let directory = PathBuf::from(directory);
        runtime().block_on(test(Certificates(directory.clone())));
        fs::write(directory.join("passed"), name).unwrap();
        return;
    }
    let directory =
        std::env::temp_dir().join(format!("roomcast-tls-{}-{}", std::process::id(), name.replace("::", "-")));
    fs::create_dir_all(&directory).unwrap();
    make(&directory);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]).env(DIRECTORY, &directory);
    let status = again.env("SSL_CERT_FILE", directory.join("ca.crt")).env_remove("SSL_CERT_DIR").status().unwrap();
    // If no test had this name, the process would succeed too.
    let passed = status.success() && directory.join("passed").exists();
    fs::remove_dir_all(&directory).unwrap();
    assert!(passed, "the test {name} failed in its own process: {status}");
}

fn make(directory: &Path) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(directory).output().expect("openssl is needed");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for ca in ["ca", "other"] {
        let (key_file, file) = (format!("{ca}.key"), format!("{ca}.crt"));
        // If both CAs had the same name, certificates of the wrong one would count as forged.
        let subject = format!("/CN={ca}");
        let ours = ["-x509", "-days", "2", "-subj", &subject, "-keyout", &key_file, "-out", &file];
        openssl(&[&["req"], &key[..], &ours].concat());
    }
    let both = "IP:127.0.0.1,DNS:localhost";
    for (name, ca, names) in
        [("ip", "ca", "IP:127.0.0.1"), ("name", "ca", "DNS:localhost"), ("stranger", "other", both)]
    {
        let file = |ending| format!("{name}.{ending}");
        fs::write(directory.join(file("ext")), format!("subjectAltName={names}\n")).unwrap();
        let (key_file, request, certificate) = (file("key"), file("csr"), file("crt"));
        openssl(&[&["req"], &key[..], &["-subj", "/CN=redis", "-keyout", &key_file, "-out", &request]].concat());
        let (ca_file, ca_key, extensions) = (format!("{ca}.crt"), format!("{ca}.key"), file("ext"));
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            &ca_file,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ]);
    }
}
