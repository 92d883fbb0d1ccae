//! From a name in a tree to what is served for it.

use super::resource::{self, Resource};
use super::tree::{Content, File, Folder, LeftOut, Tree};
use super::walk::{Directory, Observer, walk};
use super::{
    Coding, Found, Response, ResponseId, SiteIndex, Snapshot, StoreError, compress, media,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rayon::prelude::*;
use sidestep_config::{Compress, HostPattern};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a name of a tree leads to.
pub enum Loaded {
    /// Representations.
    Resource(Resource),
    /// A file over the route's `max_object`.
    TooLarge,
}

/// Reads and renders files.
pub struct Loader<'s> {
    /// In seconds since 1970-01-01 00:00:00 UTC.
    now: u32,
    /// What is served meanwhile.
    last: Option<&'s Snapshot>,
    /// `None`: the system refuses threads, all is done here.
    threads: Option<rayon::ThreadPool>,
}

/// Files that are loaded while those before are entered, which is the work of one thread. Fewer, and the threads wait for
/// one another more often; more, and their results take memory twice.
const AT_ONCE: usize = 4096;

/// Files that a thread takes at a time, of one directory. Fewer, and directories are opened more often; more, and the
/// last thread of a round works alone for longer.
const TOGETHER: usize = 128;

/// Files of one directory, by the positions of both.
#[derive(Clone)]
struct Task {
    directory: usize,
    files: Range<usize>,
}

/// What was answered for a site by the snapshot before.
#[derive(Clone, Copy)]
pub(super) struct Before<'s> {
    snapshot: &'s Snapshot,
    site: SiteIndex,
}

impl<'s> Before<'s> {
    fn at(&self, key: &[u8]) -> Option<ResponseId> {
        match self.snapshot.loaded(self.site, key) {
            Some(Found::Response(id)) => Some(id),
            _ => None,
        }
    }

    /// Content of the response `id` in a coding, as it was found or made then.
    fn coded(&self, id: ResponseId, coding: Coding) -> Option<&'s [u8]> {
        let variants = self.snapshot.variants(id);
        let (_, id) = variants.iter().find(|(own, _)| *own == coding)?;
        Some(self.snapshot.response(*id).body())
    }

    /// The same resource, sharing what has not changed.
    fn shared(&self, id: ResponseId, new: Resource) -> Resource {
        let share = |id, new: Response| {
            let old = self.snapshot.response(id);
            if *old == new { old.clone() } else { new }
        };
        let variants = self.snapshot.variants(id);
        let coded = |(coding, new)| match variants.iter().find(|(own, _)| *own == coding) {
            Some((_, id)) => (coding, share(*id, new)),
            None => (coding, new),
        };
        Resource {
            identity: share(id, new.identity),
            variants: new.variants.into_iter().map(coded).collect(),
        }
    }
}

impl<'s> Loader<'s> {
    /// One that shares what is the same in `last`, the snapshot before, and compresses none of that again. While that is
    /// served, its threads stand back, on the cores of `spare`.
    pub fn new(last: Option<&'s Snapshot>, spare: Option<CpuSet>) -> Self {
        let workers_answer = last.is_some();
        let cores = spare.map_or(0, |spare| {
            let is_set = |&core: &usize| spare.is_set(core).unwrap_or(false);
            (0..CpuSet::count()).filter(is_set).count()
        });
        let threads = rayon::ThreadPoolBuilder::new()
            // 0 is as many as there are cores.
            .num_threads(if workers_answer { cores } else { 0 })
            .thread_name(|n| format!("load-{n}"))
            .start_handler(move |_| {
                if workers_answer {
                    stand_back(spare);
                }
            })
            .build();
        Self {
            now: now(),
            last,
            threads: threads
                .map_err(|error| log::warn!("files are loaded one by one: {error}"))
                .ok(),
        }
    }

    /// One for single files, with no threads and nothing known.
    pub fn single() -> Self {
        Self {
            now: now(),
            last: None,
            threads: None,
        }
    }

