//! A PostgreSQL of our own: data in a temporary folder, a free port, TLS with a CA of our own.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub const SUPERUSER: &str = "postgres";
pub const PASSWORD: &str = "super-secret-canary";

pub struct Postgres {
    pub port: u16,
    pub ca: String,
    child: Child,
    _folder: TempDir,
}

static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

/// One server for the tests that run at the same time.
pub fn shared() -> Arc<Postgres> {
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Postgres::start());
    *shared = Arc::downgrade(&started);
    started
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Postgres {
    fn start() -> Self {
        let (bin, account) = (programs(), account());
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let ca = certificates(folder.path());
        if let Some((uid, gid)) = account {
            for entry in fs::read_dir(folder.path()).unwrap() {
                chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
            }
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let command = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(folder.path()).env("LC_ALL", "C").stdout(Stdio::null());
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let made = command("initdb")
            .args(["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", "--username", SUPERUSER])
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let port = free_port();
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"])
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "ssl=on"])
            .args(["-c", &format!("ssl_cert_file={}", folder.path().join("server.crt").display())])
            .args(["-c", &format!("ssl_key_file={}", folder.path().join("server.key").display())])
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { port, ca, child, _folder: folder };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        // The lock file's last line says `ready` once logins are accepted.
        let file = self._folder.path().join("data/postmaster.pid");
        while !fs::read_to_string(&file)
            .is_ok_and(|text| text.lines().last().is_some_and(|line| line.trim() == "ready"))
        {
            let log = || fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "postgres ended: {}", log());
            assert!(Instant::now() < deadline, "postgres is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn url(&self, sslmode: &str) -> String {
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode={sslmode}", self.port)
    }

    pub async fn login(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn admin(&self) -> Client {
        self.login(SUPERUSER, PASSWORD).await.unwrap()
    }

    pub async fn users_like(&self, pattern: &str) -> Vec<String> {
        let rows = self.admin().await.query("SELECT rolname FROM pg_roles WHERE rolname LIKE $1", &[&pattern]).await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("HOLDFAST_POSTGRES_BIN") {
        return folder.into();
    }
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).chain(debian).collect();
    folders.retain(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    folders.pop().expect("PostgreSQL is missing: apt-get install postgresql, or set HOLDFAST_POSTGRES_BIN")
}

/// PostgreSQL does not run as root; then the account `postgres` of its package is used.
fn account() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    Some((id(&["-u", "postgres"]).expect("the account postgres"), id(&["-g", "postgres"]).expect("its group")))
}

/// A CA, and a certificate for `localhost` (not for 127.0.0.1, which the tests connect to).
fn certificates(folder: &Path) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("server.crt"), leaf.pem()).unwrap();
    let path = folder.join("server.key");
    fs::write(&path, key.serialize_pem()).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    ca
}
