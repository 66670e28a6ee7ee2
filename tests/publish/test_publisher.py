"""Publishing as the process sees it."""

import trio
from trio.testing import MockClock

from epmdless.metrics import Metrics
from epmdless.publish.publisher import Publisher
from epmdless.registry import Registry
from tests.publish.keeping import Lines, prepared
from tests.support.process import run
from tests.support.tools import PYTHON


def test_who_publishes_nothing_does_not_pay_for_dns() -> None:
    code = (
        "import epmdless.publish.prepared, epmdless.publish.publisher, sys\n"
        "from epmdless.publish.publisher import Publisher\n"
        "publisher = Publisher(None, None, None)\n"
        "publisher.take_on(epmdless.publish.prepared.prepare(None, 'b1', ''))\n"
        "assert publisher.view() is None\n"
        "print(*(name for name in sys.modules if name.split('.')[0] == 'dns'))\n"
    )
    done = run([PYTHON, "-I", "-c", code])
    assert (done.status, done.stdout, done.stderr) == (0, "\n", "")


async def test_it_waits_until_there_is_something_to_publish(autojump_clock: MockClock) -> None:
    lines = Lines()
    publisher = Publisher(Metrics(), Lines(), Registry)
    publisher.log = lines
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.serve)
        await trio.sleep(10)
        assert publisher.view() is None
        await publisher.withdraw()
        publisher.take_on(prepared(servers=()))
        view = publisher.view()
        assert view is not None
        assert (view["zone"], view["state"]) == ("nodes.internal", "starting")
        later = publisher.log = Lines()
        publisher.take_on(None)
        await trio.sleep(10)
        assert publisher.view() is None
        await publisher.withdraw()
        nursery.cancel_scope.cancel()
    assert lines.lines == later.lines == []
