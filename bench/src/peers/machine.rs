//! What the figures were measured on.

use super::cpu;
use serde::Serialize;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How long is looked whether anything else runs.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub governor: String,
    pub virtualisation: String,
    pub memory_gib: u64,
    pub wrk: String,
    /// Per cent of the two cores that others took before it began.
    pub others: f64,
}

impl Machine {
    pub(super) fn look(cores: [usize; 2]) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let model = ["cpu family", "model\t", "stepping"].map(|name| field(&cpuinfo, name));
        let memory = field(
            &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
            "MemTotal",
        );
        let kib = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        let before = cpu::cores(cores);
        std::thread::sleep(LOOK);
        let busy = cpu::cores(cores)
            .iter()
            .zip(&before)
            .map(|(after, before)| after.since(before).busy())
            .sum::<f64>();
        Self {
            cpu: format!("{} ({})", field(&cpuinfo, "model name"), model.join("/")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: said(&["uname", "-r"]),
            governor: fs::read_to_string(governor)
                .map_or("none visible".to_owned(), |text| text.trim().to_owned()),
            virtualisation: said(&["systemd-detect-virt"]),
            memory_gib: kib.unwrap_or(0) >> 20,
            wrk: said(&["wrk", "-v"]),
            others: 100.0 * busy / (2.0 * LOOK.as_secs_f64()),
        }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}, {} cores, {} GiB; Linux {}; virtualisation: {}; governor: {}; {}; before it began others took {:.0} % of \
             the two cores.",
            self.cpu,
            self.cores,
            self.memory_gib,
            self.kernel,
            self.virtualisation,
            self.governor,
            self.wrk,
            self.others
        )
    }
}

/// The first line that a command prints.
fn said(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output();
    let text = output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let line = text.lines().next().unwrap_or("?");
    line.split(" Copyright")
        .next()
        .unwrap_or(line)
        .trim()
        .to_owned()
}
