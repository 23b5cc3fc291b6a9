//! [`Group`]: a control group that limits memory.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A memory control group of this process's making. It is removed when it is dropped, after its processes have ended.
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// # Errors
    /// The system has no memory control groups, or this user may not make one.
    pub(crate) fn new(bytes: u64) -> io::Result<Self> {
        let name = format!("roomcast-hostile-{}", std::process::id());
        // Version 1, then version 2.
        for (parent, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Self { folder: PathBuf::from(parent).join(&name) };
            if fs::create_dir(&group.folder).is_ok() && fs::write(group.folder.join(limit), bytes.to_string()).is_ok() {
                return Ok(group);
            }
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The file to which a process writes its id to become a member.
    pub(crate) fn members(&self) -> String {
        self.folder.join("cgroup.procs").display().to_string()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