    /// Does `work` on a thread of its own priority.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.threads {
            Some(threads) => threads.install(work),
            None => work(),
        }
    }

    /// What the site with one of `hosts` answered before.
    pub(super) fn before(&self, hosts: &[HostPattern]) -> Option<Before<'s>> {
        let snapshot = self.last?;
        let site = hosts.iter().find_map(|host| snapshot.base.site_of(host))?;
        Some(Before { snapshot, site })
    }

    /// Every file of `tree`, directory by directory, in order. `observer` is told of the directories first.
    pub(super) fn list(&self, tree: &Tree<'_>, observer: &impl Observer) -> Vec<Directory> {
        walk(tree, b"", self.threads.as_ref(), observer)
    }

    /// Loads the files of `directories` in `tree` that `is_own`, and hands each to `enter` in their order, with its path
    /// from the root. A file that is not to be served is logged, unless it is hidden, and left out.
    ///
    /// # Errors
    /// An answer cannot be laid out, or `enter` fails.
    pub(super) fn all(
        &self,
        tree: &Tree<'_>,
        directories: &[Directory],
        before: Option<Before<'_>>,
        is_own: impl Fn(&[u8]) -> bool + Sync,
        mut enter: impl FnMut(&[u8], Loaded) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let tasks: Vec<Task> = directories
            .iter()
            .enumerate()
            .flat_map(|(directory, own)| {
                let starts = (0..own.len()).step_by(TOGETHER);
                starts.map(move |start| Task {
                    directory,
                    files: start..own.len().min(start + TOGETHER),
                })
            })
            .collect();
        let mut rounds = Vec::new();
        let (mut start, mut files) = (0, 0);
        for (n, task) in tasks.iter().enumerate() {
            files += task.files.len();
            if files >= AT_ONCE || n + 1 == tasks.len() {
                rounds.push(&tasks[start..=n]);
                (start, files) = (n + 1, 0);
            }
        }
        let load = |task: &Task| self.task(tree, directories, before, &is_own, task);
        let round = |tasks: &[Task]| -> Vec<Batch> {
            match &self.threads {
                Some(_) => tasks.par_iter().map(load).collect(),
                None => tasks.iter().map(load).collect(),
            }
        };
        let mut enter = |tasks: &[Task], batches: Vec<Batch>| {
            let mut name = Vec::new();
            for (task, batch) in tasks.iter().zip(batches) {
                let directory = &directories[task.directory];
                for (n, loaded) in batch? {
                    name.clear();
                    name.extend_from_slice(&directory.path);
                    name.extend_from_slice(directory.name(n));
                    enter(&name, loaded)?;
                }
            }
            Ok(())
        };
        let mut loaded: Option<(&[Task], Vec<Batch>)> = None;
        for tasks in rounds {
            let last = loaded.take();
            let enter_last = || last.map_or(Ok(()), |(tasks, batches)| enter(tasks, batches));
            let (entered, next) = match &self.threads {
                Some(_) => rayon::join(enter_last, || round(tasks)),
                None => (enter_last(), round(tasks)),
            };
            entered?;
            loaded = Some((tasks, next));
        }
        loaded.map_or(Ok(()), |(tasks, batches)| enter(tasks, batches))
    }

    fn task(
        &self,
        tree: &Tree<'_>,
        directories: &[Directory],
        before: Option<Before<'_>>,
        is_own: impl Fn(&[u8]) -> bool,
        task: &Task,
    ) -> Batch {
        let directory = &directories[task.directory];
        let folder = Folder::open(tree, &directory.path);
        let mut loaded = Vec::with_capacity(task.files.len());
        let (mut name, mut key, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for n in task.files.clone() {
            name.clear();
            name.extend_from_slice(&directory.path);
            name.extend_from_slice(directory.name(n));
            key.clear();
            key.extend_from_slice(&tree.route.path);
            key.extend_from_slice(&name);
            if !is_own(&key) {
                continue;
            }
            let content = folder.read(directory.name(n), std::mem::take(&mut buffer));
            let is_there = |coding: Coding| {
                let own = || [directory.name(n), coding.extension().as_bytes()].concat();
                directory.siblings && directory.has(&own())
            };
            let known = before.and_then(|before| Some((before, before.at(&key)?)));
            match self.render(tree, &name, content, known, is_there) {
                Ok((one, used)) => {
                    loaded.push((n, one));
                    buffer = used;
                }
                Err(Failed::LeftOut(LeftOut::Hidden)) => {}
                Err(Failed::LeftOut(error)) => {
                    let name = String::from_utf8_lossy(&name);
                    log::warn!("left out of the static tree: {name}: {error}");
                }
                Err(Failed::Store(error)) => return Err(error),
            }
        }
        Ok(loaded)
    }

    /// The same for one file, or why it is not to be served. When a file changes that [is beside](of_sibling) another,
    /// that other is to be loaded anew as well.
    ///
    /// # Errors
    /// Its answer cannot be laid out.
    pub fn one(&self, tree: &Tree<'_>, name: &[u8]) -> Result<Result<Loaded, LeftOut>, StoreError> {
        match self.render(tree, name, tree.read(name, Vec::new()), None, |_| true) {
            Ok((loaded, _)) => Ok(Ok(loaded)),
            Err(Failed::LeftOut(left_out)) => Ok(Err(left_out)),
            Err(Failed::Store(error)) => Err(error),
        }
    }

    /// What the file called `name` is served as. `known` is what it was served as before. Gives back the memory of its
    /// content.
    fn render(
        &self,
        tree: &Tree<'_>,
        name: &[u8],
        content: Result<Content, LeftOut>,
        known: Option<(Before<'_>, ResponseId)>,
        is_there: impl Fn(Coding) -> bool,
    ) -> Result<(Loaded, Vec<u8>), Failed> {
        let file = match content.map_err(Failed::LeftOut)? {
            Content::TooLarge => return Ok((Loaded::TooLarge, Vec::new())),
            Content::File(file) => file,
        };
        let content_type = media::content_type(name, &tree.route.charset, &file.body);
        let coded = self.coded(tree, name, &file, &content_type, known, is_there);
        let new = resource::file(tree.route, &content_type, &file, &coded, self.now)
            .map_err(|why| Failed::Store(StoreError::layout(name, why)))?;
        let resource = match known {
            Some((before, id)) => before.shared(id, new),
            None => new,
        };
        Ok((Loaded::Resource(resource), file.body))
    }

    /// The content of `file` in the codings that its route asks for, the shortest first.
    fn coded(
        &self,
        tree: &Tree<'_>,
        name: &[u8],
        file: &File,
        content_type: &str,
        known: Option<(Before<'_>, ResponseId)>,
        is_there: impl Fn(Coding) -> bool,
    ) -> Vec<(Coding, Vec<u8>)> {
        let makes = match tree.route.compress {
            Compress::Off => return Vec::new(),
            Compress::Siblings => false,
            Compress::Auto => {
                file.body.len() >= compress::MIN && compress::pays(media::essence(name))
            }
        };
        let known = known.filter(|(before, id)| {
            let tag = before.snapshot.validators(*id).etag;
            makes && tag == Some(resource::etag(content_type, None, &file.body).as_bytes())
        });
        let mut list = Vec::new();
        for coding in Coding::ALL {
            let sibling = || [name, coding.extension().as_bytes()].concat();
            let found = is_there(coding)
                .then(|| beside(tree, &sibling(), coding, file))
                .flatten();
            let coded = found.or_else(|| {
                let known = known.and_then(|(before, id)| before.coded(id, coding));
                match known {
                    _ if !makes => None,
                    Some(bytes) => Some(bytes.to_vec()),
                    None => compress::encode(coding, &file.body),
                }
            });
            list.extend(coded.map(|bytes| (coding, bytes)));
        }
        list.sort_by_key(|(_, bytes)| bytes.len());
        list
    }
}

/// Has the calling thread leave the cores of workers to them: it goes to those of `spare`, if there are any, and lets
/// others go before it in any case, for it may be on one that the kernel's servers need.
pub(super) fn stand_back(spare: Option<CpuSet>) {
    crate::sys::stand_back();
    if let Some(spare) = spare
        && let Err(e) = sched_setaffinity(Pid::from_raw(0), &spare)
    {
        log::debug!("a thread that loads files stays on the workers' cores: {e}");
    }
}

/// What has become of the files of a task, by their positions.
type Batch = Result<Vec<(usize, Loaded)>, StoreError>;

/// Why there is nothing to serve.
enum Failed {
    LeftOut(LeftOut),
    Store(StoreError),
}

/// The content of `file` in `coding`, from the file called `sibling`. It is used if it decodes to that content and is
/// shorter: which of the two was written later says nothing of that.
fn beside(tree: &Tree<'_>, sibling: &[u8], coding: Coding, file: &File) -> Option<Vec<u8>> {
    let why = match tree.read(sibling, Vec::new()) {
        Ok(Content::File(coded)) if coded.body.len() >= file.body.len() => return None,
        Ok(Content::File(coded)) if compress::decodes_to(coding, &coded.body, &file.body) => {
            return Some(coded.body);
        }
        Ok(Content::File(_)) => "it holds something else than the file beside it".to_owned(),
        Ok(Content::TooLarge) | Err(LeftOut::Hidden) => return None,
        Err(LeftOut::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    let sibling = String::from_utf8_lossy(sibling);
    log::warn!("{sibling} is not used as a coding: {why}");
    None
}

/// The name of the file that the one called `name` could be a coding of.
pub fn of_sibling(name: &[u8]) -> Option<&[u8]> {
    Coding::ALL
        .iter()
        .find_map(|coding| name.strip_suffix(coding.extension().as_bytes()))
}

#[expect(clippy::disallowed_methods, reason = "loads files, not packets")]
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}
