//! The process: what is done before the cores run, and in which order they stop.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use anyhow::Context;
use fantail_engine::limits::STREAMS_MAX;
use monoio::{IoUringDriver, RuntimeBuilder};
use monoio_uring::IoUring;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{Admin, Control, Options};
use crate::conversation::accept;
use crate::conversation::control::credentials::Gate;
use crate::core::{Core, Cores, Settings, Welcome, signature};
use crate::limits::{
    ADMIN_CONVERSATIONS_MAX, ADMIN_RELEASE_TIME, CONTROL_CONVERSATIONS_MAX, RELEASE_TIME, STOP_TIME, TURNED_AWAY_MAX,
};
use crate::origin;
use crate::ring::Refused;
use crate::storage::clerk::Clerk;
use crate::storage::folder::DataFolder;
use crate::storage::pages::Pager;
use crate::storage::recovery::{self, Recovered};

/// Descriptors that a server needs besides those of its cores: standard streams, folders, signals, some files of streams.
const DESCRIPTORS_MIN: u64 = 32;

/// Descriptors that a core needs: its rings, eventfds and listener, and a few conversations.
const DESCRIPTORS_OF_A_CORE: u64 = 16;

/// Slots that user data can name.
const TIER_SLOTS_MAX: u64 = 1 << 20;

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    control: Option<SocketAddr>,
    folder: DataFolder,
    cores: Arc<Cores>,
    /// Cores that still have conversations.
    open: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    clerk: (Clerk, [JoinHandle<()>; 2]),
    pager: (Pager, JoinHandle<()>),
    signals: Signals,
    /// Once set, a signal ends the process at once.
    is_stopping: Arc<AtomicBool>,
}

/// Starts a server: it accepts connections when this returns.
///
/// # Errors
/// What stands in the way: the data folder, the address, the kernel.
pub fn start(options: &Options) -> anyhow::Result<Server> {
    let folder = DataFolder::open(&options.data)?;
    let descriptors = raise_descriptor_limit().context("the limit of descriptors can't be read")?;
    let cpus = usable_cpus().context("the CPUs of this process can't be read")?;
    let count = options.cores.unwrap_or(cpus.len());
    let needed = DESCRIPTORS_MIN + count as u64 * DESCRIPTORS_OF_A_CORE;
    anyhow::ensure!(
        descriptors >= needed,
        "the limit of descriptors (ulimit -Hn) is {descriptors}; {needed} are needed"
    );
    let (conversations_max, turned_away_max) = conversations_max(descriptors as usize, count, options);
    let recovered = recovery::recover(folder.path(), options.policy.durability)?;

    probe(options.listen, RELEASE_TIME).with_context(|| format!("{} can't be listened on", options.listen))?;
    let first = accept::listen(options.listen).with_context(|| format!("{} can't be listened on", options.listen))?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(accept::listen(address)?);
    }
    let mut admins = listen_for_admins(options.admin)?;
    let admin = admins.as_ref().map(TcpListener::local_addr).transpose()?;

    let (mut controls, control) = listen_for_controls(options)?;

    let settings = Settings {
        listen: address,
        admin,
        data: folder.path().to_path_buf(),
        routes: Arc::clone(&options.routes),
        origin_ca: options.origin_ca.clone(),
        trust: origin::trust(&options.routes, options.origin_ca.as_deref())?,
        forwarding: options.forwarding,
        gate: options.control.as_ref().map(|control| Gate::of(&control.credentials)).transpose()?.flatten(),
        control: control.clone(),
        grip: options.grip.clone(),
        signer: signature::signer(&options.grip).context("what is asked of origins can't be signed")?,
        policy: options.policy,
        documents_bytes: options.documents_bytes,
        disconnect: options.disconnect,
        tier_slots: descriptors.min(TIER_SLOTS_MAX) as u32,
        conversations_max,
        turned_away_max,
        connections_max: options.connections_max.div_ceil(count),
    };
    let cores = Arc::new(Cores::new(settings, count)?);
    origin::resolve(&options.routes, cores.tell_addresses())?;
    let (clerk, clerk_threads) = Clerk::start(|| cores.report())?;
    let (pager, pager_thread) = Pager::start(cores.deliver())?;
    let mut streams: Vec<Vec<Recovered>> = (0..count).map(|_| Vec::new()).collect();
    for stream in recovered {
        streams[cores.home(&stream.name)].push(stream);
    }
    let signals = Signals::new([SIGTERM, SIGINT]).context("signals can't be received")?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_stopping))?;
    }
    let open = Arc::new(AtomicUsize::new(count));
    let (report, reports) = mpsc::channel();
    let mut threads = Vec::new();
    for (number, (listener, streams)) in listeners.into_iter().zip(streams).enumerate() {
        let (cores, open, others) = (Arc::clone(&cores), Arc::clone(&open), (clerk.clone(), pager.clone()));
        let (report, cpu) = (report.clone(), cpus[number % cpus.len()]);
        // One core is enough for the few who ask; channels are at home on the first.
        let listeners = Listeners { open: listener, admin: admins.take(), control: controls.take() };
        let run = move || run_core(cores, number, cpu, streams, others, listeners, open, &report);
        threads.push(thread::Builder::new().name(format!("core-{number}")).spawn(run)?);
    }
    for _ in 0..count {
        reports.recv().context("a core ended before it began")??;
    }
    tracing::info!(%address, cores = count, data = %folder.path().display(), pid = std::process::id(), "started");
    let (clerk, pager) = ((clerk, clerk_threads), (pager, pager_thread));
    let control = control.map(|control| control.listen);
    Ok(Server { address, admin, control, folder, cores, open, threads, clerk, pager, signals, is_stopping })
}

