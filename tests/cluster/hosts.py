"""Hosts of a small cluster on this machine: each has network, processes and home of its own, and an sshd.

A host is a network namespace on a bridge of its own, reached by nobody else, and a process namespace whose
first process is the host's sshd. So whatever runs on a host ends with it, and nothing of what runs there –
`ray stop` included – touches another host or this machine. They share the file system, but for the home and Ray's
folder of sessions.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

NETWORK = "10.213.77"
"""Inside of the namespaces alone: no route leads there from this machine."""

_START_S = 20
_SSHD = 109
"""The user that sshd lets its unprivileged half be; any number that is not root's."""


class Hosts:
    """As many hosts as are asked for, at NETWORK.11 and on; the desk, from which they are reached, is NETWORK.1.

    Example:

        with Hosts(folder, 3) as hosts:
            hosts.at_desk("ssh", …, hosts.address(0))
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.key = folder / "key"
        self._prefix = f"steer{os.getpid()}"
        self._count = count
        self._ends = ExitStack()

    def address(self, host: int) -> str:
        return f"{NETWORK}.{11 + host}"

    def __enter__(self) -> "Hosts":
        with ExitStack() as ends:
            self._build(ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    @property
    def homes(self) -> list[Path]:
        return [self._home(self._name(host)) for host in range(self._count)]

    def at_desk(self, *command: object) -> list[str]:
        """The command as it is run from outside of the cluster, in a home of its own."""
        home = self._home("desk")
        here = ["env", "-u", "RAY_AUTH_TOKEN", "-C", str(self.folder), f"HOME={home}", f"PATH={_path()}"]
        inside = [*here, *map(str, command)]
        return ["ip", "netns", "exec", self._desk, *self._apart(home, inside)]

    def cut_off(self, host: int) -> None:
        """As if somebody pulled the cable: nothing is refused, nothing arrives."""
        _run("ip", "-n", self._desk, "link", "set", self._cable(host), "down")

    @property
    def _desk(self) -> str:
        return f"{self._prefix}-desk"

    def _name(self, host: int) -> str:
        return f"{self._prefix}-{host}"

    def _cable(self, host: int) -> str:
        return f"cable{host}"

    def _home(self, name: str) -> Path:
        """Root's home on a host, with what is mounted there: Ray's sessions, and who lives where."""
        home = self.folder / name
        (home / "ray").mkdir(parents=True, exist_ok=True)
        (home / ".bashrc").touch()
        # ssh looks up its home here, whatever HOME says
        (home / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:{_SSHD}:65534::/run/sshd:/bin/false\n")
        return home

    def _build(self, ends: ExitStack) -> None:
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        _run("ip", "netns", "add", self._desk)
        ends.callback(_run, "ip", "netns", "delete", self._desk)
        _run("ip", "-n", self._desk, "link", "add", "desk", "type", "bridge")
        _run("ip", "-n", self._desk, "address", "add", f"{NETWORK}.1/24", "dev", "desk")
        for device in ("lo", "desk"):
            _run("ip", "-n", self._desk, "link", "set", device, "up")
        for host in range(self._count):
            self._plug_in(host, ends)
            self._start(host, ends)

    def _plug_in(self, host: int, ends: ExitStack) -> None:
        name, cable = self._name(host), self._cable(host)
        _run("ip", "netns", "add", name)
        ends.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "-n", self._desk, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "-n", self._desk, "link", "set", cable, "master", "desk", "up")
        _run("ip", "-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", device, "up")
        _run("ip", "-n", name, "route", "add", "default", "via", f"{NETWORK}.1")

    def _start(self, host: int, ends: ExitStack) -> None:
        home = self._home(self._name(host))
        config = home / "sshd_config"
        config.write_text(
            f"ListenAddress {self.address(host)}\nHostKey {self.key}\nAuthorizedKeysFile {self.key}.pub\n"
            f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
            f'SetEnv "PATH={_path()}"\n'
        )
        sshd = [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        with (home / "sshd.log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._name(host), *self._apart(home, sshd)], stdout=log, stderr=log
            )
        ends.callback(process.wait)
        ends.callback(process.kill)  # unshare is deaf to anything gentler, and takes its child along
        deadline = time.monotonic() + _START_S
        probe = ["ip", "netns", "exec", self._desk, "bash", "-c", f"exec 3<>/dev/tcp/{self.address(host)}/22"]
        while subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline and process.poll() is None, (home / "sshd.log").read_text()
            time.sleep(0.1)

    def _apart(self, home: Path, command: list[str]) -> list[str]:
        """The command as first process of a process namespace, with a home and a /tmp/ray of its own."""
        mounts = "mkdir -p /tmp/ray /run/sshd && mount --bind ray /tmp/ray && mount --bind passwd /etc/passwd"
        inside = ["sh", "-c", f'cd {shlex.quote(str(home))} && {mounts} && exec "$@"', "sh", *command]
        return ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", *inside]


def _path() -> str:
    """This environment's commands first."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
