//! Noticing that a file was removed, or that its directory was mounted over, without looking again and again.
//!
//! inotify(7) tells of the first; of the second it does not. A poll of /proc/self/mountinfo does: it reports an
//! error condition whenever a mount comes or goes (proc_pid_mountinfo(5)). Both sit in one epoll(7) descriptor,
//! which is the only thing that the caller has to know: readable means "look".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags, inotify};

/// Watches the directory of one path. Where the kernel has no inotify, or there is no /proc, it watches less.
///
/// ```
/// use isinit::sys::{clock, poll::PollSet, watch::Watch};
/// let path = std::env::temp_dir().join(format!("watch-doc-{}", std::process::id()));
/// std::fs::write(&path, b"").unwrap();
/// let watch = Watch::on(&path);
/// std::fs::remove_file(&path).unwrap();
/// let mut set = PollSet::new(1);
/// let token = set.add(watch.fd().unwrap(), true, false).unwrap();
/// set.wait(Some(clock::now_ms() + 10_000)).unwrap();
/// assert!(set.readable(token));
/// watch.drain();
/// ```
#[derive(Debug)]
pub struct Watch {
    both: Option<OwnedFd>,
    directory: Option<OwnedFd>,
    mounts: Option<OwnedFd>,
}

const DIRECTORY: u64 = 1;
const MOUNTS: u64 = 2;

impl Watch {
    /// Begins to watch the directory that `path` is in.
    pub fn on(path: &Path) -> Watch {
        let directory = watch_directory(path);
        let mounts = open_mounts();
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).ok();
        if let Some(both) = &both {
            for (fd, number, events) in [
                (&directory, DIRECTORY, epoll::EventFlags::IN),
                // Edge-triggered: the condition stays until the file is read, and the content is of no interest.
                (&mounts, MOUNTS, epoll::EventFlags::PRI | epoll::EventFlags::ET),
            ] {
                if let Some(fd) = fd {
                    // What cannot be added is not watched: a path is then restored on SIGHUP only.
                    let _ = epoll::add(both, fd, epoll::EventData::new_u64(number), events);
                }
            }
        }
        Watch { both, directory, mounts }
    }

    /// What to wait for; `None` where nothing can be watched.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.both.as_ref().filter(|_| self.directory.is_some() || self.mounts.is_some()).map(AsFd::as_fd)
    }

    /// Takes away what has been reported, so that only news wakes again.
    pub fn drain(&self) {
        let mut bytes = [0; 4096];
        if let Some(directory) = &self.directory {
            while rustix::io::read(directory, &mut bytes).is_ok_and(|count| count > 0) {}
        }
        if let Some(both) = &self.both {
            let mut events =
                [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 2];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = epoll::wait(both, &mut events[..], Some(&now));
        }
    }
}

fn watch_directory(path: &Path) -> Option<OwnedFd> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = inotify::init(flags).ok()?;
    let events = inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::DELETE_SELF
        | inotify::WatchFlags::MOVE_SELF;
    inotify::add_watch(&watch, directory, events).ok()?;
    Some(watch)
}

fn open_mounts() -> Option<OwnedFd> {
    rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
