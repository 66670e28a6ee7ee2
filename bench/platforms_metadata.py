"""A task metadata endpoint of ECS, version 4: one that answers, and some that do not as they should."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from bench.support import free_port
from epmdless.cli.namespaces import Namespace

Behaviour = Literal["answers", "absent", "silent", "drips"]

ADDRESS = "10.77.1.1"
"""What it says is the task's."""

TASK = {
    "Cluster": "arn:aws:ecs:eu-central-1:111122223333:cluster/default",
    "TaskARN": "arn:aws:ecs:eu-central-1:111122223333:task/default/158d1c8083dd49d6b527399fd6414f5c",
    "Family": "shop",
    "Revision": "7",
    "DesiredStatus": "RUNNING",
    "KnownStatus": "RUNNING",
    "Limits": {"CPU": 0.25, "Memory": 512},
    "AvailabilityZone": "eu-central-1a",
    "LaunchType": "FARGATE",
    "Containers": [
        {
            "DockerId": "158d1c8083dd49d6b527399fd6414f5c-2495160603",
            "Name": "shop",
            "DockerName": "shop",
            "Image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/shop:1",
            "Labels": {"com.amazonaws.ecs.cluster": "default", "com.amazonaws.ecs.container-name": "shop"},
            "DesiredStatus": "RUNNING",
            "KnownStatus": "RUNNING",
            "Type": "NORMAL",
            "Networks": [
                {
                    "NetworkMode": "awsvpc",
                    "IPv4Addresses": [ADDRESS],
                    "MACAddress": "0a:de:f6:10:51:e5",
                    "IPv4SubnetCIDRBlock": "10.77.1.0/24",
                    "PrivateDNSName": "ip-10-77-1-1.eu-central-1.compute.internal",
                    "SubnetGatewayIpv4Address": "10.77.1.254/24",
                }
            ],
        }
    ],
}

DRIP_SECONDS = 0.1
"""Between two bytes of an answer that drips."""
DRIPPING_BYTES = 65536
"""Which such an answer promises."""
ANSWER_SECONDS = 30.0
"""After which a connection is left alone, whatever it does."""


@contextmanager
def metadata(behaviour: Behaviour, place: Namespace | None = None) -> Iterator[str]:
    """The URL of an endpoint on a loopback address, until the block ends.

    :param place: where that is; None: here.
    """
    if behaviour == "absent":
        yield f"http://127.0.0.1:{free_port()}/v4/task"
        return
    listener = _listen() if place is None else place.call(_listen)
    over = threading.Event()
    thread = threading.Thread(target=_accept, args=(listener, behaviour, over))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v4/task"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _accept(listener: socket.socket, behaviour: Behaviour, over: threading.Event) -> None:
    with suppress(OSError):  # it was shut down
        while True:
            connection, _ = listener.accept()
            connection.settimeout(ANSWER_SECONDS)
            threading.Thread(target=_answer, args=(connection, behaviour, over), daemon=True).start()


def _answer(connection: socket.socket, behaviour: Behaviour, over: threading.Event) -> None:
    with connection, suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        if behaviour == "silent":
            connection.recv(1)  # until it is tired of waiting
            return
        body = json.dumps(TASK).encode()
        length = DRIPPING_BYTES if behaviour == "drips" else len(body)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        if behaviour == "answers":
            connection.sendall(body)
        else:
            while not over.wait(DRIP_SECONDS):
                connection.sendall(b" ")
