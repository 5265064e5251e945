//! The watchdog: what this process started ends with it, however it ends.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads its standard input until the process at the other end of the pipe is gone, by whatever end. Then it ends
/// every server, all of one process group, and removes their data. PostgreSQL wants the gentle signal first: its
/// children are in groups of their own and go with their parent.
const SCRIPT: &str = r#"
group=$1
shift
trap '' INT TERM HUP QUIT
paused=
while read -r what which; do
    case $what in
        folder) set -- "$@" "$which" ;;
        paused) paused="$paused $which" ;;
    esac
done
kill -s QUIT -- "-$group"
kill -s CONT -- "-$group" $paused
sleep 0.5
kill -s KILL -- "-$group"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$@" && break
    sleep 0.2
done
"#;

/// The group that every server of this process belongs to, and the watchdog over it.
pub(crate) struct Watch {
    group: i32,
    orders: Mutex<ChildStdin>,
    // Held, so that the group cannot end before the process does: nobody else can get its number.
    _anchor: Child,
}

impl Watch {
    /// The one of this process.
    pub fn get() -> Result<&'static Self, String> {
        static WATCH: OnceLock<Result<Watch, String>> = OnceLock::new();
        WATCH
            .get_or_init(|| Self::start().map_err(|error| format!("no watchdog: {error}")))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn start() -> io::Result<Self> {
        let anchor = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(anchor.id()).map_err(io::Error::other)?;
        // In a group of its own, out of reach of the keyboard's interrupt; without our output, or whoever reads
        // that would wait for the watchdog as well.
        let mut watchdog = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let orders = watchdog.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok(Self { group, orders: Mutex::new(orders), _anchor: anchor })
    }

    /// The process group to start servers in.
    pub fn group(&self) -> i32 {
        self.group
    }

    /// Removes a folder when the process ends.
    pub fn remove_at_end(&self, folder: &Path) -> io::Result<()> {
        self.order(&format!("folder {}", folder.display()))
    }

    /// Lets a process outside the group go on when this one ends, so that it can end as well.
    pub fn resume_at_end(&self, pid: i32) -> io::Result<()> {
        self.order(&format!("paused {pid}"))
    }

    fn order(&self, line: &str) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        writeln!(orders, "{line}")
    }
}
