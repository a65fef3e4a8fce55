"""Servers of event streams that Fantail is compared with, each installed from its package, configured as its manual recommends.

A peer is a class with a name, what it lacks on this host (`lacks`), what it says of itself (`version`, `settings`), how it is
followed and written to, and its processes (`pids`); it runs while its `with` block does. `{topic}` in URLs and bodies stands for
a topic's name. To add one, write such a class and name it in `PEERS`.
"""

import contextlib, json, subprocess, urllib.request
from pathlib import Path

import lab
from lab import CLIENT_CPU, Nginx, Process, answers, awaited, binaries, free_port, is_installed

# Filling of a document with which some 206 bytes go to each follower per write: what is around it differs, see the classes.
PAYLOAD = 140

NCHAN = """
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  nchan_message_buffer_length {buffer};
  nchan_shared_memory_size 1024M;
  server {{
    listen {port} backlog=4096;
    client_max_body_size 1m;
    location ~ /pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ /sub/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; }}
    location ~ /all/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message oldest; }}
  }}
"""

# An origin that answers at once: `/small` with three bytes, `/stream?channel=…` with a hold on that channel.
ORIGIN = """
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /small {{ default_type text/plain; return 200 "ok\\n"; }}
    location = /stream {{
      default_type text/event-stream;
      add_header Grip-Hold stream;
      add_header Grip-Channel $arg_channel;
      add_header Grip-Keep-Alive ':\\\\n\\\\n; format=cstring; timeout=55';
      return 200 ":\\n\\n";
    }}
  }}
"""

# What nginx's manual asks for to keep connections to an upstream.
PROXY = """
  keepalive_requests 1000000000;
  upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
"""

# A publish to those who hold a channel, with the document as an event.
GRIP_ITEM = {"channel": "{topic}", "formats": {"http-stream": {"content": 'data: {"n":{n},"p":"{p}","t":{t}}\n\n'}}}


def package_version(package):
    query = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    return subprocess.run(query, capture_output=True, text=True).stdout or "unknown"


class Peer:
    """What all have in common; a class beside it brings the processes."""

    # Members that a peer sets: its name, and the options of a swarm that follows it, and of one that also writes to it.
    name, reading, writing = None, {"foreign": True}, {}
    # Followers that a lone topic is measured with at most, and why no more.
    followers_max, bound = 19_000, None
    # Whether who returns with its last id is sent what it missed, and if not, who is to do so.
    resumes, resumption = True, None

    @classmethod
    def lacks(cls):
        """Why it can't be had on this host, after it was tried to install it; nothing if it can."""
        return None

    def follow_url(self, topics):
        """What is followed, of one topic or of several."""
        raise NotImplementedError

    def publish_url(self, topics):
        raise NotImplementedError

    def prepare(self, topics):
        """Makes the topics, where they don't come into being by themselves."""

    def swarm(self, connections, topics=1, **options):
        """Followers of so many topics; `publish` writes to them."""
        self.prepare(topics)
        if "publish" in options:
            options = {"publish_to": self.publish_url(topics), **self.writing, **options}
        options = {**self.reading, **options}
        if topics > 1 or "{topic}" in self.follow_url(topics):
            options["topics"] = topics
        pids = ",".join(str(pid) for pid in self.pids())
        return lab.swarm(self.follow_url(topics), connections, pid=pids, **options)


