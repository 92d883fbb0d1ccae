//! nginx as near to what `sidestep` promises as its configuration goes.

use sidestep_tests::clock::{PATIENCE, wait_for};
use sidestep_tests::net::Host;
use sidestep_tests::process::Process;
use std::path::Path;
use tempfile::TempDir;

/// A running nginx.
pub struct Nginx {
    _process: Process,
    _files: TempDir,
}

impl Nginx {
    /// Serves `root` on `port` of `host`.
    ///
    /// # Panics
    /// When nginx is missing or does not start.
    pub fn start(host: &Host, port: u16, root: &Path) -> Self {
        let files = TempDir::new().expect("a temporary directory");
        let dir = files.path().display();
        let root = root.display();
        let config = format!(
            "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr crit;\n\
             events {{}}\n\
             http {{ access_log off; include /etc/nginx/mime.types; default_type application/octet-stream;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             if_modified_since before; absolute_redirect off; merge_slashes off;\n\
             gzip_static on; gzip_vary on; gzip_http_version 1.0; gzip_proxied any;\n\
             server {{ listen {port}; root {root}; location ~ /\\. {{ return 404; }} }} }}\n"
        );
        let path = files.path().join("nginx.conf");
        std::fs::write(&path, config).expect("nginx.conf is written");
        let path = path.display().to_string();
        let mut process = host.spawn(&["nginx", "-e", "stderr", "-c", &path]);
        wait_for(PATIENCE, "nginx listens", || {
            assert!(process.running(), "nginx ended:\n{}", process.stderr());
            let listens = host.must(&["ss", "-Hltn", &format!("sport = :{port}")]);
            (!listens.is_empty()).then_some(())
        });
        Self {
            _process: process,
            _files: files,
        }
    }
}
