//! A thread of another process that does not come round, as if it were stuck in a loop.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;

/// A thread that stands still until this is dropped. Only the thread that made it may drop it (ptrace(2)), and has to
/// before it waits for the end of the process.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Frozen {
    /// Stops the thread called `name` of `process`; the others go on.
    ///
    /// # Panics
    /// Without such a thread, or when it cannot be traced.
    pub fn thread(process: u32, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task"))
            .unwrap_or_else(|e| panic!("no threads of {process}: {e}"));
        let id = tasks
            .filter_map(|task| task.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .find(|id| {
                let comm = fs::read_to_string(format!("/proc/{process}/task/{id}/comm"));
                comm.is_ok_and(|comm| comm.trim() == name)
            })
            .unwrap_or_else(|| panic!("process {process} has no thread {name}"));
        let thread = Pid::from_raw(id);
        ptrace::seize(thread, ptrace::Options::empty())
            .and_then(|()| ptrace::interrupt(thread))
            .unwrap_or_else(|e| panic!("cannot stop {name} of {process}: {e}"));
        waitpid(thread, Some(WaitPidFlag::__WALL))
            .unwrap_or_else(|e| panic!("{name} of {process} does not stop: {e}"));
        Self(thread)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if ptrace::detach(self.0, None).is_err() {
            // Its process has ended, but is not through before its tracer has seen this thread's end.
            let _ = waitpid(self.0, Some(WaitPidFlag::__WALL));
        }
    }
}