class Fantail(Peer, lab.Fantail):
    name, reading = "Fantail", {}
    settings = ("--cores 1 --durability sync (the default: a write is on the medium before it is answered or shown); before an "
                "origin with --origin and --control, too")

    @staticmethod
    def version():
        command = [binaries()["fantail"], "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    def follow_url(self, topics):
        return self.url("/messages" if topics == 1 else "/load")

    def publish_url(self, topics):
        return self.url("/messages/d0" if topics == 1 else "/load/{topic}")


class Nchan(Peer, Nginx):
    """nginx with its module; its store is in memory."""

    name = "nchan"
    writing = {"payload": PAYLOAD}

    def __init__(self, buffer=1_000):
        super().__init__(NCHAN.replace("{buffer}", str(buffer)), "load_module modules/ngx_nchan_module.so;")
        self.settings = self.http.format(port="PORT")

    @classmethod
    def lacks(cls):
        found = is_installed(["nginx-light", "libnginx-mod-nchan"], "nginx", "/usr/lib/nginx/modules/ngx_nchan_module.so")
        return None if found else "libnginx-mod-nchan can't be installed"

    @staticmethod
    def version():
        return package_version("libnginx-mod-nchan")

    def follow_url(self, topics):
        return self.url("/sub/{topic}")

    def publish_url(self, topics):
        return self.url("/pub/{topic}")


class Origin(Nginx):
    """The application behind an edge, on the clients' core: another machine's work isn't the edge's."""

    def __init__(self):
        super().__init__(ORIGIN, cpu=CLIENT_CPU)


class Edge(Peer):
    """A peer that stands before an origin, which tells by GRIP what it is to hold, and that takes what is published on its
    control port. Another edge is compared with the same origin and the same publishes."""

    writing = {"body": json.dumps({"items": [GRIP_ITEM]}, separators=(",", ":")), "payload": PAYLOAD + 10}
    resumes, resumption = False, "an edge keeps no history: its origin does"

    def follow_url(self, topics):
        return f"http://127.0.0.1:{self.port}/stream?channel={{topic}}"

    def publish_url(self, topics):
        return f"http://127.0.0.1:{self.control}/publish/"


class FantailEdge(Edge, lab.Fantail):
    """Fantail before an origin. What is published comes to its control port and is kept nowhere, as with any edge."""

    name = Fantail.name

    def __init__(self, origin=None):
        self.control = free_port()
        with contextlib.ExitStack() as stack:
            self.origin = origin or stack.enter_context(Origin())
            super().__init__("--origin", f"http://127.0.0.1:{self.origin.port}", "--control", f"127.0.0.1:{self.control}")
            self.stack = stack.pop_all()

    def __exit__(self, *_):
        with self.stack:
            super().__exit__()


# What is changed of Debian's files: folders and ports so that it runs beside others; the buffer that Pushpin's makers use for
# many connections; how much may be sent per second, and how much of that may wait; and zurl, the HTTP client, may reach 127.*.
PUSHPIN = {
    "include": "{folder}/internal.conf",
    "rundir": "{folder}",
    "logdir": "{folder}",
    "http_port": "{port}",
    "push_in_http_port": "{control}",
    "push_in_spec": "ipc://{folder}/push",
    "push_in_sub_specs": "ipc://{folder}/publications",
    "command_spec": "ipc://{folder}/command",
    "client_buffer_size": "4096",
    "client_maxconn": "50000",
    "message_rate": "10000000",
    "message_hwm": "10000000",
}
ZURL = {"deny": ""}


def changed(path, changes):
    """An INI file's text with other values."""
    lines = []
    for line in Path(path).read_text().splitlines():
        name = line.split("=")[0]
        lines.append(f"{name}={changes[name]}" if name in changes and "=" in line else line)
    return "\n".join(lines) + "\n"


class Pushpin(Edge):
    """Debian's Pushpin: a runner that starts a connection manager (condure), a proxy and a handler; and the HTTP client (zurl)
    that these need, and that Debian's package leaves to the administrator. Clients come a few at a time: of many at once its
    proxy answers 502 to some (fastly/pushpin#47712), whatever its limits are."""

    name, reading = "Pushpin", {"foreign": True, "handshakes": 4}

    def __init__(self, origin=None):
        self.port, self.control = free_port(), free_port()
        silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.ExitStack() as stack:
            self.origin = origin or stack.enter_context(Origin())
            self.zurl = stack.enter_context(Process(self.zurl_command, **silent))
            awaited(Path(self.zurl.folder, "zurl-in").exists, self.zurl.process, "zurl")
            self.pushpin = stack.enter_context(Process(self.command, self.zurl.folder, **silent))
            awaited(lambda: answers(self.port) and answers(self.control), self.pushpin.process, "pushpin")
            # Its parts find each other later than they listen: until then it answers 500, or not at all.
            awaited(self.holds, self.pushpin.process, "pushpin")
            self.stack = stack.pop_all()
        changes = {name: value for name, value in PUSHPIN.items() if "{" not in value}
        texts = [f"{name}={value}" for name, value in changes.items()]
        self.settings = f"{', '.join(texts)}; zurl: deny=; else Debian's; clients connect 4 at a time"

    @classmethod
    def lacks(cls):
        return None if is_installed(["pushpin", "zurl"], "pushpin", "zurl", "condure") else "pushpin and zurl can't be installed"

    @staticmethod
    def version():
        return f"{package_version('pushpin')} (condure {package_version('condure')}, zurl {package_version('zurl')})"

    def holds(self):
        """Whether fifty streams in a row are held."""
        try:
            for _ in range(50):
                urllib.request.urlopen(self.follow_url(1).format(topic="none"), timeout=1).close()
            return True
        except OSError:
            return False

    def zurl_command(self, folder):
        text = changed("/etc/zurl.conf", ZURL).replace("/var/run/zurl", folder)
        Path(folder, "zurl.conf").write_text(text)
        return ["zurl", f"--config={folder}/zurl.conf"]

    def command(self, folder):
        changes = {name: value.format(folder=folder, port=self.port, control=self.control) for name, value in PUSHPIN.items()}
        Path(folder, "pushpin.conf").write_text(changed("/usr/share/pushpin/pushpin.conf.condure", changes))
        internal = changed("/usr/lib/pushpin/internal.conf", {}).replace("/var/run/zurl", folder)
        Path(folder, "internal.conf").write_text(internal)
        Path(folder, "routes").write_text(f"* 127.0.0.1:{self.origin.port}\n")
        return ["pushpin", f"--config={folder}/pushpin.conf"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def pids(self):
        return self.pushpin.pids() + self.zurl.pids()


class DurableStreams(Peer, Process):
    """The server of the crate of this name. Each write comes as an event with an array, behind which an event tells the next
    offset: together some 206 bytes, too."""

    name, crate, version_wanted = "durable-streams", "durable-streams", "0.1.5"
    reading, writing = {"foreign": True, "id": "control.streamNextOffset", "resume": "offset"}, {"payload": 30}
    settings = "--durability wal (the default), one thread of each kind, since it is pinned to one core"

    def __init__(self):
        self.port, self.made = free_port(), set()
        super().__init__(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        awaited(lambda: answers(self.port), self.process, self.name)

    @classmethod
    def lacks(cls):
        cargo = ["cargo", "install", "--root", cls.root()]
        installed = subprocess.run([*cargo, "--list"], capture_output=True, text=True).stdout
        if f"{cls.crate} v{cls.version_wanted}:" in installed:
            return None
        if subprocess.run([*cargo, "--quiet", cls.crate, "--version", cls.version_wanted]).returncode == 0:
            return None
        return f"cargo install {cls.crate} --version {cls.version_wanted} fails"

    @classmethod
    def root(cls):
        return str(Path(binaries()["fantail"]).parent.parent / "peers")

    @classmethod
    def version(cls):
        return cls.version_wanted

    def command(self, folder):
        return [f"{self.root()}/bin/durable-streams-server", "--host", "0.0.0.0", "--port", self.port, "--data-dir", folder]

    def url(self, stream):
        return f"http://127.0.0.1:{self.port}/v1/stream/{stream}"

    def follow_url(self, topics):
        return self.url("{topic}?offset=now&live=sse")

    def publish_url(self, topics):
        return self.url("{topic}")

    def prepare(self, topics):
        for topic in {f"t{number}" for number in range(topics)} - self.made:
            self.create(topic, "application/json")
            self.made.add(topic)

    def create(self, stream, content_type):
        request = urllib.request.Request(self.url(stream), method="PUT", headers={"Content-Type": content_type})
        urllib.request.urlopen(request).close()

    def append(self, stream, content_type, body):
        request = urllib.request.Request(self.url(stream), body, headers={"Content-Type": content_type})
        urllib.request.urlopen(request).close()


PEERS = [Nchan, Pushpin, DurableStreams]
