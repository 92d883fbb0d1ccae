//! `cargo xtask mutants`: does the simulation notice when TCP is wrong?
//!
//! Breaks one rule of a copy of `tcp-lite` at a time and demands that the simulation fails; the unbroken copy must
//! pass. The copy, and what is built from it, is kept below the target directory: a run builds only what the mutations
//! touch.

use crate::step;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Seeds that a mutant must survive to be missed. The hardest one dies at 177; ten times that, since any change to the
/// simulation deals all seeds anew.
const SEEDS: &str = "2000";
/// Seconds after which a run is taken for a livelock. A passing one takes a few; a loaded machine ten times as long.
const LONGEST: &str = "300";

/// One rule, broken.
struct Mutation {
    rule: &'static str,
    /// Below `tcp-lite/src`.
    file: &'static str,
    /// Stands there exactly once.
    old: &'static str,
    new: &'static str,
}

/// The first one is also tried by `cargo xtask test`.
const MUTATIONS: &[Mutation] = &[
    Mutation {
        rule: "an ACK counts only above SND.UNA",
        file: "send/ack.rs",
        old: "let moved = una.lt(info.ack);",
        new: "let moved = una != info.ack;",
    },
    Mutation {
        rule: "an ACK counts only up to SND.NXT",
        file: "send/mod.rs",
        old: "ack.le(self.nxt) && (self.una - self.max_wnd).le(ack)",
        new: "(self.una - self.max_wnd).le(ack)",
    },
    Mutation {
        rule: "a segment outside the window is acknowledged, not taken",
        file: "recv/mod.rs",
        old: "if starts || ends {",
        new: "if starts || ends || seq_len > 0 {",
    },
    Mutation {
        rule: "what came before is cut off",
        file: "arrive/data.rs",
        old: "self.rcv.nxt.since(seg.seq)\n",
        new: "self.rcv.nxt.since(seg.seq) - 1\n",
    },
    Mutation {
        rule: "what the peer holds left the network",
        file: "send/sent.rs",
        old: "        self.discount(before, end.since(seq));\n",
        new: "",
    },
    Mutation {
        rule: "each timeout doubles the next",
        file: "send/timer.rs",
        old: "        self.rtt.back_off();\n",
        new: "",
    },
    Mutation {
        rule: "a timeout starts the timer again",
        file: "send/timer.rs",
        old: "        self.rtt.back_off();\n        self.start_rto(now, config);\n",
        new: "        self.rtt.back_off();\n        self.stop_timers();\n",
    },
    Mutation {
        rule: "an older timestamp is refused",
        file: "recv/mod.rs",
        old: "SeqNum(ts.val).lt(SeqNum(self.ts_recent)) &&",
        new: "ts.val == 0 &&",
    },
    Mutation {
        rule: "the newest segment gives the window",
        file: "send/ack.rs",
        old: "if self.wl2.lt(info.ack) || self.wl2 == info.ack && self.wl1.le(info.seq) {",
        new: "{",
    },
    Mutation {
        rule: "the window takes no more than it says",
        file: "send/window.rs",
        old: "let len = want.min(window);\n        if busy",
        new: "let len = want.min(window.max(mss));\n        if busy",
    },
    Mutation {
        rule: "a closed window is probed",
        file: "send/timer.rs",
        old: "self.wnd.clamp(1, mss)",
        new: "self.wnd.min(mss)",
    },
    Mutation {
        rule: "what is unread closes the own window",
        file: "recv/mod.rs",
        old: "config.receive_window.saturating_sub(self.unread)",
        new: "config.receive_window",
    },
    Mutation {
        rule: "an ACK is delayed by less than half a second",
        file: "recv/mod.rs",
        old: "Timer::at(now.later(config.micros.delayed_ack))",
        new: "Timer::at(now.later(20 * config.micros.delayed_ack))",
    },
    Mutation {
        rule: "ten segments at first",
        file: "send/congestion.rs",
        old: "(10 * mss).min((2 * mss).max(14_600))",
        new: "16 * mss",
    },
    Mutation {
        rule: "only new data is ECN-capable",
        file: "send/ecn.rs",
        old: "!chunk.again",
        new: "chunk.len > 0",
    },
];

/// What came of the mutants.
#[must_use]
pub struct Outcome {
    pub tried: usize,
    /// Rules whose loss nobody noticed.
    pub missed: Vec<&'static str>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} mutants caught",
            self.tried - self.missed.len(),
            self.tried
        )
    }
}

