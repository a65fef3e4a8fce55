"""What the measuring scripts share: binaries built once, servers pinned to one CPU and clients to another, medians, a table.

Nothing here outlives the block that started it: a process is ended and its folder removed when its `with` ends.
"""

import functools, json, os, resource, shutil, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = CPUS[0], CPUS[-1]

# Descriptors of a server that spends one on each connection: somewhat fewer than this host allows.
FILES = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20_000) - 100

NGINX = """
{modules}
worker_processes 1;
# It reads what only this user may, if this is root; else the line means nothing.
user root;
worker_rlimit_nofile {files};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client_body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {http}
}}
"""


@functools.cache
def binaries():
    """The release binaries, by name; built at the first call."""
    command = ["cargo", "build", "--release", "-p", "fantail", "-p", "loadtest", "-p", "fantail-benches"]
    subprocess.run(command, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    target = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True).stdout)["target_directory"]
    return {name: f"{target}/release/{name}" for name in ("fantail", "fantail-load", "floor", "history")}


def free_port():
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def awaited(is_ready, process, what):
    """Waits until a server is ready; it is no good if it ends before, or takes longer than ten seconds."""
    deadline = time.monotonic() + 10
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{what} doesn't start")
        time.sleep(0.05)


def answers(port):
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def family(pid):
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pid):
    """What the process and its threads, the kernel's workers among them, have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pinned(cpu, command):
    return ["taskset", "-c", str(cpu), *map(str, command)]


def is_installed(packages, *paths):
    """Whether these files or commands are there; Debian's packages of them are installed if they aren't and this is root."""
    if all(Path(path).exists() or shutil.which(path) for path in paths):
        return True
    if os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        installed = subprocess.run(["apt-get", "install", "-y", "-qq", *packages], stdout=subprocess.DEVNULL)
        if installed.returncode == 0:
            return True
    print(f"left out, since it can't be had: {' '.join(packages)}", file=sys.stderr)
    return False


class Process:
    """A server on its core, ended when the block ends. `command` makes it from its folder, which goes with it unless it was
    given."""

    def __init__(self, command, folder=None, cpu=SERVER_CPU, **options):
        self.is_mine = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="lab-")
        self.process = subprocess.Popen(pinned(cpu, command(self.folder)), text=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        if self.is_mine:
            shutil.rmtree(self.folder)

    @property
    def pid(self):
        return self.process.pid

    def pids(self):
        """Its process and those that it has started."""
        return family(self.pid)

    def kill(self):
        """As with kill -9."""
        self.process.kill()
        self.process.wait()

    def memory(self):
        """Resident bytes: `VmRSS` in all, of these `RssAnon` its own and `RssFile` of files that the page cache has anyway, and
        `VmHWM` the most that there were."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")}


class Fantail(Process):
    """On one core, listening where its first line says. `stderr` gets its log."""

    def __init__(self, *options, folder=None, stderr=subprocess.DEVNULL):
        listen = ["--listen", "0.0.0.0:0", "--admin", "off"]
        command = lambda data: [binaries()["fantail"], "--cores", 1, *listen, "--data", data, *options]
        super().__init__(command, folder, stdout=subprocess.PIPE, stderr=stderr)
        self.port = int(self.process.stdout.readline().split("://")[1].split()[0].rsplit(":", 1)[1])

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def swarm(self, path, connections, **options):
        return swarm(self.url(path), connections, pid=self.pid, **options)


class Nginx(Process):
    """With one worker, whose pid is `worker`. `http` is what stands in the block of that name, in which `{port}` is a free
    port and `{folder}` the folder."""

    def __init__(self, http, modules="", cpu=SERVER_CPU):
        self.port = free_port()
        self.http, self.modules = http, modules
        super().__init__(self.command, cpu=cpu, stderr=subprocess.DEVNULL)
        awaited(self.workers, self.process, "nginx")
        self.worker = int(self.workers()[0])

    def command(self, folder):
        http = self.http.format(folder=folder, port=self.port)
        text = NGINX.format(folder=folder, http=http, modules=self.modules, files=FILES)
        Path(folder, "nginx.conf").write_text(text)
        # Modules are named relative to the prefix.
        os.symlink("/usr/lib/nginx/modules", f"{folder}/modules")
        return ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]

    def workers(self):
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"


def load(subcommand, *arguments, **options):
    """The command line of `fantail-load`, on the clients' core. Options are those of the subcommand, without hyphens."""
    command = [binaries()["fantail-load"], subcommand, *arguments]
    for name, value in options.items():
        name = "--" + {"seconds": "for"}.get(name, name).replace("_", "-")
        command += [name] if value is True else [name, value]
    return pinned(CLIENT_CPU, command)


class Swarm:
    """A swarm that runs until it is awaited; a block ends it if nothing else has."""

    def __init__(self, url, connections, before=(), **options):
        self.file = tempfile.NamedTemporaryFile()
        fixed = dict(connections=connections, cores=CLIENT_CPU, spread=connections // 10_000 + 1, json=self.file.name)
        self.command = [*before, *load("swarm", url, **fixed, **options)]
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def follows(self):
        """Waits until all follow: it says once a second what it does."""
        for line in self.process.stderr:
            if line.startswith(("listening", "publishing")):
                return

    def report(self):
        """What it found. What isn't clean is said; without a report there is nothing to measure."""
        out, errors = self.process.communicate()
        try:
            found = json.load(open(self.file.name))
        except ValueError:
            sys.exit(f"{' '.join(self.command)}\n{errors}")
        if not found["clean"]:
            print(f"  NOT CLEAN: {' '.join(self.command)}\n{out}", file=sys.stderr)
        return found


def swarm(url, connections, **options):
    """Runs a swarm; its report."""
    with Swarm(url, connections, **options) as running:
        return running.report()


def median(values):
    return statistics.median(values)


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