impl Server {
    /// What it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin listener is, if it has one.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where publishes are taken, if they are.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Runs until SIGTERM or Ctrl-C, then stops: no more connections; what is asked is answered; what was answered is
    /// durable; followers are told when to come back.
    ///
    /// # Errors
    /// If a thread has failed.
    pub fn wait(mut self) -> anyhow::Result<()> {
        let signal = self.signals.forever().next();
        tracing::info!(signal, "stopping; another signal ends it at once");
        self.is_stopping.store(true, Ordering::Relaxed);
        self.cores.close();
        let deadline = Instant::now() + STOP_TIME;
        while self.open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(5));
        }
        self.cores.end();
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a core has failed"))?;
        }
        let ((clerk, threads), (pager, pages)) = (self.clerk, self.pager);
        clerk.end();
        pager.end();
        for thread in threads.into_iter().chain([pages]) {
            thread.join().map_err(|_| anyhow::anyhow!("a thread beside the cores has failed"))?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

#[expect(clippy::too_many_arguments, reason = "what one thread is given once, at its start")]
fn run_core(
    cores: Arc<Cores>,
    number: usize,
    cpu: usize,
    streams: Vec<Recovered>,
    (clerk, pager): (Clerk, Pager),
    listeners: Listeners,
    open: Arc<AtomicUsize>,
    report: &mpsc::Sender<anyhow::Result<()>>,
) {
    if let Err(error) = pin(cpu) {
        tracing::warn!(cpu, %error, "core {number} isn't pinned");
    }
    // What completes waits for the next system call of this thread, which isn't interrupted for it.
    let mut ring = IoUring::builder();
    ring.setup_coop_taskrun();
    let runtime = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).enable_timer().build();
    let begun = runtime
        .map_err(Refused::new("io_uring_setup"))
        .and_then(|runtime| Core::new(cores, number, streams, clerk, pager).map(|core| (runtime, core)));
    let (mut runtime, core) = match begun {
        Ok(begun) => begun,
        Err(refused) => {
            // Whoever waits for the report is there until all cores have reported.
            drop(report.send(Err(refused.into())));
            return;
        }
    };
    runtime.block_on(async {
        let begun = accept_all(&core, listeners).context("a listener can't be used");
        if let Err(error) = begun {
            return drop(report.send(Err(error)));
        }
        drop(report.send(Ok(())));
        // A task like the others, so that it takes its place in their queue: the runtime polls its first future, and that
        // one alone, for as long as it is ready.
        let turn = monoio::spawn(async move { core.run(&open).await });
        if let Err(error) = turn.await {
            panic!("core {number} can't go on: {error}");
        }
    });
}

