"""Script for ``strict_s3``: OpenStack Swift with its S3 middleware in one process.

Account, container, object and proxy server share an event loop, with one replica on one «device», a folder. It prints
the S3 endpoint once it listens. It reads its options from standard input, because they contain a secret.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import eventlet  # type: ignore[import-untyped]  # eventlet and Swift are untyped

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402 - must be imported after patching
from swift.common.ring import RingBuilder  # type: ignore[import-untyped]  # noqa: E402
from swift.common.utils import NullLogger, set_swift_dir  # type: ignore[import-untyped]  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # type: ignore[import-untyped]  # noqa: E402

LOOPBACK = "127.0.0.1"
PARTITION_POWER = 2
SWIFT = """\
[swift-hash]
swift_hash_path_suffix = tests
"""
STORAGE = """\
[DEFAULT]
devices = {devices}
swift_dir = {folder}
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """\
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret_key} .admin
[filter:slo]
use = egg:swift#slo
"""


def write_ring(folder: Path, kind: str, port: int) -> None:
    """Write the ring of the only storage server of this kind."""
    builder = RingBuilder(PARTITION_POWER, replicas=1, min_part_hours=0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": LOOPBACK, "port": port, "device": "disk", "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


def serve(folder: Path, kind: str, configuration: str, listener: eventlet.greenio.GreenSocket) -> eventlet.GreenThread:
    """Run one of Swift's servers in the background."""
    path = folder / f"{kind}-server.conf"
    path.write_text(configuration)
    options = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False}
    return eventlet.spawn(wsgi.server, listener, loadapp(str(path)), NullLogger(), **options)


def main() -> None:
    """Run everything until killed."""
    options = json.load(sys.stdin)
    folder = Path(options["folder"])
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT)
    listeners = {kind: eventlet.listen((LOOPBACK, 0)) for kind in ("account", "container", "object", "proxy")}
    ports = {kind: listener.getsockname()[1] for kind, listener in listeners.items()}
    for kind in ("account", "container", "object"):
        write_ring(folder, kind, ports[kind])
    set_swift_dir(str(folder))
    for kind in ("account", "container", "object"):
        serve(folder, kind, STORAGE.format(kind=kind, folder=folder, devices=folder / "devices"), listeners[kind])
    proxy = serve(folder, "proxy", PROXY.format(**options), listeners["proxy"])
    print(f"http://{LOOPBACK}:{ports['proxy']}", flush=True)  # noqa: T201 - the parent reads it
    proxy.wait()


if __name__ == "__main__":
    main()