/// Tries all mutations, or with `short` only the first.
///
/// # Errors
/// The table is stale, a mutant does not build, or the unbroken copy fails.
pub fn run(short: bool) -> Result<Outcome> {
    let copy = Copy::make()?;
    // All of them, so that no row goes stale between two long runs.
    for mutation in MUTATIONS {
        copy.place(mutation)?;
    }
    copy.build("the unbroken copy")?;
    if !short {
        // `cargo xtask test` runs the same simulation anyhow.
        let output = copy.simulate()?;
        ensure!(
            output.status.success(),
            "unbroken, it fails:\n{}",
            text(&output)
        );
        println!("unbroken: passes");
    }
    let some = if short { &MUTATIONS[..1] } else { MUTATIONS };
    let mut missed = Vec::new();
    for mutation in some {
        let output = copy.broken(mutation)?;
        if output.status.success() {
            println!("MISSED: {}", mutation.rule);
            missed.push(mutation.rule);
        } else {
            println!("caught: {}: {}", mutation.rule, finding(&output));
        }
    }
    Ok(Outcome {
        tried: some.len(),
        missed,
    })
}

/// The copy of `tcp-lite` as a workspace of its own.
struct Copy {
    dir: PathBuf,
}

impl Copy {
    fn make() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent directory")?;
        let dir = step::target_dir()?.join("mutants");
        for part in ["src", "tests"] {
            let part = Path::new("tcp-lite").join(part);
            mirror(&root.join(&part), &dir.join(&part))?;
        }
        let manifest = read(&root.join("Cargo.toml"))?;
        let members = manifest
            .lines()
            .find(|line| line.starts_with("members = "))
            .context("the workspace names no members")?;
        let manifest = manifest.replace(members, "members = [\"tcp-lite\"]");
        update(&dir.join("Cargo.toml"), manifest.as_bytes())?;
        if !dir.join("Cargo.lock").exists() {
            // Cargo takes out what is not needed here, and must not be told again each time.
            fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
        }
        let manifest = read(&root.join("tcp-lite/Cargo.toml"))?;
        update(&dir.join("tcp-lite/Cargo.toml"), manifest.as_bytes())?;
        Ok(Self { dir })
    }

    fn cargo(&self, program: Option<[&str; 2]>, args: &[&str]) -> Command {
        let cargo = step::cargo(&[]);
        let mut command = match program {
            Some([program, arg]) => {
                let mut command = Command::new(program);
                command.arg(arg).arg(cargo.get_program());
                command
            }
            None => cargo,
        };
        command
            .args([
                "test",
                "--offline",
                "--package",
                "tcp-lite",
                "--test",
                "simulation",
            ])
            .args(args)
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", self.dir.join("target"))
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("TCP_LITE_SEEDS", SEEDS)
            .env("RUST_BACKTRACE", "0")
            .env_remove("TCP_LITE_SEED");
        command
    }

    fn build(&self, what: &str) -> Result<()> {
        let output = self
            .cargo(None, &["--no-run"])
            .output()
            .context("cannot run cargo test")?;
        ensure!(
            output.status.success(),
            "{what} does not build:\n{}",
            text(&output)
        );
        Ok(())
    }

    fn simulate(&self) -> Result<Output> {
        self.cargo(Some(["timeout", LONGEST]), &[])
            .output()
            .context("cannot run timeout")
    }

    /// The file that a mutation is of, and what stands in it.
    fn place(&self, mutation: &Mutation) -> Result<(PathBuf, String)> {
        let path = self.dir.join("tcp-lite/src").join(mutation.file);
        let whole = read(&path)?;
        ensure!(
            whole.matches(mutation.old).count() == 1,
            "stale table: {} must have once: {}",
            mutation.file,
            mutation.old
        );
        Ok((path, whole))
    }

    fn broken(&self, mutation: &Mutation) -> Result<Output> {
        let (path, whole) = self.place(mutation)?;
        update(&path, whole.replace(mutation.old, mutation.new).as_bytes())?;
        let output = self.build(mutation.rule).and_then(|()| self.simulate());
        update(&path, whole.as_bytes())?;
        output
    }
}

/// Makes `to` like `from`; a file that is the same keeps its time, so that Cargo does not build it again.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            mirror(&entry.path(), &copy)?;
        } else {
            update(&copy, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn update(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// What the simulation said of a mutant, in a line.
fn finding(output: &Output) -> String {
    let text = text(output);
    let line = text.lines().find(|line| line.starts_with("seed "));
    match (line, output.status.code()) {
        (Some(line), _) => line.chars().take(100).collect(),
        (None, Some(124)) => format!("no end within {LONGEST} s"),
        (None, _) => "the run as a whole is not what it should be".into(),
    }
}