/// What a core listens on.
struct Listeners {
    open: TcpListener,
    admin: Option<TcpListener>,
    control: Option<TcpListener>,
}

/// Begins to accept on all of them.
fn accept_all(core: &Rc<Core>, listeners: Listeners) -> io::Result<()> {
    let usable = monoio::net::TcpListener::from_std;
    let Listeners { open, admin, control } = listeners;
    let (open, admin, control) = (usable(open)?, admin.map(usable).transpose()?, control.map(usable).transpose()?);
    monoio::spawn(accept::accept(core.clone(), open));
    for (listener, welcome) in [(admin, Welcome::Admin), (control, Welcome::Control)] {
        if let Some(listener) = listener {
            monoio::spawn(accept::accept_few(core.clone(), listener, welcome));
        }
    }
    Ok(())
}

/// The control listener, if there is to be one, and where it is.
fn listen_for_controls(options: &Options) -> anyhow::Result<(Option<TcpListener>, Option<Control>)> {
    let Some(control) = &options.control else { return Ok((None, None)) };
    let listener = probe(control.listen, RELEASE_TIME).and_then(|()| accept::listen(control.listen));
    let listener = listener.with_context(|| format!("{} can't be listened on for --control", control.listen))?;
    let listen = listener.local_addr()?;
    if control.credentials.is_empty() && !listen.ip().is_loopback() {
        tracing::warn!(address = %listen, "whoever reaches the control listener may publish, as was asked for");
    }
    Ok((Some(listener), Some(Control { listen, ..control.clone() })))
}

/// The admin listener, if there is to be one and its address can be had.
fn listen_for_admins(admin: Admin) -> anyhow::Result<Option<TcpListener>> {
    let listen = |address, patience| probe(address, patience).and_then(|()| accept::listen(address));
    match admin {
        Admin::Off => Ok(None),
        Admin::At(address) => {
            let listener = listen(address, RELEASE_TIME);
            listener.map(Some).with_context(|| format!("{address} can't be listened on for --admin"))
        }
        Admin::IfFree(address) => {
            let listener = listen(address, ADMIN_RELEASE_TIME);
            let complain = |error: &io::Error| {
                tracing::warn!(%address, %error, "there is no admin listener; --admin takes another address, or off");
            };
            Ok(listener.inspect_err(complain).ok())
        }
    }
}

/// Fails if anybody listens there: the listeners of the cores share their port, and would share it with another server.
///
/// The kernel lets go of the rings of a killed server, and of its listeners with them, a moment after the process is gone; so
/// an address in use is looked at again.
fn probe(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::park_timeout(Duration::from_millis(20));
            }
            bound => return bound.map(drop),
        }
    }
}

/// Conversations that each core may have, and those beyond that are only told that the server is full: what the files of streams
/// and the cores themselves leave of the descriptors.
fn conversations_max(descriptors: usize, cores: usize, options: &Options) -> (usize, usize) {
    let controls_max = options.control.as_ref().map_or(0, |_| CONTROL_CONVERSATIONS_MAX);
    // One that passes to an origin has a connection there, too.
    let descriptors = if options.routes.has_origins() { descriptors / 2 } else { descriptors };
    const FILES: usize = 4 * STREAMS_MAX + DESCRIPTORS_MIN as usize + ADMIN_CONVERSATIONS_MAX;
    let reserved = FILES + controls_max + cores * (TURNED_AWAY_MAX + DESCRIPTORS_OF_A_CORE as usize);
    match descriptors.checked_sub(reserved) {
        Some(left) if left >= descriptors / 2 => (left / cores, TURNED_AWAY_MAX),
        _ => {
            tracing::warn!(
                descriptors,
                "the limit of descriptors is too low for {STREAMS_MAX} streams and as many connections"
            );
            // Half of them, those that are turned away included.
            let share = descriptors / 2 / cores;
            let turned_away = (share / 4).min(TURNED_AWAY_MAX);
            ((share - turned_away).max(1), turned_away)
        }
    }
}

/// The soft limit of descriptors, raised to the hard one.
fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills a struct of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the struct lives through the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// The CPUs that this process may run on.
fn usable_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a set of bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel fills a struct of the size that it is told.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: each number is within the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: a set of bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number came from such a set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the struct lives through the call.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
